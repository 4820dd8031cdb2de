"""RetinaNet equals Model Garden's: outputs, anchors, targets, losses, detections, and a training step."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import tensorflow as tf
from official.modeling import optimization
from official.vision.configs import retinanet as configs
from official.vision.modeling.layers.detection_generator import MultilevelDetectionGenerator
from official.vision.ops import anchor, preprocess_ops
from official.vision.tasks.retinanet import RetinaNetTask
from parity import record, relative

import spinenet_tf
from spinenet_tf.checkpoints.garden_model import canonical_variables
from spinenet_tf.checkpoints.names import variables_by_name
from spinenet_tf.data.fitting import preprocess
from spinenet_tf.heads.retinanet import RetinaNetOptions, retinanet_loss
from spinenet_tf.ops.anchors import AnchorSpec, anchors, concatenate
from spinenet_tf.ops.assignment import assign
from spinenet_tf.ops.decoding import detections

SIDE, CLASSES = 128, 7
LEVELS = ("3", "4", "5", "6", "7")
GROUND_TRUTH = {
    "none": np.zeros((0, 4)),
    "one": np.array([[20.0, 30, 70, 90]]),
    "crowded": np.array([[y, x, y + 30, x + 24] for y in range(0, 90, 12) for x in range(0, 90, 15)], float),
    "tiny": np.array([[5.0, 5, 6, 6.5], [60, 60, 62, 61], [100, 3, 103, 4]]),
    "outside": np.array([[-40.0, -30, 20, 25], [100, 100, 190, 170], [200, 200, 260, 260]]),
    "same place": np.array([[32.0, 32, 64, 64], [32, 32, 64, 64], [30, 30, 66, 66]]),
}


@pytest.mark.parametrize(
    ("name", "head_width", "activation"), [("spinenet_49s", 128, "relu"), ("spinenet_mobile_49xs", 24, "swish")]
)
def test_raw_outputs(name, head_width, activation, garden_detector, same_weights, images):
    ours = spinenet_tf.detector(name, CLASSES, (SIDE, SIDE, 3), activation=activation)
    theirs = garden_detector(name, CLASSES, SIDE, head_width, activation)
    same_weights(ours, theirs)
    x = images(SIDE, SIDE)
    got, expected = ours(x, training=False), theirs(x, training=False)
    for piece, garden_name in (("class_logits", "cls_outputs"), ("box_deltas", "box_outputs")):
        worst = max(relative(got[piece][f"P{level}"], expected[garden_name][level]) for level in LEVELS)
        record(name, f"{piece}, float32", worst, 1e-4)


@pytest.mark.parametrize("size", [(128, 128), (256, 384)])
def test_anchors(size):
    generator = anchor.build_anchor_generator(3, 7, 3, [0.5, 1.0, 2.0], 3.0)
    expected = np.concatenate([np.reshape(boxes, (-1, 4)) for boxes in generator(size).values()])
    record("RetinaNet", "anchors", relative(concatenate(anchors(*size, AnchorSpec())), expected), 1e-6)


def _garden_targets(boxes: np.ndarray, classes: np.ndarray) -> SimpleNamespace:
    generator = anchor.build_anchor_generator(3, 7, 3, [0.5, 1.0, 2.0], 3.0)
    labels = anchor.AnchorLabeler(0.5, 0.5).label_anchors(
        generator((SIDE, SIDE)), tf.constant(boxes, tf.float32), tf.constant(classes[:, None], tf.int32)
    )
    return SimpleNamespace(classes=labels[0], boxes=labels[1], class_weights=labels[3], box_weights=labels[4])


def _flat(levels, values: int) -> np.ndarray:
    return np.concatenate([np.reshape(x, (-1, values)) for x in levels.values()])


@pytest.mark.parametrize("case", GROUND_TRUTH)
def test_assignment(case):
    boxes = GROUND_TRUTH[case]
    classes = np.arange(len(boxes)) % CLASSES
    theirs = _garden_targets(boxes, classes)
    padded = np.concatenate([boxes, np.full((3, 4), 9.0)])
    labels = np.concatenate([classes, [-1] * 3])
    ours = assign(concatenate(anchors(SIDE, SIDE, AnchorSpec())), padded[None], labels[None])
    np.testing.assert_array_equal(ours.positive[0], theirs.box_weights == 1.0)
    np.testing.assert_array_equal(theirs.class_weights, np.ones(len(theirs.class_weights)))
    np.testing.assert_array_equal(ours.class_targets[0], _flat(theirs.classes, 1)[:, 0])
    positive = np.asarray(ours.positive[0])
    if positive.any():
        worst = relative(np.asarray(ours.box_targets[0])[positive], _flat(theirs.boxes, 4)[positive])
        record("RetinaNet", f"box targets, {case}", worst, 1e-5)


@pytest.mark.parametrize("case", ["none", "one", "crowded"])
def test_losses_and_their_gradients(case):
    boxes = GROUND_TRUTH[case]
    classes = 1 + np.arange(len(boxes)) % (CLASSES - 1)
    theirs = _garden_targets(boxes, classes)
    count = len(theirs.box_weights)
    rng = np.random.default_rng(3)
    logits = tf.Variable(rng.normal(-2, 2, (1, count, CLASSES)), dtype=tf.float32)
    deltas = tf.Variable(rng.normal(0, 0.3, (1, count, 4)), dtype=tf.float32)
    task = RetinaNetTask(configs.RetinaNetTask(model=configs.RetinaNet(num_classes=CLASSES)))
    with tf.GradientTape(persistent=True) as tape:
        all_anchors = concatenate(anchors(SIDE, SIDE, AnchorSpec()))
        ours = retinanet_loss(
            logits, deltas, all_anchors, assign(all_anchors, boxes[None], classes[None]), RetinaNetOptions()
        )
        our_total = ours["class_loss"] + ours["box_loss"]
        outputs = {"cls_outputs": _split(logits, CLASSES), "box_outputs": _split(deltas, 4)}
        labels = {
            "cls_targets": {level: x[None] for level, x in theirs.classes.items()},
            "box_targets": {level: x[None] for level, x in theirs.boxes.items()},
            "cls_weights": theirs.class_weights[None],
            "box_weights": theirs.box_weights[None],
        }
        total, class_loss, box_loss, _ = task.build_losses(outputs, labels)
    record("RetinaNet", f"focal loss, {case}", relative(ours["class_loss"], class_loss), 1e-5)
    record("RetinaNet", f"Huber loss, {case}", abs(float(ours["box_loss"]) - 50 * float(box_loss)) / float(total), 1e-5)
    for variable, piece in ((logits, "class logits"), (deltas, "box deltas")):
        got, expected = tape.gradient(our_total, variable), tape.gradient(total, variable)
        record("RetinaNet", f"gradient of {piece}, {case}", relative(got, expected), 1e-5)


def _split(flat, values: int) -> dict:
    """Split `[1, N, values]` into the maps `[1, h, w, A * values]` of all levels."""
    sides = {level: SIDE // 2 ** int(level) for level in LEVELS}
    parts = tf.split(flat, [9 * side**2 for side in sides.values()], axis=1)
    return {
        level: tf.reshape(part, (1, side, side, 9 * values))
        for (level, side), part in zip(sides.items(), parts, strict=True)
    }


def test_no_gradient_is_nan_where_model_gardens_is():
    """Model Garden's modulator is a power of 1 - p, whose gradient is NaN where p rounds to 1 and gamma is small."""
    from official.vision.losses.focal_loss import FocalLoss

    logits = tf.Variable([[[60.0, -60.0]]])
    targets = SimpleNamespace(
        class_targets=tf.constant([[0]]), box_targets=tf.zeros((1, 1, 4)), positive=tf.constant([[True]])
    )
    with tf.GradientTape(persistent=True) as tape:
        ours = retinanet_loss(logits, tf.zeros((1, 1, 4)), None, targets, RetinaNetOptions(focal_gamma=0.5))[
            "class_loss"
        ]
        theirs = FocalLoss(alpha=0.25, gamma=0.5, reduction="sum")(tf.one_hot([[0]], 2), logits)
    assert not np.isfinite(tape.gradient(theirs, logits)).all()
    assert np.isfinite(tape.gradient(ours, logits)).all()


@pytest.mark.parametrize("version", ["v1", "batched"])
def test_detections(version):
    rng = np.random.default_rng(5)
    all_anchors = np.asarray(concatenate(anchors(SIDE, SIDE, AnchorSpec())))
    logits = rng.normal(-4, 2, (2, len(all_anchors), CLASSES)).astype("float32")
    deltas = rng.normal(0, 0.3, (2, len(all_anchors), 4)).astype("float32")
    generator = MultilevelDetectionGenerator(nms_version=version)
    split = lambda x, values: {k: tf.concat([_split(x[i : i + 1], values)[k] for i in range(2)], 0) for k in LEVELS}  # noqa: E731
    boxes = anchor.build_anchor_generator(3, 7, 3, [0.5, 1.0, 2.0], 3.0)((SIDE, SIDE))
    boxes = {level: tf.tile(x[None], (2, 1, 1, 1)) for level, x in boxes.items()}
    theirs = generator(split(deltas, 4), split(logits, CLASSES), boxes, tf.constant([[SIDE, SIDE]] * 2))
    ours = detections(logits, deltas, all_anchors, SIDE, SIDE, **RetinaNetOptions(background=True).pool())
    np.testing.assert_array_equal(ours["num_detections"], theirs["num_detections"])
    for image in range(2):
        count = int(ours["num_detections"][image])
        assert count > 20
        for piece in ("scores", "classes", "boxes"):
            got, expected = (np.asarray(x)[image, :count] for x in (ours[piece], theirs[f"detection_{piece}"]))
            np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("size", [(97, 150), (480, 640), (128, 128), (300, 120)])
def test_preprocessing_of_an_evaluation_image(size):
    image = np.random.default_rng(1).integers(0, 256, (*size, 3), np.uint8)
    image = np.asarray(tf.image.resize(image[::8, ::8], size), np.uint8)  # as smooth as a photograph
    normal = preprocess_ops.normalize_image(tf.constant(image))
    expected, info = preprocess_ops.resize_and_crop_image(normal, [SIDE, SIDE], [SIDE, SIDE], 1.0, 1.0)
    got, scale = preprocess(image, SIDE, SIDE)
    scaled = np.array(size) * float(scale)
    rows, columns = (int(side) for side in np.floor(scaled) - 1)
    difference = float(np.abs(got[:rows, :columns] - expected[:rows, :columns]).mean())
    if (scaled % 1 == 0).all():
        record("RetinaNet", "preprocessed image", difference, 1e-5)
    else:  # Model Garden rounds the resized image to whole pixels, and stretches it a little
        np.testing.assert_allclose(float(scale), info[2].numpy(), rtol=0.02)
        assert difference < 0.05


@pytest.mark.slow
@pytest.mark.usefixtures("float64")
def test_one_step_of_the_published_recipe(garden_detector, same_weights, images):
    """SGD with momentum 0.9, L2 of 4e-5, gradients clipped to a global norm of 10, from the same state."""
    from spinenet_tf.training.optimizers import SGD

    l2, rate = 4e-5, 0.28
    ours = spinenet_tf.detector("spinenet_49s", CLASSES, (SIDE, SIDE, 3), l2=l2)
    theirs = garden_detector("spinenet_49s", CLASSES, SIDE, 128, l2=l2)
    same_weights(ours, theirs)
    before = {name: np.asarray(variable) for name, variable in variables_by_name(ours).items()}
    x = tf.constant(images(SIDE, SIDE), tf.float64)
    boxes, classes = np.stack([GROUND_TRUTH["one"]] * 2), np.array([[1], [2]])
    all_anchors = concatenate(anchors(SIDE, SIDE, AnchorSpec()))
    targets = assign(all_anchors, boxes, classes)

    def loss(class_logits, box_deltas, regularization):
        pieces = retinanet_loss(class_logits, box_deltas, all_anchors, targets, RetinaNetOptions())
        return tf.cast(pieces["class_loss"] + pieces["box_loss"], tf.float64) + tf.add_n(regularization)

    def garden_flat(maps, values):
        return tf.concat([tf.reshape(maps[level], (2, -1, values)) for level in LEVELS], axis=1)

    with tf.GradientTape(persistent=True) as tape:
        our_loss = loss(*ours.flatten(ours(x, training=True)), ours.losses)
        raw = theirs(x, training=True)
        flat = (garden_flat(raw["cls_outputs"], CLASSES), garden_flat(raw["box_outputs"], 4))
        their_loss = loss(*flat, theirs.losses)
    record("spinenet_49s", "loss with L2, float64", relative(our_loss, their_loss), 1e-6)

    optimizer = SGD(rate, 0.9, global_clipnorm=10.0)
    optimizer.apply(tape.gradient(our_loss, [v.value for v in ours.trainable_variables]), ours.trainable_variables)
    params = optimization.SGDConfig(momentum=0.9, global_clipnorm=10.0)
    garden_optimizer = optimization.OptimizerFactory(
        optimization.OptimizationConfig(
            {
                "optimizer": {"type": "sgd", "sgd": params.as_dict()},
                "learning_rate": {"type": "constant", "constant": {"learning_rate": rate}},
            }
        )
    ).build_optimizer(rate)
    trained = theirs.trainable_variables
    garden_optimizer.apply_gradients(zip(tape.gradient(their_loss, trained), trained, strict=True))

    after = canonical_variables(theirs.variables)
    moved = {name: np.asarray(variable) - before[name] for name, variable in variables_by_name(ours).items()}
    scale = max(np.abs(step).max() for step in moved.values())
    worst = max(np.abs(np.asarray(after[name]) - before[name] - step).max() for name, step in moved.items())
    record("spinenet_49s", "one step of SGD, float64", float(worst / scale), 1e-5)
