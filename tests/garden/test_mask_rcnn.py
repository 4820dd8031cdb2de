"""Mask R-CNN equals Model Garden's: the outputs of the first stage, the detections and their masks, and the losses."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf
from parity import record, relative

import spinenet_tf
from spinenet_tf.checkpoints import garden_model

SIDE, CLASSES = 128, 7  # with the background
OPTIONS = {
    "rpn_width": 24, "box_width": 24, "mask_width": 24, "fc_width": 32, "background": True, "level_proposals": 60,
    "proposals": 40, "max_detections": 12, "score_threshold": 0.0, "iou_threshold": 0.5, "pre_nms_top_k": 280,
}  # fmt: skip


def settle(net: keras.Model, x: np.ndarray) -> None:
    """Set random weights in the heads, whose outputs have the spread of a trained net's.

    Otherwise scores round to 1, boxes are clipped to an edge, and each side sorts equals in its own way.
    """
    rng = np.random.default_rng(1)
    for variable in (variable for part in (net.rpn, net.box_head, net.mask_head) for variable in part.weights):
        is_kernel, fan_in = len(variable.shape) > 1, max(1, np.prod(variable.shape[:-1]))
        value = (
            rng.normal(0.0, np.sqrt(2.0 / fan_in), variable.shape)
            if is_kernel
            else rng.uniform(0.5, 1.0, variable.shape)
        )
        variable.assign(value)

    def spread(predictor: keras.layers.Layer, outputs, wanted: float) -> None:
        scale = wanted / np.std(np.concatenate([np.ravel(each) for each in tf.nest.flatten(outputs)]))
        predictor.set_weights([scale * value for value in predictor.get_weights()])

    for name, wanted in (("rpn_logits", 2.0), ("rpn_deltas", 0.3)):
        spread(net.rpn.get_layer(f"{name}_predictor"), net.first_stage(x)[name], wanted)
    first = net.first_stage(x)
    rois = net.get_layer("proposals")(first["rpn_logits"], first["rpn_deltas"], x)
    found = net.box_head(net.get_layer("box_roi_align")(first["features"], rois))
    spread(net.box_head.get_layer("box_class_predictor"), found["class_logits"], 1.5)
    spread(net.box_head.get_layer("box_delta_predictor"), found["box_deltas"], 1.0)
    masks = net.mask_head(net.get_layer("mask_roi_align")(first["features"], rois))
    spread(net.mask_head.get_layer("mask_predictor"), masks, 2.0)


@pytest.fixture(scope="module")
def pair(randomize, images) -> tuple:
    """Return our net and Model Garden's with the same random weights."""
    ours = randomize(spinenet_tf.detector("spinenet_49s", CLASSES, (SIDE, SIDE, 3), "mask_rcnn", **OPTIONS))
    settle(ours, images(SIDE, SIDE))
    theirs = garden_model.build(ours)
    garden_model.copy_weights(ours, theirs)
    return ours, theirs


def test_the_whole_net(pair, images) -> None:
    ours, theirs = pair
    x = images(SIDE, SIDE)
    expected = theirs(x, image_shape=tf.constant([[SIDE, SIDE]] * 2), training=False)
    first, found = ours.first_stage(x), ours(x)
    for ours_name, theirs_name in (("rpn_logits", "rpn_scores"), ("rpn_deltas", "rpn_boxes")):
        worst = max(relative(first[ours_name][f"P{k}"], expected[theirs_name][str(k)]) for k in range(3, 8))
        record("Mask R-CNN", f"{ours_name}, float32", worst, 1e-4)
    np.testing.assert_array_equal(found["num_detections"], expected["num_detections"])
    np.testing.assert_array_equal(found["classes"], expected["detection_classes"])
    for name, theirs_name in (
        ("scores", "detection_scores"),
        ("boxes", "detection_boxes"),
        ("masks", "detection_masks"),
    ):
        record("Mask R-CNN", f"detections, {name}", relative(found[name], expected[theirs_name]), 1e-3)
    assert np.ptp(found["masks"]) > 0.5
