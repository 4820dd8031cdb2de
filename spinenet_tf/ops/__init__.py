"""Pure functions on tensors: level sizes, anchors, boxes, target assignment, losses, heatmaps and decoding."""
