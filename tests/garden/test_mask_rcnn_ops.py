"""The operations of Mask R-CNN equal Model Garden's: ROI align, box coder, proposals, samplers, losses, detections."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf
from official.vision.losses import maskrcnn_losses
from official.vision.modeling.layers.detection_generator import DetectionGenerator
from official.vision.modeling.layers.mask_sampler import MaskSampler
from official.vision.modeling.layers.roi_generator import MultilevelROIGenerator
from official.vision.modeling.layers.roi_sampler import ROISampler
from official.vision.ops import anchor, box_ops, spatial_transform_ops
from parity import record, relative

from spinenet_tf.heads.mask_rcnn.decoding import select_detections
from spinenet_tf.heads.mask_rcnn.options import MaskRCNNOptions
from spinenet_tf.ops import rcnn_losses
from spinenet_tf.ops.anchors import AnchorSpec, anchors
from spinenet_tf.ops.boxes import decode, encode
from spinenet_tf.ops.proposals import propose
from spinenet_tf.ops.roi_align import multilevel_roi_align
from spinenet_tf.ops.roi_sampling import AnchorTargets, RoiTargets, sample_anchors, sample_masks, sample_rois

WEIGHTS = (10.0, 10.0, 5.0, 5.0)


def random_boxes(rng: np.random.Generator, shape: tuple[int, ...], low: float, high: float) -> np.ndarray:
    corners = np.sort(rng.uniform(low, high, (*shape, 2, 2)), axis=-2)
    return corners.reshape(*shape, 4).astype("float32")


@pytest.mark.parametrize("output_size", [7, 14])
@pytest.mark.parametrize("size", [(256, 384), (640, 640), (224, 224), (100, 150)])
def test_roi_align(size: tuple[int, int], output_size: int) -> None:
    rng = np.random.default_rng(0)
    shapes = {level: [2, *(-(-side // 2**level) for side in size), 5] for level in range(3, 8)}
    features = {str(level): tf.constant(rng.normal(size=shape), tf.float32) for level, shape in shapes.items()}
    boxes = np.minimum(random_boxes(rng, (2, 60), 0, max(size)), np.tile(size, 2).astype("float32"))
    boxes[0, :5] = [[0] * 4, [0, 0, 224, 224], [0, 0, 448, 448], [10, 10, 10, 90], [50, 20, 20, 80]]
    expected = spatial_transform_ops.multilevel_crop_and_resize(features, tf.constant(boxes), output_size)
    got = multilevel_roi_align({f"P{level}": x for level, x in features.items()}, boxes, output_size)
    record("Mask R-CNN", f"ROI align, {size[0]} x {size[1]} px, {output_size} bins", relative(got, expected), 1e-6)


def test_box_coder() -> None:
    rng = np.random.default_rng(1)
    boxes, anchors = random_boxes(rng, (2, 50), 0, 300), random_boxes(rng, (2, 50), 0, 300)
    deltas = encode(boxes, anchors, WEIGHTS)
    record("Mask R-CNN", "encoded boxes", relative(deltas, box_ops.encode_boxes(boxes, anchors, WEIGHTS)), 1e-6)
    wild = 3.0 * np.asarray(deltas)  # beyond the largest scale
    record(
        "Mask R-CNN",
        "decoded boxes",
        relative(decode(wild, anchors, WEIGHTS), box_ops.decode_boxes(wild, anchors, WEIGHTS)),
        1e-6,
    )


SIDE, PER_CELL = 256, 3
LEVELS = range(3, 8)
SPEC = AnchorSpec(num_scales=1)


def maps(rng: np.random.Generator, values: int, mean: float, deviation: float, batch: int = 2) -> dict[str, tf.Tensor]:
    """Return random outputs of an RPN of Model Garden."""
    shapes = {level: (batch, SIDE // 2**level, SIDE // 2**level, PER_CELL * values) for level in LEVELS}
    return {str(level): tf.constant(rng.normal(mean, deviation, shape), tf.float32) for level, shape in shapes.items()}


def ours(levels: dict) -> dict:
    return {f"P{level}": x for level, x in levels.items()}


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize(("deviation", "count"), [(0.2, 1000), (3.0, 300)])
def test_proposals(training: bool, deviation: float, count: int) -> None:
    rng = np.random.default_rng(2)
    logits, deltas = maps(rng, 1, -2.0, 2.0), maps(rng, 4, 0.0, deviation)
    garden_anchors = anchor.build_anchor_generator(3, 7, 1, [0.5, 1.0, 2.0], 3.0)((SIDE, SIDE))
    garden_anchors = {level: tf.tile(x[None], (2, 1, 1, 1)) for level, x in garden_anchors.items()}
    sides = tf.constant([[SIDE, SIDE]] * 2, tf.float32)
    generator = MultilevelROIGenerator(num_proposals=count, test_num_proposals=count)
    expected, _ = generator(deltas, logits, garden_anchors, sides, training=training)
    limits = {"level_top_k": 2000 if training else 1000, "iou_threshold": 0.7, "count": count}
    got = propose(ours(logits), ours(deltas), anchors(SIDE, SIDE, SPEC), SIDE, SIDE, **limits)
    piece = f"proposals, {'training' if training else 'inference'}, {count} of deltas of {deviation}"
    assert np.asarray(got).any(axis=-1).mean() > 0.4
    record("Mask R-CNN", piece, relative(got, expected), 1e-6)


OBJECTS = {
    "none": np.zeros((0, 4)),
    "one": np.array([[20.0, 30, 70, 90]]),
    "crowded": np.array([[y, x, y + 60, x + 48] for y in range(0, 190, 30) for x in range(0, 190, 25)], float),
    "equal to an anchor": np.array([[8.0, 8, 32, 32], [100, 20, 140, 220]]),
}
RPN = {"positive_iou": 0.7, "negative_iou": 0.3, "positive_share": 0.5}


def padded(case: str, rows: int = 60) -> tuple[np.ndarray, np.ndarray]:
    """Return the boxes `[1, rows, 4]` and the classes `[1, rows]` of a scene, padded with -1."""
    boxes = OBJECTS[case]
    classes = 1 + np.arange(len(boxes)) % 5
    padding = rows - len(boxes)
    boxes = np.pad(boxes, ((0, padding), (0, 0)), constant_values=-1)
    return boxes[None].astype("float32"), np.pad(classes, (0, padding), constant_values=-1)[None].astype("int32")


def garden_anchor_targets(case: str, samples: int) -> tuple[dict, dict]:
    boxes = tf.constant(OBJECTS[case], tf.float32)
    generator = anchor.build_anchor_generator(3, 7, 1, [0.5, 1.0, 2.0], 3.0)
    labeler = anchor.RpnAnchorLabeler(rpn_batch_size_per_im=samples)
    return labeler.label_anchors(generator((SIDE, SIDE)), boxes, tf.ones((len(boxes), 1), tf.int32))


def flat(levels: dict, values: int) -> np.ndarray:
    return np.concatenate([np.reshape(x, (-1, values)) for x in levels.values()])


@pytest.mark.parametrize("case", OBJECTS)
def test_anchor_targets(case: str) -> None:
    seed, boxes = keras.random.SeedGenerator(0), padded(case)
    for samples in (100_000, 256, 20):  # all anchors, the published number, and fewer than the positives of a crowd
        labels, box_targets = garden_anchor_targets(case, samples)
        expected = flat(labels, 1)[:, 0]
        got = sample_anchors(anchors(SIDE, SIDE, SPEC), *boxes, samples=samples, seed=seed, **RPN)
        counts = [np.bincount(1 + np.asarray(x).ravel(), minlength=3).tolist() for x in (got.labels, expected)]
        assert counts[0] == counts[1]
        if samples == 100_000:
            np.testing.assert_array_equal(got.labels[0], expected)
    record("Mask R-CNN", f"box targets of anchors, {case}", relative(got.box_targets[0], flat(box_targets, 4)), 1e-6)


def scene(case: str, proposals: int = 300) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return proposals near the objects and elsewhere, boxes and classes."""
    rng, (boxes, classes) = np.random.default_rng(3), padded(case)
    near = boxes[:, rng.integers(0, max(len(OBJECTS[case]), 1), proposals // 2)]
    near = near + rng.normal(0, 6, near.shape)
    rois = np.concatenate([near, random_boxes(rng, (1, proposals - proposals // 2 - 20), 0, SIDE)], axis=1)
    rois = np.pad(np.clip(rois, 0, SIDE), ((0, 0), (0, 20), (0, 0)))  # proposals that are zeros
    return rois.astype("float32"), boxes, classes


def rows(targets: tuple) -> np.ndarray:
    """Return ROI, box, class and index of each sample, in an order that does not depend on that of the samples."""
    columns = [np.asarray(x, "float32").reshape(len(targets[0][0]), -1) for x in targets]
    table = np.concatenate(columns, axis=1)
    return table[np.lexsort(table.T)]


@pytest.mark.parametrize("case", ["one", "crowded"])
def test_roi_targets(case: str) -> None:
    rois, boxes, classes = scene(case)
    limits = {"positive_iou": 0.5, "seed": keras.random.SeedGenerator(0)}
    count = rois.shape[1] + len(OBJECTS[case])  # all but the padding
    garden = ROISampler(num_sampled_rois=count, foreground_fraction=1.0)(rois, boxes, classes)
    got = sample_rois(rois, boxes, classes, samples=count, positive_share=1.0, **limits)
    np.testing.assert_allclose(rows(got), rows(garden), atol=1e-4)
    garden = ROISampler(num_sampled_rois=64)(rois, boxes, classes)
    got = sample_rois(rois, boxes, classes, samples=64, positive_share=0.25, **limits)
    positives = [int(np.sum(np.asarray(x) > 0)) for x in (got.classes, garden[2])]
    assert positives[0] == positives[1] == 16


def test_roi_targets_without_objects() -> None:
    rois, boxes, classes = scene("none")
    garden = ROISampler(num_sampled_rois=64)(rois, boxes, classes)
    limits = {"samples": 64, "positive_share": 0.25, "positive_iou": 0.5, "seed": keras.random.SeedGenerator(0)}
    got = sample_rois(rois, boxes, classes, **limits)
    for ours, theirs in zip(got[1:], garden[1:], strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_mask_targets() -> None:
    rois, boxes, classes = scene("crowded")
    y, x = np.meshgrid(*[np.linspace(-1, 1, 112)] * 2, indexing="ij")
    masks = np.stack([(y - 0.3 * np.cos(k)) ** 2 + x**2 < 0.8 for k in range(60)])[None].astype("float32")
    masks[classes < 0] = -1.0
    sampled = ROISampler(num_sampled_rois=128, foreground_fraction=0.25)(rois, boxes, classes)
    expected = MaskSampler(28, 48)(*sampled, tf.constant(masks))  # 32 positives and 16 of the background
    got = sample_masks(RoiTargets(*sampled), masks, samples=48, size=28)
    positive = np.asarray(expected[1]) > 0
    assert positive.sum() == 32
    for piece, ours, theirs in zip(("ROIs", "classes", "masks"), got, expected, strict=True):
        ours, theirs = (np.asarray(each)[positive] for each in (ours, theirs))
        record("Mask R-CNN", f"mask targets, {piece}", relative(ours, theirs), 1e-5)


def compare(piece: str, our_loss, their_loss, tape: tf.GradientTape, variables: list) -> None:
    record("Mask R-CNN", piece, relative(our_loss, their_loss), 1e-6)
    got, expected = (tape.gradient(loss, variables) for loss in (our_loss, their_loss))
    assert any(np.any(each) for each in expected)
    worst = max(relative(tf.convert_to_tensor(a), tf.convert_to_tensor(b)) for a, b in zip(got, expected, strict=True))
    record("Mask R-CNN", f"gradient of {piece}", worst, 1e-6)


@pytest.mark.parametrize("normalizer", [256, 512])
def test_rpn_losses(normalizer: int) -> None:
    rng, cases = np.random.default_rng(4), ("crowded", "equal to an anchor")
    logits, deltas = ({k: tf.Variable(x) for k, x in maps(rng, n, 0.0, 0.3).items()} for n in (1, 4))
    targets = [garden_anchor_targets(case, 256) for case in cases]
    labels, box_targets = ({k: tf.stack([x[k] for x in part]) for k in logits} for part in zip(*targets, strict=True))
    flat_labels = tf.concat([tf.reshape(x, (2, -1)) for x in labels.values()], axis=1)
    flat_boxes = tf.concat([tf.reshape(x, (2, -1, 4)) for x in box_targets.values()], axis=1)
    with tf.GradientTape(persistent=True) as tape:
        score = rcnn_losses.rpn_score_loss(ours(logits), flat_labels, normalizer)
        box = rcnn_losses.rpn_box_loss(ours(deltas), AnchorTargets(flat_labels, flat_boxes, None), 1 / 9)
        labels = {level: tf.cast(x, tf.float32) for level, x in labels.items()}
        garden_score = maskrcnn_losses.RpnScoreLoss(normalizer)(logits, labels)
        garden_box = maskrcnn_losses.RpnBoxLoss(1 / 9)(deltas, box_targets)
    compare(f"RPN score loss, normalizer {normalizer}", score, garden_score, tape, [*logits.values()])
    if normalizer == 256:
        compare("RPN box loss", box, garden_box, tape, [*deltas.values()])


@pytest.mark.parametrize("positives", [0, 9])
def test_roi_losses(positives: int) -> None:
    rng, classes = np.random.default_rng(5), np.zeros((2, 40), "int32")
    classes[:, :positives] = rng.integers(1, 7, (2, positives))
    shapes = {"class": (2, 40, 7), "box": (2, 40, 28), "mask": (2, 40, 28, 28)}
    raw = {name: tf.Variable(rng.normal(0, 2, shape), dtype=tf.float32) for name, shape in shapes.items()}
    boxes = rng.normal(0, 2, (2, 40, 4)).astype("float32")
    masks = rng.uniform(0, 1, shapes["mask"]).astype("float32")
    with tf.GradientTape(persistent=True) as tape:
        got = {
            "class": rcnn_losses.class_loss(raw["class"], classes),
            "box": rcnn_losses.box_loss(raw["box"], boxes, classes, 1.0),
            "mask": rcnn_losses.mask_loss(raw["mask"], masks, classes),
        }
        expected = {
            "class": maskrcnn_losses.FastrcnnClassLoss()(raw["class"], classes),
            "box": maskrcnn_losses.FastrcnnBoxLoss(1.0)(raw["box"], classes, boxes),
            "mask": maskrcnn_losses.MaskrcnnLoss()(raw["mask"], masks, classes),
        }
    for name in got if positives else ("class",):
        compare(f"{name} loss of ROIs, {positives} positives", got[name], expected[name], tape, [raw[name]])
    if not positives:
        assert float(got["box"]) == float(expected["box"]) == float(got["mask"]) == float(expected["mask"]) == 0.0


@pytest.mark.parametrize("spread", [1.0, 20.0])  # the second moves boxes out of the image
def test_detections(spread: float) -> None:
    rng, classes = np.random.default_rng(6), 7
    rois = random_boxes(rng, (2, 200), 0, SIDE)
    rois[:, 150:] = 0  # rows without a proposal
    logits = rng.normal(0, 1.5, (2, 200, classes)).astype("float32")
    deltas = rng.normal(0, spread, (2, 200, 4 * classes)).astype("float32")
    sides = tf.constant([[SIDE, SIDE]] * 2, tf.float32)
    expected = DetectionGenerator()(deltas, logits, rois, sides, list(WEIGHTS))
    options = MaskRCNNOptions(background=True)
    flat_logits, flat_deltas = (x.reshape(400, -1) for x in (logits, deltas))
    got = select_detections(rois, flat_logits, flat_deltas, (SIDE, SIDE), options)
    np.testing.assert_array_equal(got["num_detections"], expected["num_detections"])
    np.testing.assert_array_equal(got["num_detections"], [100, 100])
    np.testing.assert_array_equal(got["classes"], expected["detection_classes"])
    for piece in ("scores", "boxes"):
        worst = relative(got[piece], expected[f"detection_{piece}"])
        record("Mask R-CNN", f"{piece} of detections, deltas of {spread:g}", worst, 1e-5)
