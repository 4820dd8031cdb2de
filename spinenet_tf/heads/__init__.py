"""What a model ends in: one file a head, with its layers, its loss and its decoding."""
