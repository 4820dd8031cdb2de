"""Read data sets of any format into one structure, and make training and evaluation batches from it."""
