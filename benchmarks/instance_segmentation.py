"""Compare Mask R-CNN: inference from a normalized image to boxes with masks, and a training step."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any

import numpy as np

from benchmarks.contender import OURS, THEIRS, Contender, contest, sides
from benchmarks.inference import check_same
from benchmarks.measuring import alternate
from benchmarks.nets import CLASSES, Net, ground_truth, image, with_weights
from benchmarks.results import Row, compare
from benchmarks.training import SLOTS, fit_step, our_compiled, their_optimizer
from benchmarks.work import Part, Settings

NET, BATCH = Net("spinenet_49s", 256), 2
QUICK = Net("spinenet_49s", 128)
MASK_CROP = 112  # side of the masks of the ground truth, both sides' default
GOAL = 1.0
# Their options are made from ours, which are those of the publication: 1000 proposals, 512 ROIs and 128 masks to learn
# from. Both sides train without L2, which the network that `checkpoints.garden_model` builds does not have.


def parts(quick: bool) -> list[Part]:
    """Return one part for inference and one for training."""
    net = QUICK if quick else NET
    return [
        Part(f"instance segmentation/inference, {net.title}", partial(inference, net)),
        Part(f"instance segmentation/training, {net.title}", partial(training, net)),
    ]


def inference(net: Net, settings: Settings) -> Iterator[Row]:
    """Compare a `tf.function` of each side, which returns the same boxes and masks."""
    with sides(partial(_calls, _their_call), partial(_calls, _our_call), net) as pair:
        check_same(pair["theirs"].value("call"), pair["ours"].value("call"))
        times = alternate({side: pair[side].turn("call") for side in pair}, settings.effort)
    yield compare("instance segmentation/inference", net.title, **times, goal=GOAL)


def training(net: Net, settings: Settings) -> Iterator[Row]:
    """Compare steps on the same batch: targets, forward and backward pass, losses, update."""
    starts = {
        "theirs": partial(Contender, _their_turns, net, libraries=THEIRS),
        "ours": partial(Contender, _our_turns, net, libraries=OURS),
    }
    with contest(**starts) as pair:
        times = alternate({side: pair[side].turn("step") for side in pair}, settings.effort)
        memories = {side: [float(pair[side].memory() or 0)] for side in pair}
    title = f"fp32, batch {BATCH}"
    yield compare(f"instance segmentation/training step, {title}", net.title, **times, goal=GOAL)
    if all(value for (value,) in memories.values()):
        yield compare(f"instance segmentation/peak memory in training, {title}", net.title, **memories, unit="MB")


def _build_ours(net: Net) -> Any:
    import spinenet_tf

    return spinenet_tf.detector(net.name, CLASSES, (net.side, net.side, 3), "mask_rcnn", background=True)


def _build_theirs(net: Net) -> Any:
    """Build Model Garden's network with its own factory, and the options of ours."""
    from spinenet_tf.checkpoints import garden_model
    from spinenet_tf.nets.costs import without_values

    return garden_model.build(without_values(lambda: _build_ours(net)), (net.side, net.side))


def _calls(call_of: Callable[[Net], Callable], net: Net) -> Mapping[str, Callable]:
    import tensorflow as tf

    run, images = tf.function(call_of(net), autograph=False), tf.constant(image(net))
    return {"call": lambda: {name: value.numpy() for name, value in run(images).items()}}


def _our_call(net: Net) -> Callable:
    """Return a function from images to detections that score above the threshold, as `predict` returns them."""
    model = with_weights(_build_ours(net))

    def call(images):
        found = model.detect(images, model(images, training=False))
        return {name: found[name] for name in ("num_detections", "scores", "boxes", "masks")}

    return call


def _their_call(net: Net) -> Callable:
    import tensorflow as tf

    model, sides = with_weights(_build_theirs(net)), tf.constant([[net.side, net.side]], tf.float32)

    def call(images):
        found = model(images, image_shape=sides, training=False)
        named = {name: found[f"detection_{name}"] for name in ("scores", "boxes", "masks")}
        used = tf.cast(named["scores"] > 0, tf.float32)  # their masks of other slots are those of an empty box
        masks = named["masks"] * used[..., None, None]
        return {"num_detections": found["num_detections"], **named, "masks": masks}

    return call


def _our_turns(net: Net) -> Mapping[str, Callable]:
    from spinenet_tf._fast.pools import share_one_pool

    share_one_pool()
    model = with_weights(our_compiled(_build_ours(net)))
    boxes, classes, masks = _padded(net, empty_box=0.0)
    truth = {"boxes": boxes, "classes": classes.astype("int32"), "masks": masks}
    return {"step": fit_step(model, _endless(image(net, BATCH), truth))}


def _their_turns(net: Net) -> Mapping[str, Callable]:
    import tensorflow as tf
    from official.vision.configs import maskrcnn
    from official.vision.tasks.maskrcnn import MaskRCNNTask

    model, task = with_weights(_build_theirs(net)), MaskRCNNTask(maskrcnn.MaskRCNNTask())
    optimizer, metrics, targets_of = their_optimizer(), task.build_metrics(training=True), _their_labeler(net)
    boxes, classes, masks = _padded(net, empty_box=-1.0)
    info = np.broadcast_to(np.array([[net.side] * 2, [net.side] * 2, [1, 1], [0, 0]], "float32"), (BATCH, 4, 2))
    truth = {"gt_boxes": boxes, "gt_classes": classes.astype("int32"), "gt_masks": masks, "image_info": info}
    stream = iter(_endless(image(net, BATCH), truth, *ground_truth(net, BATCH)))

    @tf.function
    def step(stream):
        images, truth, boxes, classes = next(stream)
        found = [targets_of(boxes[index], classes[index]) for index in range(BATCH)]
        targets = tf.nest.map_structure(lambda *values: tf.stack(values), *found)
        return task.train_step((images, truth | targets), model, optimizer, metrics)[task.loss]

    return {"step": lambda: float(step(stream))}


def _their_labeler(net: Net) -> Callable:
    """Return what Model Garden's input pipeline does for one image: from boxes and classes to anchors and targets."""
    import tensorflow as tf
    from official.vision.ops import anchor

    from spinenet_tf.heads.table import find_head, options_of

    spec = options_of(net.name, find_head("mask_rcnn")).anchor_spec(3, 7)
    generator = anchor.build_anchor_generator(3, 7, spec.num_scales, list(spec.aspect_ratios), spec.size)
    labeler = anchor.RpnAnchorLabeler()

    def targets_of(boxes, classes):
        anchors = generator((net.side, net.side))
        scores, deltas = labeler.label_anchors(anchors, boxes, tf.cast(classes, tf.float32)[:, None])
        return {"anchor_boxes": anchors, "rpn_score_targets": scores, "rpn_box_targets": deltas}

    return targets_of


def _padded(net: Net, empty_box: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return boxes, classes and masks with rows of padding; the objects are ellipses that fill their boxes."""
    boxes, classes = ground_truth(net, BATCH)
    rows, columns = np.mgrid[-1 : 1 : MASK_CROP * 1j, -1 : 1 : MASK_CROP * 1j]
    ellipse = (rows**2 + columns**2 <= 1).astype("float32")
    masks = np.broadcast_to(ellipse, (*classes.shape, MASK_CROP, MASK_CROP))
    rest = ((0, 0), (0, SLOTS - classes.shape[1]))
    return (
        np.pad(boxes, (*rest, (0, 0)), constant_values=empty_box),
        np.pad(classes, rest, constant_values=-1),
        np.pad(masks, (*rest, (0, 0), (0, 0)), constant_values=-1),
    )


def _endless(*batch: Any) -> Any:
    """Return an endless `tf.data` stream of one batch."""
    import tensorflow as tf

    return tf.data.Dataset.from_tensors(batch).cache().repeat()
