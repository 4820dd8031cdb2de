"""Training configs: one YAML file per published result, and small ones that run on a laptop."""
