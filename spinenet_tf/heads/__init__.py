"""Heads of models: one file per head, with its options, layers, loss and decoding."""
