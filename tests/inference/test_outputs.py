"""Readers of files with detections ignore the slots from `num_detections` on, which hold any values."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from spinenet_tf.export.description import describe
from spinenet_tf.inference.exported_model import ExportedModel

FOUND, SLOTS = 2, 5
BOXES = np.float32([[8, 16, 24, 32], [0, 0, 64, 128]])


def outputs(kind: str, garbage: float) -> dict[str, np.ndarray]:
    """Return the outputs of an engine for one image, with `garbage` in the slots behind the detections."""
    boxes, scores, classes = (np.full(shape, garbage, np.float32) for shape in ((1, SLOTS, 4), (1, SLOTS), (1, SLOTS)))
    boxes[0, :FOUND] = BOXES if kind == "detections" else BOXES / [64, 128, 64, 128]
    scores[0, :FOUND], classes[0, :FOUND] = [0.75, 0.5], [2, 0]
    count = np.float32([FOUND])
    if kind == "detections":
        classes, count = np.nan_to_num(classes, nan=-7).astype("int32"), count.astype("int32")
    return {"boxes": boxes, "classes": classes, "scores": scores, "num_detections": count}


@pytest.mark.parametrize("garbage", [np.nan, 1e9, -3.0])
@pytest.mark.parametrize(("kind", "background"), [("detections", 0), ("postprocess", 0), ("postprocess", 1)])
def test_slots_behind_the_detections_are_empty(detector, images, kind, background, garbage) -> None:
    metadata = describe(detector, {}, 1)
    options = metadata.options | {"background": bool(background)}
    model = ExportedModel(replace(metadata, output_kind=kind, options=options), lambda images: outputs(kind, garbage))
    found: dict[str, Any] = model.predict(images)
    assert found["num_detections"].tolist() == [FOUND, FOUND]
    for image in range(len(images)):
        np.testing.assert_array_equal(found["boxes"][image], np.pad(BOXES, ((0, SLOTS - FOUND), (0, 0))))
        assert found["scores"][image].tolist() == [0.75, 0.5, 0, 0, 0]
        assert found["classes"][image].tolist() == [2 + background, background, -1, -1, -1]
    assert {name: x.dtype.name for name, x in found.items()} == {
        **{"boxes": "float32", "scores": "float32", "classes": "int32", "num_detections": "int32"}
    }
