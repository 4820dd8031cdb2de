"""Checks of what was written: does it do what the Keras model does, how fast and in how much memory."""
