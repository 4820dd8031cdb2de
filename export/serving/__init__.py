"""Check and decode untrusted tensors, images and files in a SavedModel's graph."""
