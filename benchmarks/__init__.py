"""Compare speed and memory with TF Model Garden: `python -m benchmarks --help`."""
