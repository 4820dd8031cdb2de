"""What makes Keras fast on TensorFlow without changing a number."""
