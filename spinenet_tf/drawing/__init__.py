"""Draw boxes, masks and labels on images, and many images on one sheet."""
