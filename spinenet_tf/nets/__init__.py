"""The nets of the paper, from a graph as data to a Keras model, and what every model has."""
