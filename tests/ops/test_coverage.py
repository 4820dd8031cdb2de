"""Anchor coverage equals the IoU with a table of all anchors."""

from __future__ import annotations

import numpy as np
import pytest
from keras import ops

from spinenet_tf.ops.anchors import AnchorSpec, anchors, concatenate
from spinenet_tf.ops.boxes import iou
from spinenet_tf.ops.coverage import best_overlap


@pytest.mark.parametrize(
    ("height", "width", "spec"),
    [(64, 96, AnchorSpec()), (100, 33, AnchorSpec(3, 5)), (128, 128, AnchorSpec(4, 6, 2, (0.3, 4.0), 2.5))],
)
def test_the_nearest_anchor_of_each_shape_is_the_best_of_all(height: int, width: int, spec: AnchorSpec) -> None:
    rng = np.random.default_rng(0)
    corners = np.sort(rng.uniform(0, [height, width], (300, 2, 2)), axis=1)
    boxes = np.concatenate([corners[:, 0], corners[:, 1] + 0.1], axis=-1)
    table = iou(boxes, concatenate(anchors(height, width, spec)))
    expected = ops.convert_to_numpy(ops.max(table, axis=1))
    np.testing.assert_allclose(best_overlap(boxes, height, width, spec), expected, atol=1e-5)


def test_an_anchor_fits_itself_and_no_boxes_give_nothing() -> None:
    own = ops.convert_to_numpy(concatenate(anchors(64, 64, AnchorSpec())))
    np.testing.assert_allclose(best_overlap(own, 64, 64, AnchorSpec()), 1, atol=1e-5)
    assert best_overlap(np.zeros((0, 4)), 64, 64, AnchorSpec()).shape == (0,)
