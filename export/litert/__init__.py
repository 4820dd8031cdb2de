"""LiteRT (TensorFlow Lite): the format for phones, boards and browsers."""
