"""Anchors, target assignment, losses and decoding of RetinaNet: pure functions on tensors, no layers."""
