"""The TF1 zoo's Mask R-CNN: checkpoints with its names load by name. No published archive was available here."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from tf1_files import tf1_values, with_training_state, write

import spinenet_tf
from spinenet_tf import ArchitectureSpec, BlockSpec
from spinenet_tf.checkpoints.checkpoint import CheckpointError
from spinenet_tf.checkpoints.mask_rcnn_names import canonical_tf1_rpn
from spinenet_tf.checkpoints.origins import load_checkpoint, read_checkpoint
from spinenet_tf.checkpoints.tf1_zoo import MASK_RCNN_OVERRIDES
from spinenet_tf.heads.mask_rcnn.decoding import select_detections
from spinenet_tf.heads.mask_rcnn.options import MaskRCNNOptions

SIDE, CLASSES = 64, 4
SPEC = ArchitectureSpec(
    "two_blocks",
    (2, 2),
    (BlockSpec(3, "residual", (0, 1), is_output=True), BlockSpec(4, "residual", (1, 2), is_output=True)),
    {2: 4, 3: 4, 4: 4},
)
WIDTHS = {"rpn_width": 8, "box_width": 8, "fc_width": 16, "mask_width": 8, "endpoint": 8}
OPTIONS = MASK_RCNN_OVERRIDES | WIDTHS | {"box_depth": 2, "mask_depth": 2, "proposals": 20, "max_level": 4}
# The name of each of our layers in the zoo; BNs of the last two heads are not named, so TensorFlow numbers them.
NAMES = {
    "rpn_conv0": "rpn_head/rpn",
    "rpn_conv0_P3_bn": "rpn_head/rpn-l3-bn",
    "rpn_conv0_P4_bn": "rpn_head/rpn-l4-bn",
    "rpn_logits_predictor": "rpn_head/rpn-class",
    "rpn_deltas_predictor": "rpn_head/rpn-box",
    "box_conv0": "fast_rcnn_head/conv_0",
    "box_conv0_bn": "fast_rcnn_head/batch_normalization",
    "box_conv1": "fast_rcnn_head/conv_1",
    "box_conv1_bn": "fast_rcnn_head/batch_normalization_1",
    "box_fc0": "fast_rcnn_head/fc6",
    "box_fc0_bn": "fast_rcnn_head/batch_normalization_2",
    "box_class_predictor": "fast_rcnn_head/class-predict",
    "box_delta_predictor": "fast_rcnn_head/box-predict",
    "mask_conv0": "mask_head/mask-conv-l0",
    "mask_conv0_bn": "mask_head/batch_normalization",
    "mask_conv1": "mask_head/mask-conv-l1",
    "mask_conv1_bn": "mask_head/batch_normalization_1",
    "mask_upsample": "mask_head/conv5-mask",
    "mask_upsample_bn": "mask_head/batch_normalization_2",
    "mask_predictor": "mask_head/mask_fcn_logits",
}


def build(**options):
    return spinenet_tf.detector(SPEC, CLASSES, (SIDE, SIDE, 3), "mask_rcnn", **OPTIONS | options)


def head_values(model) -> dict[str, np.ndarray]:
    """Return the variables of the heads by their names in the zoo."""
    layers = {layer.name: layer for net in (model.rpn, model.box_head, model.mask_head) for layer in net.layers}
    return {f"{name}/{v.name}": np.asarray(v) for layer, name in NAMES.items() for v in layers[layer].variables}


@pytest.fixture(scope="module")
def model(randomize):
    return randomize(build())


@pytest.fixture(scope="module")
def checkpoint(model, tmp_path_factory) -> Path:
    values = tf1_values(model.backbone) | head_values(model)
    return write(with_training_state(values), tmp_path_factory.mktemp("tf1"))


def test_a_checkpoint_loads_by_name(model, checkpoint):
    again = build()
    load_checkpoint(again, checkpoint)
    for name, value in head_values(model).items():
        np.testing.assert_array_equal(head_values(again)[name], value, err_msg=name)
    for ours, theirs in zip(again.backbone.weights, model.backbone.weights, strict=True):
        np.testing.assert_array_equal(np.asarray(ours), np.asarray(theirs))


def test_the_checkpoint_tells_its_head_and_classes(checkpoint):
    source = read_checkpoint(checkpoint)
    assert (source.head, source.num_classes(), source.is_classifier) == ("mask_rcnn", CLASSES, False)
    assert source.overrides(has_mbconv=False) == MASK_RCNN_OVERRIDES


def test_another_head_is_a_list_of_differences(checkpoint):
    with pytest.raises(CheckpointError, match=r"only in the checkpoint: fast_rcnn_head/box-predict/bias"):
        load_checkpoint(spinenet_tf.detector(SPEC, CLASSES, (SIDE, SIDE, 3), tf1_zoo=True, max_level=4), checkpoint)
    with pytest.raises(CheckpointError, match=r"only in the model: fast_rcnn_head/fc7/bias"):
        load_checkpoint(build(fc_depth=2), checkpoint)


def test_boxes_end_in_their_last_pixel():
    """The zoo decodes relative to sides of max - min + 1, then subtracts the 1; its boxes end at size - 1."""
    rois = np.array([[[8.0, 8, 23, 23], [20, 20, 60, 60], [0, 0, 0, 0]]], "float32")
    deltas = np.zeros((3, 8), "float32")
    deltas[0, 4:], deltas[1, 4:] = [1.0, -2.0, 1.5, 0.0], [0.0, 0.0, 2.5, 2.5]
    logits = np.array([[0.0, 3.0], [0.0, 2.0], [0.0, 9.0]], "float32")
    options = MaskRCNNOptions(background=True, plus_one=True)
    found = select_detections(rois, logits, deltas, (SIDE, SIDE), options)
    center, height = 16 + np.array([1.6, -3.2]), 16 * np.exp(0.3)
    first = [center[0] - height / 2, center[1] - 8, center[0] + height / 2 - 1, center[1] + 8 - 1]
    np.testing.assert_allclose(found["boxes"][0, :2], [first, [6.701, 6.701, 63, 63]], rtol=1e-4)
    assert found["num_detections"][0] == 2  # a row without a proposal is none


@pytest.mark.parametrize(
    ("name", "canonical"),
    [
        ("rpn_head/rpn/kernel", "rpn_head/rpn-0/kernel"),
        ("rpn_head/rpn-1/bias", "rpn_head/rpn-1/bias"),
        ("rpn_head/rpn-l3-bn/gamma", "rpn_head/rpn-0-l3-bn/gamma"),
        ("rpn_head/rpn-1-l3-bn/gamma", "rpn_head/rpn-1-l3-bn/gamma"),
        ("rpn_head/rpn-l3-1-bn/gamma", "rpn_head/rpn-1-l3-bn/gamma"),
        ("rpn_head/rpn-l7-bn-2/beta", "rpn_head/rpn-2-l7-bn/beta"),
        ("rpn_head/rpn-class/kernel", None),
        ("rpn_head/rpn-box/bias", None),
    ],
)
def test_convs_of_the_rpn_are_numbered(name, canonical):
    assert canonical_tf1_rpn(name) == canonical
