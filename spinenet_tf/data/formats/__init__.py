"""Read and write data set formats, one file per format."""
