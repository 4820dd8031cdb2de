"""Convert checkpoints of TF Model Garden and the TF1 zoo to runs and weights files, and runs to checkpoints."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from typing import Any

from spinenet_tf._files.document import plain
from spinenet_tf.checkpoints.activation import find_functions
from spinenet_tf.checkpoints.checkpoint import Checkpoint, CheckpointError
from spinenet_tf.checkpoints.coco_classes import class_names_of
from spinenet_tf.checkpoints.origins import read_checkpoint
from spinenet_tf.heads.detector import DetectionModel
from spinenet_tf.heads.model import HeadModel
from spinenet_tf.heads.table import find_head
from spinenet_tf.models import backbone, backbone_builder, classifier
from spinenet_tf.nets.backbone import Backbone
from spinenet_tf.nets.family import variant
from spinenet_tf.nets.style import Style
from spinenet_tf.training.config_file import apply_override, make_config
from spinenet_tf.training.run import Run, build_model


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
) -> DetectionModel:
    """Convert a detector's checkpoint of the model `name` to a run's folder, and return the detector.

    Classes keep Model Garden's numbers: 0 is the background and never detected, COCO classes keep their category ids.
    `class_names` is required for data other than COCO. `image_size` (height, width) defaults to the published one;
    `averaged` and `ignore` are arguments of `load_checkpoint`. Without `overrides`, the activation and the gate are
    inferred from the checkpoint's BN statistics: see `activation.find_functions`.

    Raises:
        CheckpointError: as `load_checkpoint` and `find_functions` do, or the number of class names is wrong.
        RunError: the folder exists and `overwrite` is False.
    """
    run, row = Run(folder), variant(name)
    run.check(overwrite=overwrite)
    source, ignore = read_checkpoint(checkpoint, averaged=averaged), tuple(ignore)
    count = source.num_classes()
    names = tuple(class_names or class_names_of(count))
    if len(names) != count:
        raise CheckpointError(f"{checkpoint} has {count} classes, background included. Received: {len(names)} names")
    model = {
        "name": name,
        "head": {"kind": source.head},
        "image_size": image_size or (row.image_size, row.image_size),
        "overrides": _overrides(source, name, overrides, ignore),
    }
    values = {
        "task": find_head(source.detector_head()).task,
        "model": model,
        "batch_size": 256,
        "epochs": 1,
        "class_names": names,
    }
    config = make_config(values, checkpoint)
    detector = build_model(config)
    source.load(detector, ignore=ignore)
    run.create(config, overwrite=overwrite, model=detector)
    return detector


def convert_weights(
    checkpoint: str | os.PathLike,
    path: str | os.PathLike,
    name: str,
    *,
    as_classifier: bool = False,
    overrides: dict[str, Any] | None = None,
    averaged: bool = True,
    ignore: Iterable[str] = (),
    overwrite: bool = False,
) -> Backbone | HeadModel:
    """Write a checkpoint's backbone to a `.weights.h5` file, for `backbone(name, weights=path)`; return the model.

    With `as_classifier`, write a whole image classifier of the TF1 zoo, whose class 0 is the background:
    `classifier(name, 1001, weights=path, **tf1_zoo.CLASSIFIER_OVERRIDES)` loads the ImageNet classifier. Activation
    and gate are inferred as in `convert_detector`.

    Raises:
        CheckpointError: as `load_checkpoint` and `find_functions` do, or the checkpoint is not a classifier.
        FileExistsError: the file exists and `overwrite` is False.
    """
    source, ignore = read_checkpoint(checkpoint, averaged=averaged), tuple(ignore)
    if as_classifier and not source.is_classifier:
        raise CheckpointError(f"{checkpoint} is not an image classifier of the TF1 zoo.")
    trained_with = _overrides(source, name, overrides, ignore)
    options = {key: trained_with[key] for key in trained_with if key in Style.names()} | (overrides or {})
    model = classifier(name, source.num_classes(), **options) if as_classifier else backbone(name, **options)
    source.load(model, ignore=ignore)
    model.save_weights(path, overwrite=overwrite, include_optimizer=False)
    return model


def _overrides(source: Checkpoint, name: str, given: dict[str, Any] | None, ignore: tuple[str, ...]) -> dict[str, Any]:
    """Return the overrides of a model: the given ones, those of its code base, those inferred from BN."""
    overrides = source.overrides(has_mbconv=variant(name).graph.has_mbconv) | (given or {})
    return overrides | find_functions(source, name, backbone_builder(name, overrides), overrides, ignore)


def convert_run(folder: str | os.PathLike, checkpoint: str | os.PathLike) -> None:
    """Write a run's best weights as a Model Garden checkpoint: see `garden_model.write_checkpoint`.

    Raises:
        RunError: `folder` is not a run with weights.
        FileExistsError, ImportError, ValueError: as `write_checkpoint` does.
    """
    from spinenet_tf.checkpoints.garden_model import write_checkpoint

    write_checkpoint(Run(folder).load(), checkpoint)


def parse_overrides(pairs: Sequence[str]) -> dict[str, Any]:
    """Read `key=value` pairs, whose values are YAML.

    Raises:
        ConfigError: a pair has no `=`, or a value is not YAML.
    """
    values: dict[str, Any] = {}
    for pair in pairs:
        apply_override(values, pair)
    return plain(values)
