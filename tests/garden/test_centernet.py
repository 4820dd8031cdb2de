"""CenterNet gives Model Garden's numbers: outputs, targets, losses and their gradients, detections.

Where Model Garden is at fault a test of its own says what ours does.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
import tf_keras
from official.projects.centernet.configs import centernet as configs
from official.projects.centernet.losses.centernet_losses import PenaltyReducedLogisticFocalLoss
from official.projects.centernet.modeling.layers.detection_generator import CenterNetDetectionGenerator
from official.projects.centernet.ops import target_assigner
from official.projects.centernet.tasks.centernet import CenterNetTask
from official.vision.configs import backbones as backbone_configs
from official.vision.configs import common
from parity import record, relative

import spinenet_tf
from spinenet_tf.checkpoints.garden_model import canonical_variables
from spinenet_tf.checkpoints.names import variables_by_name
from spinenet_tf.heads.centernet import CenterNet, CenterNetOptions, decode, losses
from spinenet_tf.ops.center_losses import penalty_reduced_focal_loss
from spinenet_tf.ops.heatmaps import center_targets, gaussian_radius

SIDE, STRIDE, CLASSES, ROWS = 128, 8, 7, 9
CELLS = SIDE // STRIDE
OPTIONS = CenterNetOptions(stride=STRIDE)
GROUND_TRUTH = {
    "none": np.zeros((0, 4)),
    "one": np.array([[20.0, 30, 70, 90]]),
    "crowded": np.array([[y, x, y + 30, x + 24] for y in range(0, 90, 30) for x in range(0, 90, 40)], float),
    "tiny": np.array([[5.0, 5, 6, 6.5], [60, 60, 62, 61], [100, 3, 103, 4]]),
    "large": np.array([[0.0, 0, 128, 128], [4, 2, 127, 100], [10, 60, 110, 128]]),
    "same place": np.array([[32.0, 32, 64, 64], [32, 32, 64, 64], [30, 30, 66, 66]]),
}


def _classes(boxes: np.ndarray) -> np.ndarray:
    return np.arange(len(boxes)) % CLASSES


def _garden_labels(boxes: np.ndarray, classes: np.ndarray) -> dict:
    """Return the labels of one image, with padding rows at the end."""
    rest = ROWS - len(boxes)
    return {
        "boxes": tf.constant(np.concatenate([boxes, np.zeros((rest, 4))]), tf.float32),
        "classes": tf.constant(np.concatenate([classes, np.zeros(rest)]), tf.int32),
        "groundtruths": {"num_detections": tf.constant(len(boxes))},
        "unpad_image_shapes": tf.constant([SIDE, SIDE, 3]),
    }


def _garden_targets(boxes: np.ndarray, classes: np.ndarray) -> dict[str, np.ndarray]:
    labels = _garden_labels(boxes, classes)
    sizes = {"output_size": [CELLS, CELLS], "input_size": [SIDE, SIDE]}
    found = target_assigner.assign_centernet_targets(labels, **sizes, num_classes=CLASSES, max_num_instances=ROWS)
    return {name: value.numpy() for name, value in found.items()}


def _padded(boxes: np.ndarray, classes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    rest = ROWS - len(boxes)
    return np.concatenate([boxes, np.full((rest, 4), 9.0)]), np.append(classes, [-1] * rest)


def _our_targets(boxes: np.ndarray, classes: np.ndarray):
    boxes, classes = _padded(boxes, classes)
    return center_targets(boxes[None], classes[None], CELLS, CELLS, CLASSES, STRIDE, 0.7, "published")


@pytest.mark.parametrize("case", GROUND_TRUTH)
def test_targets(case):
    boxes = GROUND_TRUTH[case]
    theirs, ours = _garden_targets(boxes, _classes(boxes)), _our_targets(boxes, _classes(boxes))
    count = len(boxes)
    np.testing.assert_array_equal(ours.is_object[0], theirs["box_mask"] == 1)
    cells = theirs["box_indices"] @ [CELLS, 1]
    np.testing.assert_array_equal(ours.cells[0][:count], cells[:count])
    if not count:
        assert not np.asarray(ours.heatmap).any()
        return
    record("CenterNet", "heatmap targets", relative(ours.heatmap[0], theirs["ct_heatmaps"]), 1e-6)
    record("CenterNet", "size targets", relative(ours.sizes[0][:count], theirs["size"][:count]), 1e-6)
    error = np.abs(ours.offsets[0][:count] - theirs["ct_offset"][:count]).max()
    record("CenterNet", "offset targets", float(error), 1e-5)


def test_the_radius_is_theirs_and_theirs_is_too_large():
    sizes = np.random.default_rng(0).uniform(0.5, 100, (100, 2)).astype("float32")
    theirs = target_assigner.max_distance_for_overlap(*sizes.T, 0.7).numpy()
    record("CenterNet", "radius of the Gaussians", relative(gaussian_radius(sizes, 0.7, "published"), theirs), 1e-5)
    assert (theirs > 3 * np.asarray(gaussian_radius(sizes, 0.7, "exact"))).all()


def test_a_center_outside_of_the_image_is_no_object_where_model_garden_reads_past_the_map():
    boxes = np.array([[-40.0, -30, 20, 25], [20, 30, 70, 90], [200, 200, 260, 260]])
    theirs, ours = _garden_targets(boxes, np.zeros(3)), _our_targets(boxes, np.zeros(3))
    assert theirs["box_indices"].min() < 0
    assert theirs["box_indices"].max() >= CELLS
    np.testing.assert_array_equal(ours.is_object[0, :3], [False, True, False])
    alone = _our_targets(boxes[1:2], np.zeros(1))
    np.testing.assert_array_equal(ours.heatmap, alone.heatmap)


def _batch(cases: Iterable[str]) -> tuple[dict, dict[str, np.ndarray]]:
    """Return a batch's labels as Model Garden takes them, and as we do."""
    truth = [(GROUND_TRUTH[case], _classes(GROUND_TRUTH[case])) for case in cases]
    boxes, classes = map(np.stack, zip(*(_padded(*pair) for pair in truth), strict=True))
    labels = tf.nest.map_structure(lambda *rows: tf.stack(rows), *(_garden_labels(*each) for each in truth))
    return labels, {"boxes": boxes, "classes": classes}


def _config() -> configs.CenterNetTask:
    config = configs.CenterNetTask(weight_decay=0.0)
    config.model.num_classes, config.model.max_num_instances = CLASSES, ROWS
    config.model.input_size, config.losses.class_offset = [SIDE, SIDE, 3], 0
    return config


def _raw(seed: int, batch: int = 2) -> dict[str, tf.Variable]:
    rng = np.random.default_rng(seed)
    shape = (batch, CELLS, CELLS)
    values = {
        "heatmap": rng.normal(-2, 2, (*shape, CLASSES)),
        "sizes": rng.normal(4, 3, (*shape, 2)),
        "offsets": rng.uniform(-0.2, 1.2, (*shape, 2)),
    }
    return {name: tf.Variable(value, dtype=tf.float32) for name, value in values.items()}


def _our_raw(raw: dict) -> dict:
    return {name: {"P3": tf.convert_to_tensor(value)} for name, value in raw.items()}


def _garden_raw(raw: dict) -> dict:
    return {"ct_heatmaps": [raw["heatmap"]], "ct_size": [raw["sizes"]], "ct_offset": [raw["offsets"]]}


@pytest.mark.parametrize("cases", [("none", "none"), ("one", "crowded"), ("large", "same place"), ("tiny", "none")])
def test_losses_and_their_gradients(cases):
    task = CenterNetTask(_config())
    task._net_down_scale = STRIDE
    labels, truth = _batch(cases)
    raw = _raw(1)
    with tf.GradientTape(persistent=True) as tape:
        ours = losses(_our_raw(raw), truth, OPTIONS)
        our_total = sum(ours.values())
        theirs = task.build_losses(_garden_raw(raw), labels)
    total = theirs["total_loss"]
    record("CenterNet", "loss of heatmaps", relative(ours["heatmap_loss"], theirs["ct_loss"]), 1e-5)
    for piece, theirs_piece, weight in (("size", "scale_loss", 0.1), ("offset", "ct_offset_loss", 1.0)):
        error = abs(float(ours[f"{piece}_loss"]) - weight * float(theirs[theirs_piece])) / float(total)
        record("CenterNet", f"loss of {piece}s", error, 1e-5)
    for piece, variable in raw.items():
        got, expected = tape.gradient(our_total, variable), tape.gradient(total, variable)
        got, expected = tf.convert_to_tensor(got), tf.convert_to_tensor(expected)
        record("CenterNet", f"gradient of {piece}", relative(got, expected), 1e-5)


def test_a_center_that_is_missed_is_learned_where_model_garden_has_no_gradient():
    """Model Garden clips probabilities to 1e-4..1 - 1e-4, and with them the gradient."""
    logits, heatmap = tf.Variable(np.full((1, 1, 1, 1), -12.0, "float32")), np.ones((1, 1, 1, 1), "float32")
    with tf.GradientTape(persistent=True) as tape:
        ours = tf.reduce_sum(penalty_reduced_focal_loss(tf.convert_to_tensor(logits), heatmap, 2.0, 4.0))
        theirs = tf.reduce_sum(PenaltyReducedLogisticFocalLoss()(logits, heatmap))
    assert tf.reduce_sum(tape.gradient(theirs, logits)) == 0
    assert tf.reduce_sum(tape.gradient(ours, logits)) < -0.9


def _detect(raw: dict) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Return our detections, and Model Garden's, which number classes from 1."""
    ours = decode(_our_raw(raw), OPTIONS, (SIDE, SIDE))
    theirs = CenterNetDetectionGenerator(SIDE, STRIDE)(_garden_raw(raw))
    return tuple({name: np.asarray(value) for name, value in found.items()} for found in (ours, theirs))


def test_detections():
    ours, theirs = _detect(_raw(5))
    np.testing.assert_array_equal(ours["num_detections"], theirs["num_detections"])
    assert (ours["num_detections"] == 100).all()
    np.testing.assert_array_equal(ours["classes"], theirs["classes"] - 1)
    record("CenterNet", "scores", relative(ours["scores"], theirs["confidence"]), 1e-6)
    record("CenterNet", "boxes", relative(ours["boxes"], theirs["boxes"]), 1e-5)


def test_two_equal_neighbors_are_one_detection_where_model_garden_has_two():
    raw = {name: np.full(value.shape, -9.0, "float32") for name, value in _raw(0, 1).items()}
    raw["heatmap"][0, 4, 4:6, 2] = raw["heatmap"][0, 9, 3, 1] = 1.0
    ours, theirs = _detect(raw)
    found, twice = ours["classes"][ours["scores"] > 0.5], theirs["classes"][theirs["confidence"] > 0.5]
    np.testing.assert_array_equal(found, [2, 1])
    np.testing.assert_array_equal(twice - 1, [2, 2, 1])


@pytest.fixture
def garden_centernet() -> Callable:
    """Return `build(name, activation)`: Model Garden's CenterNet on P3 of one of our mobile nets, built by its task."""

    def build(name: str, activation: str):
        config = _config()
        net = backbone_configs.SpineNetMobile(model_id=name.rpartition("_")[2].upper(), min_level=3, max_level=7)
        config.model.backbone = backbone_configs.Backbone(type="spinenet_mobile", spinenet_mobile=net)
        config.model.head.input_levels = ["3"]
        config.model.norm_activation = common.NormActivation(
            activation=activation, norm_momentum=0.99, norm_epsilon=1e-3
        )
        task = CenterNetTask(config)
        model = task.build_model()
        model(tf.zeros([1, SIDE, SIDE, 3]))
        return task, model

    return build


@pytest.mark.parametrize(("name", "activation"), [("spinenet_mobile_49xs", "swish"), ("spinenet_mobile_49", "relu6")])
def test_whole_net(name, activation, garden_centernet, same_weights, images):
    _, theirs = garden_centernet(name, activation)
    whole = spinenet_tf.backbone(name, (SIDE, SIDE, 3), activation=activation)
    same_weights(whole, theirs.backbone)
    ours = _on_p3(name, activation, whole)
    _copy_head(ours, theirs.head)
    x = images(SIDE, SIDE)
    got, expected = ours(x, training=False), theirs(x, training=False)
    for piece, garden_name in (("heatmap", "ct_heatmaps"), ("sizes", "ct_size"), ("offsets", "ct_offset")):
        worst = relative(got[piece]["P3"], expected["raw_output"][garden_name][0])
        record(f"{name}, CenterNet", f"{piece}, float32", worst, 1e-4)
    found = ours.predict_on_batch(x)
    np.testing.assert_array_equal(found["classes"], expected["classes"] - 1)
    record(f"{name}, CenterNet", "scores, float32", relative(found["scores"], expected["confidence"]), 1e-4)
    record(f"{name}, CenterNet", "boxes, float32", relative(found["boxes"], expected["boxes"]), 1e-3)


@pytest.mark.slow
@pytest.mark.usefixtures("float64")
def test_one_step_of_training(garden_centernet, same_weights, images):
    """Model Garden's own step, which clips gradients to a global norm of 10, and ours by `train_on_batch`."""
    name, activation, rate = "spinenet_mobile_49xs", "swish", 0.1
    task, theirs = garden_centernet(name, activation)
    whole = spinenet_tf.backbone(name, (SIDE, SIDE, 3), activation=activation)
    same_weights(whole, theirs.backbone)
    ours = _on_p3(name, activation, whole)
    _copy_head(ours, theirs.head)
    pairs = list(_pairs(ours, whole, theirs))
    before = [np.asarray(mine) for mine, _ in pairs]
    labels, truth = _batch(["one", "crowded", "large", "none"])
    x = images(SIDE, SIDE, 4)
    their_loss = task.train_step((tf.constant(x, tf.float64), labels), theirs, tf_keras.optimizers.SGD(rate))["loss"]
    ours.compile(keras.optimizers.SGD(rate, global_clipnorm=10.0))
    our_loss = ours.train_on_batch(x, truth, return_dict=True)["loss"]
    record(f"{name}, CenterNet", "loss in training, float64", relative(our_loss, their_loss), 1e-5)
    scale = max(np.abs(np.asarray(other) - start).max() for (_, other), start in zip(pairs, before, strict=True))
    worst = max(np.abs(np.asarray(mine) - np.asarray(other)).max() for mine, other in pairs)
    record(f"{name}, CenterNet", "one step of SGD, float64", float(worst / scale), 1e-5)


def _pairs(ours: CenterNet, whole, theirs) -> Iterator[tuple]:
    """Yield each of our variables, BN statistics too, and Model Garden's; `whole` is our backbone with all levels."""
    names = {id(variable): name for name, variable in variables_by_name(whole).items()}
    named = canonical_variables(theirs.backbone.variables)
    for layer in ours.backbone.layers:
        for mine, variable in zip(layer.variables, whole.get_layer(layer.name).variables, strict=True):
            yield mine, named[names[id(variable)]]
    for layer_name, conv in _head_convs(theirs.head):
        yield from zip(ours.get_layer(layer_name).variables, conv.variables, strict=True)


def _on_p3(name: str, activation: str, whole) -> CenterNet:
    """Return our detector on P3 only, without layers for other levels, with the weights of a whole backbone."""
    backbone = spinenet_tf.backbone(name, (SIDE, SIDE, 3), max_level=3, activation=activation)
    for layer in backbone.layers:
        layer.set_weights(whole.get_layer(layer.name).get_weights())
    options = CenterNetOptions(stride=STRIDE, head_width=backbone.style.endpoint, tower="full")
    return CenterNet(backbone, CLASSES, options)


def _copy_head(ours: CenterNet, head) -> None:
    """Set the same random weights in both heads, large enough for varied sizes and peaks."""
    rng = np.random.default_rng(3)
    for layer_name, conv in _head_convs(head):
        values = [rng.normal(0, 0.1, weight.shape) for weight in conv.get_weights()]
        conv.set_weights(values)
        ours.get_layer(layer_name).set_weights(values)


def _head_convs(head) -> Iterator[tuple[str, Any]]:
    """Yield our name of each layer of the head, and Model Garden's conv."""
    for piece, garden_name in (("heatmap", "ct_heatmaps3"), ("sizes", "ct_size3"), ("offsets", "ct_offset3")):
        theirs = head.get_layer(garden_name)
        yield from ((f"{piece}_conv", theirs.conv1), (f"{piece}_predictor", theirs.conv2))
