"""Train architectures under a small proxy, compare them, and search for better ones."""
