"""Read trained models of any format, run them, and say what they found."""
