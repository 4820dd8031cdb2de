"""Training by configs: the schema, the recipe that carries it out, and the folder that a run leaves behind."""
