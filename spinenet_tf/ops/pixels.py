"""Mean and standard deviation of pixels, for normalization."""

from __future__ import annotations

MEAN = (0.485, 0.456, 0.406)  # of ImageNet, RGB in 0..1, as published
STD = (0.229, 0.224, 0.225)
