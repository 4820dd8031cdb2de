"""Train models from configs: the config schema, the training recipe and the run's folder."""
