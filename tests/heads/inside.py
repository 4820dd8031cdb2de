"""Check the output format of `predict` for any head."""

from __future__ import annotations

import numpy as np


def assert_inside(found: dict[str, np.ndarray], side: int) -> None:
    """Assert that the detections in two images of `side` px have valid shapes, boxes and padding."""
    assert found["boxes"].shape == (2, 100, 4)
    assert found["scores"].shape == found["classes"].shape == (2, 100)
    assert (found["num_detections"] > 0).all()
    for boxes, classes, count in zip(found["boxes"], found["classes"], found["num_detections"], strict=True):
        assert (boxes >= 0).all()
        assert (boxes <= side).all()
        assert (classes[:count] >= 0).all()
        assert (classes[count:] == -1).all()
