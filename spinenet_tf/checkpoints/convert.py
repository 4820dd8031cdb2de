"""Between checkpoints of TF Model Garden and what this package evaluates, predicts and exports."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from spinenet_tf.backbones import Backbone
from spinenet_tf.checkpoints import model_garden, tf1_zoo
from spinenet_tf.checkpoints.model_garden import CheckpointError
from spinenet_tf.checkpoints.pretrained import COCO_COUNT
from spinenet_tf.data.coco_classes import COCO_CLASSES
from spinenet_tf.detection.anchors import AnchorSpec
from spinenet_tf.family import variant
from spinenet_tf.models import BACKBONE_OVERRIDES, backbone
from spinenet_tf.retinanet import RetinaNet
from spinenet_tf.training.config import ModelConfig, TrainConfig, apply_override
from spinenet_tf.training.run import Run, build_detector


def convert_detector(
    checkpoint: str | os.PathLike,
    folder: str | os.PathLike,
    name: str,
    *,
    image_size: tuple[int, int] | None = None,
    class_names: Sequence[str] | None = None,
    overrides: dict[str, Any] | None = None,
    averaged: bool = True,
    ignore: Iterable[str] = (),
    overwrite: bool = False,
) -> RetinaNet:
    """Make a run folder of a RetinaNet checkpoint of the model `name`, and return its detector.

    Classes keep Model Garden's numbers: 0 is the background and never detected, COCO's are their category ids.
    `class_names` are needed for other data than COCO. `image_size` (height, width) defaults to the published one;
    `averaged` and `ignore` are those of `load_checkpoint`.

    Raises:
        CheckpointError: as `load_checkpoint` does, or the names do not fit the checkpoint's classes.
        RunError: the folder exists and `overwrite` is False.
    """
    run, row = Run(folder), variant(name)
    run.check(overwrite=overwrite)
    is_tf1 = tf1_zoo.is_tf1_checkpoint(checkpoint)
    read = tf1_zoo.read_tf1_checkpoint if is_tf1 else model_garden.read_checkpoint
    found = read(checkpoint, averaged=averaged)
    count = _count_classes(found, checkpoint)
    names = tuple(class_names or default_class_names(count))
    if len(names) != count:
        raise CheckpointError(f"{checkpoint} has {count} classes, the background first. Received: {len(names)} names")
    model = ModelConfig(
        name=name,
        image_size=image_size or (row.image_size, row.image_size),
        overrides=_trained_with(name, is_tf1) | (overrides or {}),
    )
    config = TrainConfig(model=model, batch_size=256, epochs=1, class_names=names)
    detector = build_detector(config)
    load = tf1_zoo.load_tf1_variables if is_tf1 else model_garden.load_variables
    load(detector, found, str(checkpoint), ignore=ignore)
    run.create(config, overwrite=overwrite)
    detector.save_weights(run.weights_path)
    return detector


def convert_backbone(
    checkpoint: str | os.PathLike,
    path: str | os.PathLike,
    name: str,
    *,
    overrides: dict[str, Any] | None = None,
    averaged: bool = True,
    ignore: Iterable[str] = (),
    overwrite: bool = False,
) -> Backbone:
    """Write the backbone of a checkpoint to a `.weights.h5` file, for `backbone(name, weights=path)`; return it.

    Raises:
        CheckpointError: as `load_checkpoint` does.
        FileExistsError: the file exists and `overwrite` is False.
    """
    is_tf1 = tf1_zoo.is_tf1_checkpoint(checkpoint)
    options = {key: value for key, value in _trained_with(name, is_tf1).items() if key in BACKBONE_OVERRIDES}
    model = backbone(name, **options | (overrides or {}))
    load = tf1_zoo.load_tf1_checkpoint if is_tf1 else model_garden.load_checkpoint
    load(model, checkpoint, averaged=averaged, ignore=ignore)
    model.save_weights(path, overwrite=overwrite)
    return model


def convert_run(folder: str | os.PathLike, checkpoint: str | os.PathLike) -> None:
    """Write a run's best weights as a checkpoint that Model Garden restores: see `garden_model.write_checkpoint`.

    Raises:
        RunError: `folder` is not a run with weights.
        FileExistsError, ImportError, ValueError: as `write_checkpoint` does.
    """
    from spinenet_tf.checkpoints.garden_model import write_checkpoint

    detector, _ = Run(folder).load()
    write_checkpoint(detector, checkpoint)


def parse_overrides(pairs: Sequence[str]) -> dict[str, Any]:
    """Read `key=value` pairs, whose values are YAML.

    Raises:
        ConfigError: a pair without `=`, or a value that is not YAML.
    """
    values: dict[str, Any] = {}
    for pair in pairs:
        apply_override(values, pair)
    return values


def _trained_with(name: str, is_tf1: bool) -> dict[str, Any]:
    """Return what differs from the family's defaults in all nets of Model Garden, or of the TF1 zoo."""
    if not is_tf1:
        return {"background": True}
    return tf1_zoo.MOBILE_OVERRIDES if variant(name).graph.is_mobile else tf1_zoo.OVERRIDES


def _count_classes(found: Mapping[str, np.ndarray], source: str | os.PathLike) -> int:
    for name, value in found.items():
        if name.endswith((model_garden.CLASS_BIAS, tf1_zoo.CLASS_BIAS)):
            return value.size // AnchorSpec().per_location
    raise CheckpointError(f"{source} has no RetinaNet head: give a target that ends in .weights.h5 for the backbone.")


def default_class_names(count: int) -> tuple[str, ...]:
    """Name the classes of a detector with a background class: COCO's if it has 91, numbers otherwise."""
    named = COCO_CLASSES if count == COCO_COUNT else {}
    return ("background", *(named.get(index, f"class {index}") for index in range(1, count)))
