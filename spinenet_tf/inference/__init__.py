"""Load trained models of any format, run them, and return their predictions."""
