"""Draw boxes and labels on images, and many images on one sheet."""
