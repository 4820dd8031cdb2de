"""Levels, anchors, boxes, target assignment, losses and decoding: pure functions on tensors, no layers."""
