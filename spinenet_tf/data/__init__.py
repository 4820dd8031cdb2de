"""Read people's images and boxes into one contract, and turn it into training and evaluation batches."""
