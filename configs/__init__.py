"""Training configurations, one YAML file per published result."""
