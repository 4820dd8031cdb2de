"""Turn data sets into batches for training and evaluation."""
