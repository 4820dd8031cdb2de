from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest

from spinenet_tf.heads.ground_truth import GroundTruthError, check, check_shapes

IMAGES = np.zeros((2, 32, 64, 3), "float32")
BOXES = np.array([[[2, 2, 20, 20], [8, 1, 31, 30]], [[8, 4, 30, 24], [-1, -1, -1, -1]]], "float32")
CLASSES = np.array([[0, 2], [1, -1]], "int32")
NAN, INF = float("nan"), float("inf")


def truth(**changes: Any) -> dict[str, Any]:
    return {"boxes": BOXES, "classes": CLASSES, **changes}


def box(*corners: float) -> dict[str, Any]:
    """Return ground truth with these corners of one box."""
    boxes = BOXES.copy()
    boxes[0, 1] = corners
    return truth(boxes=boxes)


def refused(y: Any, is_first: bool = True, **given: Any) -> str:
    with pytest.raises(GroundTruthError) as error:
        check(IMAGES, y, given.get("sample_weight"), 3, is_first)
    assert isinstance(error.value, ValueError)
    assert "\n" not in str(error.value)
    return str(error.value)


FINE = {
    "as promised": truth(),
    "more keys": truth(image_id=np.array([3, 4])),
    "whole floats as classes": truth(classes=CLASSES.astype("float32")),
    "wide classes": truth(classes=CLASSES.astype("int64")),
    "unsigned boxes": truth(boxes=np.maximum(BOXES, 0).astype("uint8")),
    "no rows": truth(boxes=np.zeros((2, 0, 4), "float32"), classes=np.zeros((2, 0), "int32")),
    "padding alone": truth(classes=np.full((2, 2), -1)),
    "a box without area": box(5, 5, 5, 9),
    "a box that reaches out": box(-20, -20, 900, 900),
    "one box within a pixel": box(0, 0, 1, 1),
}


@pytest.mark.parametrize("name", FINE)
def test_what_can_be_learned_is_left_alone(name: str) -> None:
    check(IMAGES, FINE[name], np.ones(2), 3)


@pytest.mark.parametrize("garbage", [NAN, INF, -INF, -1.0, 0.5, "swapped"])
def test_padding_may_hold_anything(garbage: float | str) -> None:
    boxes = BOXES.copy()
    boxes[1, 1] = [9, 9, 3, 3] if garbage == "swapped" else garbage
    check(IMAGES, truth(boxes=boxes), None, 3)


@pytest.mark.parametrize(
    ("number", "kind", "told"),
    [(3, "int32", "3"), (-2, "int64", "-2"), (1.5, "float32", "1.5"), (NAN, "float32", "nan")],
)
def test_a_class_out_of_range_is_refused(number: float, kind: str, told: str) -> None:
    classes = CLASSES.astype(kind)
    classes[1, 0] = number
    expected = f"Classes must be 0 to 2, or -1 for padding. Received: class {told}"
    assert refused(truth(classes=classes), is_first=False) == expected


@pytest.mark.parametrize("corners", [(20, 2, 8, 30), (2, 20, 8, 3), (2, NAN, 8, 30), (2, 2, INF, 30), (-INF, 2, 8, 9)])
def test_corners_that_make_no_box_are_refused(corners: tuple[float, ...]) -> None:
    message = refused(box(*corners), is_first=False)
    assert message.startswith("Boxes must be (top, left, bottom, right) in pixels")
    assert message.endswith(f"Received: box {[float(corner) for corner in corners]}")


def test_boxes_as_fractions_of_the_image_are_refused_in_the_first_batch() -> None:
    fractions = np.where(CLASSES[..., None] >= 0, np.clip(BOXES / 64, 0, 1), -1).astype("float32")
    message = refused(truth(boxes=fractions))
    assert message.endswith("Received: boxes all in 0..1, for 32 x 64 px")
    check(IMAGES, truth(boxes=fractions), None, 3, is_first=False)
    check(IMAGES[:, :1, :1], truth(boxes=fractions), None, 3)  # an image of a pixel


SHAPES = {
    "no targets": (None, r"Received: targets of type NoneType"),
    "an array": (BOXES, r"Received: targets of type ndarray"),
    "a key is missing": ({"boxes": BOXES}, r"Received: targets keys=\['boxes'\]"),
    "lists": (truth(boxes=[[[1, 2, 3, 4]], []]), r"one dense array of numbers. Received: boxes of list"),
    "ragged arrays": (truth(boxes=np.array([BOXES[0], BOXES[1][:1]], object)), r"Received: boxes of object"),
    "words": (truth(classes=np.array([["cat", "dog"], ["cat", ""]])), r"Received: classes of <U3"),
    "yes and no": (truth(classes=CLASSES > 0), r"Received: classes of bool"),
    "other counts": (truth(classes=CLASSES[:, :1]), r"shape \(2, 2, 4\), classes of shape \(2, 1\)"),
    "other batches": (truth(classes=CLASSES[:1]), r"shape \(2, 2, 4\), classes of shape \(1, 2\)"),
    "five corners": (truth(boxes=np.zeros((2, 2, 5))), r"boxes of shape \(2, 2, 5\)"),
    "flat boxes": (truth(boxes=BOXES.reshape(-1, 4)), r"boxes of shape \(4, 4\)"),
    "flat classes": (truth(classes=np.array([0, 1])), r"classes of shape \(2,\)"),
}


@pytest.mark.parametrize("name", SHAPES)
def test_other_forms_are_refused(name: str) -> None:
    y, message = SHAPES[name]
    with pytest.raises(GroundTruthError, match=message) as error:
        check_shapes(y)
    assert refused(y) == str(error.value)


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="of TensorFlow's tensors")
def test_forms_are_known_while_a_function_is_traced() -> None:
    import tensorflow as tf

    boxes, classes = tf.TensorSpec((None, None, 4)), tf.TensorSpec((None, None), tf.int64)
    check_shapes({"boxes": boxes, "classes": classes}, tf.TensorSpec((None,)))
    check_shapes({"boxes": tf.TensorSpec(None), "classes": tf.TensorSpec(None, tf.int32)}, tf.TensorSpec(None))
    with pytest.raises(GroundTruthError, match=r"boxes of shape \(None, None, 5\), classes of shape \(None, None\)"):
        check_shapes({"boxes": tf.TensorSpec((None, None, 5)), "classes": classes})
    with pytest.raises(GroundTruthError, match=r"sample_weight of shape \(None, 7\) for None images"):
        check_shapes({"boxes": boxes, "classes": classes}, tf.TensorSpec((None, 7)))
    ragged = tf.ragged.constant([[[1.0, 2.0, 3.0, 4.0]], []], inner_shape=(4,))
    for each in (ragged, tf.RaggedTensorSpec((None, None, 4))):
        with pytest.raises(GroundTruthError, match=r"Received: boxes of RaggedTensor"):
            check_shapes({"boxes": each, "classes": classes})
