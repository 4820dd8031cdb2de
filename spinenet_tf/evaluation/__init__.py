"""Measure detections against ground truth."""
