"""Speed and memory, side by side with TF Model Garden: `python -m benchmarks --help`."""
