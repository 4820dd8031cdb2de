"""Mask R-CNN equals Model Garden's: the outputs of the first stage, the detections and their masks, and the losses."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf
import tf_keras
from official.vision.configs import backbones, decoders, maskrcnn
from official.vision.configs import common as garden_common
from official.vision.modeling import factory
from parity import record, relative

import spinenet_tf

SIDE, CLASSES = 128, 7  # with the background
OPTIONS = {
    "rpn_width": 24, "box_width": 24, "mask_width": 24, "fc_width": 32, "background": True, "level_proposals": 60,
    "proposals": 40, "max_detections": 12, "score_threshold": 0.0, "iou_threshold": 0.5, "pre_nms_top_k": 280,
}  # fmt: skip


def garden_model() -> tf_keras.Model:
    config = maskrcnn.MaskRCNN(num_classes=CLASSES, input_size=[SIDE, SIDE, 3], min_level=3, max_level=7)
    config.backbone = backbones.Backbone(type="spinenet", spinenet=backbones.SpineNet(model_id="49S", max_level=7))
    config.decoder = decoders.Decoder(type="identity", identity=decoders.Identity())
    config.anchor.num_scales, config.anchor.anchor_size = 1, 3
    config.rpn_head.num_filters = OPTIONS["rpn_width"]
    config.detection_head.num_filters, config.detection_head.fc_dims = OPTIONS["box_width"], OPTIONS["fc_width"]
    config.mask_head.num_filters = OPTIONS["mask_width"]
    config.roi_generator.test_pre_nms_top_k = OPTIONS["level_proposals"]
    config.roi_generator.test_num_proposals = OPTIONS["proposals"]
    generator = config.detection_generator
    generator.pre_nms_score_threshold, generator.nms_iou_threshold = 0.0, OPTIONS["iou_threshold"]
    generator.max_num_detections, generator.pre_nms_top_k = OPTIONS["max_detections"], OPTIONS["pre_nms_top_k"]
    config.norm_activation = garden_common.NormActivation(activation="relu", norm_momentum=0.99, norm_epsilon=1e-3)
    model = factory.build_maskrcnn(tf_keras.layers.InputSpec(shape=[None, SIDE, SIDE, 3]), config)
    model(tf.zeros([1, SIDE, SIDE, 3]), image_shape=tf.constant([[SIDE, SIDE]]), training=False)
    return model


def head_names(model: keras.Model) -> dict[str, str]:
    """Return Model Garden's name of each variable of the heads, by ours."""
    layers = {"rpn_logits_predictor": "rpn-scores", "rpn_deltas_predictor": "rpn-boxes"}
    layers |= {"box_class_predictor": "detection-scores", "box_delta_predictor": "detection-boxes"}
    layers |= {
        "mask_predictor": "mask-logits",
        "mask_upsample": "mask-upsampling",
        "mask_upsample_bn": "mask-deconv-bn",
    }
    layers |= {"rpn_conv0": "rpn-conv_0"} | {
        f"rpn_conv0_P{level}_bn": f"rpn-conv-norm_{level}_0" for level in range(3, 8)
    }
    layers |= {"box_fc0": "detection-fc_0", "box_fc0_bn": "detection-fc-bn_0"}
    for ours, theirs in (("box", "detection"), ("mask", "mask")):
        layers |= {f"{ours}_conv{index}": f"{theirs}-conv_{index}" for index in range(4)}
        layers |= {f"{ours}_conv{index}_bn": f"{theirs}-conv-bn_{index}" for index in range(4)}
    paths = [x.path for part in (model.rpn, model.box_head, model.mask_head) for x in part.weights]
    return {path: f"{layers[layer]}/{variable}" for path in paths for layer, variable in [path.split("/")]}


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
def pair(same_weights, images) -> tuple:
    """Return our net and Model Garden's with the same random weights."""
    ours = spinenet_tf.detector("spinenet_49s", CLASSES, (SIDE, SIDE, 3), "mask_rcnn", **OPTIONS)
    theirs = garden_model()
    same_weights(ours.backbone, theirs.backbone)
    settle(ours, images(SIDE, SIDE))
    parts, named = (theirs.rpn_head, *theirs.detection_head, theirs.mask_head), {}
    for part in parts:
        named |= {"/".join(x.name.split(":")[0].split("/")[-2:]): x for x in part.variables}
    by_path = {variable.path: variable for variable in ours.weights}
    for path, name in head_names(ours).items():
        named.pop(name).assign(np.asarray(by_path[path]))
    assert not named
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
