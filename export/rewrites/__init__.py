"""Rewrites of graphs that compute the same in less time."""
