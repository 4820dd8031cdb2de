"""The statistics of pixels that images are normalized by."""

from __future__ import annotations

MEAN = (0.485, 0.456, 0.406)  # of RGB in 0..1: ImageNet's, as published
STD = (0.229, 0.224, 0.225)
