"""Load weights of other projects: read their checkpoints, match variables by name, and convert them."""
