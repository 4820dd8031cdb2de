"""What a SavedModel takes from strangers: tensors, images and files, checked and decoded in its graph."""
