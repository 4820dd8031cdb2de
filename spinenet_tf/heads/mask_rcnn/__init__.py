"""Mask R-CNN, a detector of two stages with masks: its options, layers, losses and decoding."""
