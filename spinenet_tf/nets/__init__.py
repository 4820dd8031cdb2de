"""The networks of the paper: graphs as data, the Keras models built from them, and their weights files."""
