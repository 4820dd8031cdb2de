"""RetinaNet's loss and options: sums, normalization, and ignored values."""

from __future__ import annotations

import numpy as np
import pytest
from keras import ops

from spinenet_tf.heads.retinanet import RetinaNetOptions, retinanet_loss
from spinenet_tf.ops.assignment import Assignment
from spinenet_tf.ops.boxes import decode
from spinenet_tf.ops.losses import focal_loss, giou_loss, huber_loss

RNG = np.random.default_rng(0)
LOGITS = RNG.normal(0, 4, (2, 30, 5)).astype("float32")
CLASSES = RNG.integers(-1, 5, (2, 30)).astype("int32")
DELTAS = RNG.normal(0, 0.3, (2, 30, 4)).astype("float32")
TARGETS = RNG.normal(0, 0.3, (2, 30, 4)).astype("float32")
CORNERS = RNG.uniform(0, 90, (30, 2))
ANCHORS = np.concatenate([CORNERS, CORNERS + RNG.uniform(10, 40, (30, 2))], axis=-1).astype("float32")
POSITIVE = CLASSES >= 0
ASSIGNED = Assignment(CLASSES, TARGETS, POSITIVE, overlap=POSITIVE.astype("float32"))


def test_the_loss_is_divided_by_positives_and_ignores_boxes_of_background() -> None:
    losses = retinanet_loss(LOGITS, DELTAS, ANCHORS, ASSIGNED, RetinaNetOptions())
    normalizer = POSITIVE.sum() + 1
    class_losses, box_losses = focal_loss(LOGITS, CLASSES, 0.25, 1.5), huber_loss(DELTAS, TARGETS, 0.1)
    np.testing.assert_allclose(losses["class_loss"], np.sum(class_losses) / normalizer, rtol=1e-5)
    box_loss = 50 * ops.convert_to_numpy(box_losses)[POSITIVE].sum() / normalizer
    np.testing.assert_allclose(losses["box_loss"], box_loss, rtol=1e-5)


def test_giou_as_box_loss_compares_decoded_boxes() -> None:
    options = RetinaNetOptions(box_loss="giou", box_weight=2.0)
    losses = retinanet_loss(LOGITS, DELTAS, ANCHORS, ASSIGNED, options)
    expected = ops.convert_to_numpy(giou_loss(decode(DELTAS, ANCHORS), decode(TARGETS, ANCHORS)))
    np.testing.assert_allclose(losses["box_loss"], 2.0 * expected[POSITIVE].sum() / (POSITIVE.sum() + 1), rtol=1e-5)


def test_options_are_checked_and_survive_json() -> None:
    options = RetinaNetOptions.of({"aspect_ratios": [1, 2], "head_depth": 3.0, "box_weight": 7})
    assert (options.aspect_ratios, options.head_depth, options.box_weight) == ((1.0, 2.0), 3, 7.0)
    assert type(options.head_depth) is int
    assert RetinaNetOptions.of(options.plain()) == options
    assert options.of_weights().keys() == {"head_depth", "head_width", "num_scales", "aspect_ratios", "anchor_size"}
    with pytest.raises(ValueError, match=r"Unknown option 'head_dept'. Did you mean 'head_depth'\?"):
        RetinaNetOptions.of({"head_dept": 3})


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        ("head_depth", -1, "at least 0"),
        ("head_depth", 1.5, "a whole number"),
        ("head_width", True, "a whole number"),
        ("score_threshold", 1.1, "at most 1"),
        ("score_threshold", "0.5", "a number"),
        ("huber_delta", 0, "above 0"),
        ("focal_gamma", float("nan"), "a number"),
        ("aspect_ratios", [1.0, 0.0], "above 0"),
        ("aspect_ratios", [], "1 to 100 numbers"),
        ("background", 1, "true or false"),
        ("box_loss", "hubert", "Did you mean 'huber'"),
    ],
)
def test_a_value_out_of_range_is_told_by_its_name(name, value, told) -> None:
    with pytest.raises(ValueError, match=rf"{name}.*{told}.*Received: {name}="):
        RetinaNetOptions(**{name: value})
