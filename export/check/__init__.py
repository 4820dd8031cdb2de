"""Check exported artifacts: equality with the Keras model, speed, and memory."""
