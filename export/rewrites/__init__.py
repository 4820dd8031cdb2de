"""Rewrite graphs to compute the same results faster, or with constants that other tools accept."""
