"""Weights of other projects: what their variables are called, and how they become ours."""
