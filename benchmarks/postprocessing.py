"""Compare decoding and NMS with each of Model Garden's versions of NMS, on the same raw outputs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any

import numpy as np

from benchmarks.contender import sides
from benchmarks.measuring import alternate
from benchmarks.nets import BOXES
from benchmarks.results import Row, compare
from benchmarks.work import Part, Settings

SIDE, CLASSES = 640, 80
DEFAULT = "v2"  # of Model Garden's config
GOALS = {DEFAULT: 8.0, "batched": 1.0}
LEVELS = range(3, 8)
PER_LOCATION = 9
NOISE = {"trained": (-7.5, 0.8), "untrained": (-5.0, 1.2)}  # mean and standard deviation of the background logits


def parts(quick: bool) -> list[Part]:
    """Return the parts: outputs like those of a trained network, and of one early in training."""
    return [Part(f"post-processing/{kind}", partial(versions, kind)) for kind in (("trained",) if quick else NOISE)]


def versions(kind: str, settings: Settings) -> Iterator[Row]:
    """Compare with each version of Model Garden's NMS."""
    names = ("batched", DEFAULT) if settings.quick else ("batched", DEFAULT, "v1", "v3")
    with sides(partial(their_turns, names=names), our_turns, kind, CLASSES) as pair:
        _check_same(pair["theirs"].value("batched"), pair["ours"].value("ours"))
        for name in names:
            turns = {"theirs": pair["theirs"].turn(name), "ours": pair["ours"].turn("ours")}
            times = alternate(turns, settings.effort)
            against = f"TF Model Garden, NMS {name}" + (" (its default)" if name == DEFAULT else "")
            title = f"post-processing/as {kind}, {CLASSES} classes"
            yield compare(title, f"@{SIDE}", **times, goal=GOALS.get(name), against=against)


def _check_same(theirs: Mapping[str, np.ndarray], ours: Mapping[str, np.ndarray]) -> None:
    """Check that both sides return the same detections.

    Raises:
        ValueError: counts or scores differ.
    """
    counts = int(theirs["num_detections"][0]), int(ours["num_detections"][0])
    same = np.allclose(theirs["detection_scores"][0, : counts[0]], ours["scores"][0, : counts[1]], atol=1e-4)
    if counts[0] != counts[1] or not same:
        raise ValueError(f"The detections differ. Received: counts={counts}, same scores={same}")


def our_turns(kind: str, classes: int) -> Mapping[str, Callable]:
    """Return a turn with our decoding and NMS in a `tf.function`."""
    import tensorflow as tf

    from spinenet_tf.heads.retinanet import RetinaNetOptions
    from spinenet_tf.ops.anchors import AnchorSpec, anchors, concatenate, per_anchor
    from spinenet_tf.ops.decoding import detections

    @tf.function(autograph=False)
    def run(logits, deltas):
        all_anchors = concatenate(anchors(SIDE, SIDE, AnchorSpec()))
        flat = per_anchor(logits, classes + 1), per_anchor(deltas, 4)
        return detections(*flat, all_anchors, SIDE, SIDE, **RetinaNetOptions(background=True).pool())

    given = [{f"P{level}": tf.constant(x) for level, x in maps.items()} for maps in raw_outputs(kind, classes)]
    return {"ours": lambda: {name: value.numpy() for name, value in run(*given).items()}}


def their_turns(kind: str, classes: int, names: tuple[str, ...]) -> Mapping[str, Callable]:
    """Return turns with some versions of Model Garden's detection generator in a `tf.function`."""
    import tensorflow as tf

    logits, deltas = ({str(level): tf.constant(x) for level, x in maps.items()} for maps in raw_outputs(kind, classes))
    return {name: partial(_call, _generator(name), deltas, logits) for name in names}


def _generator(name: str) -> Callable:
    import tensorflow as tf
    from official.vision.modeling.layers.detection_generator import MultilevelDetectionGenerator
    from official.vision.ops import anchor

    generator = MultilevelDetectionGenerator(nms_version=name)
    boxes = anchor.build_anchor_generator(3, 7, 3, [0.5, 1.0, 2.0], 3.0)((SIDE, SIDE))
    boxes = {level: value[None] for level, value in boxes.items()}
    return tf.function(lambda deltas, logits: generator(deltas, logits, boxes, tf.constant([[SIDE, SIDE]])))


def _call(run: Callable, deltas: Any, logits: Any) -> dict[str, np.ndarray]:
    found = run(deltas, logits)
    return {name: found[name].numpy() for name in ("num_detections", "detection_scores", "detection_boxes")}


def raw_outputs(kind: str, classes: int) -> tuple[dict[int, np.ndarray], dict[int, np.ndarray]]:
    """Return class logits `[1, h, w, A * (classes + 1)]` and box deltas of each level: noise and some objects.

    All anchors of a patch of neighboring cells of one level detect an object.
    """
    random = np.random.default_rng(0)
    mean, deviation = NOISE[kind]
    logits, deltas = {}, {}
    for level in LEVELS:
        side = -(-SIDE // 2**level)
        shape = (1, side, side, PER_LOCATION)
        logits[level] = random.normal(mean, deviation, (*shape, classes + 1)).astype("float32")
        deltas[level] = random.normal(0, 0.2, (*shape[:3], PER_LOCATION * 4)).astype("float32")
    for _ in range(BOXES):
        seen = logits[int(random.integers(3, 6))]
        row, column = random.integers(0, seen.shape[1] - 2, 2)
        patch = random.normal(0.0, 1.5, (3, 3, PER_LOCATION))
        seen[0, row : row + 3, column : column + 3, :, random.integers(1, classes + 1)] = patch
    return {level: x.reshape(*x.shape[:3], -1) for level, x in logits.items()}, deltas
