"""Fine-tuning: start from the weights of another training, also with other classes, and freeze layers."""

from __future__ import annotations

import difflib
import logging
from collections.abc import Iterator, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import keras
import numpy as np

from spinenet_tf._files.messages import some_of
from spinenet_tf.heads.head import ClassAxis
from spinenet_tf.heads.model import HeadModel
from spinenet_tf.heads.table import HEADS, build, modern_architecture
from spinenet_tf.nets.base import SpineNetModel
from spinenet_tf.nets.weights import differences, read_architecture
from spinenet_tf.training.config import ConfigError

logger = logging.getLogger(__name__)

# By layer, how the last axis of its weights counts classes.
CLASS_LAYERS = {name: axis for row in HEADS.values() for name, axis in row.class_layers.items()}
Names = Sequence[str] | None


def freeze(model: keras.Model, patterns: Sequence[str]) -> None:
    """Freeze layers whose name, or variables whose path, matches a pattern such as `stem_*`.

    "backbone" freezes the whole backbone. A frozen BN does not update its statistics. Call this before `compile`.

    Raises:
        ConfigError: a pattern matches nothing, or nothing is left to train.
    """
    named: list[tuple[str, Any]] = [("backbone", model.backbone)] if hasattr(model, "backbone") else []
    named += [(layer.name, layer) for layer in _layers(model)]
    named += [(variable.path, variable) for variable in model.trainable_variables]
    for pattern in patterns:
        found = [one for name, one in named if fnmatchcase(name, pattern)]
        if not found:
            near = difflib.get_close_matches(pattern, [name for name, _ in named], n=3)
            raise ConfigError(f"freeze: no layer or variable matches {pattern!r}. Similar names: {near}")
        for one in found:
            one.trainable = False
    if patterns and not model.trainable_variables:
        raise ConfigError(f"freeze: nothing is left to train. Received: {list(patterns)}")


def load_what_fits(model: SpineNetModel, weights: Path) -> list[str]:
    """Load weights from a run or a weights file where name and shape match; return the paths of the other weights.

    The file may hold a detector, a classifier or a backbone of the same graph. The class prediction layer takes the
    classes whose names match. If the model or the file has no names, it takes all classes if their number matches.

    Raises:
        FileNotFoundError: the weights do not exist.
        ConfigError: the weights belong to another graph.
    """
    path = weights / "best.weights.h5" if weights.is_dir() else weights
    theirs = modern_architecture(read_architecture(path))
    try:
        donor = build(theirs, (None, None, 3))
    except Exception as error:  # an invalid architecture can raise anything
        raise ConfigError(f"weights: the model in {path} cannot be built: {error}") from error
    ours = model.architecture()
    if _graph(donor.architecture()) != _graph(ours):
        raise ConfigError(f"weights: {path} has another graph, {theirs.get('backbone', theirs)['model']}.")
    donor.load_weights(path)
    fresh = copy_what_fits(donor, model, _names(donor) or _names_beside(path), _names(model))
    taken = len(model.weights) - len(fresh)
    logger.warning(
        "Loaded %d of %d weights from %s. Newly initialized: %s",
        taken,
        len(model.weights),
        path,
        some_of(fresh) or "none",
    )
    if differing := differences(theirs, ours):
        logger.warning("The architectures differ: %s", some_of(differing, "; "))
    return fresh


def copy_what_fits(donor: keras.Model, model: keras.Model, donor_names: Names, class_names: Names) -> list[str]:
    """Copy weights by path where the shapes match, and classes by name; return the paths of the other weights."""
    values = {weight.path: keras.ops.convert_to_numpy(weight) for weight in donor.weights}
    fresh = []
    for weight in model.weights:
        value = values.get(weight.path)
        if value is not None and (axis := _class_axis(weight.path)):
            value = _by_class(value, keras.ops.convert_to_numpy(weight), donor_names, class_names, axis)
        if value is not None and value.shape == tuple(weight.shape):
            weight.assign(value)
        else:
            fresh.append(weight.path)
    return fresh


def _by_class(
    value: np.ndarray, fresh: np.ndarray, donor_names: Names, names: Names, axis: ClassAxis
) -> np.ndarray | None:
    """Return `fresh` with the columns of the donor's `value` for the classes that both have, and for a background.

    If the last axis does not divide by the number of classes, `value` is returned unchanged.
    """
    if donor_names is None or names is None or value.shape[:-1] != fresh.shape[:-1]:
        return value
    source, target = _split(value, len(donor_names), axis), _split(fresh.copy(), len(names), axis)
    if source is None or target is None or source.shape[:-2] != target.shape[:-2]:
        return value
    theirs, ours = ({name: label for label, name in enumerate(told)} for told in (donor_names, names))
    common = [name for name in ours if name in theirs]
    if not common:
        return None
    # A background comes before the classes.
    extra, their_extra = target.shape[-2] - len(names), source.shape[-2] - len(donor_names)
    if extra and their_extra:
        target[..., 0, :] = source[..., 0, :]
    target[..., [extra + ours[name] for name in common], :] = source[
        ..., [their_extra + theirs[name] for name in common], :
    ]
    return target.reshape(fresh.shape)


def _split(value: np.ndarray, classes: int, axis: ClassAxis) -> np.ndarray | None:
    """Return weights as `[..., groups, background + classes, values]`, or None if they are not of so many classes."""
    columns, rest = divmod(value.shape[-1], axis.values)
    slots = classes if axis.groups is None else columns // axis.groups
    if rest or columns % slots or slots - classes not in (0, 1):
        return None
    return value.reshape(*value.shape[:-1], columns // slots, slots, axis.values)


def _class_axis(path: str) -> ClassAxis | None:
    """Return how a weight counts classes; None if it does not."""
    layer, _, variable = path.rpartition("/")
    return None if variable.startswith("depthwise") else CLASS_LAYERS.get(layer)


def _layers(model: keras.Model) -> Iterator[keras.layers.Layer]:
    for layer in model.layers:
        yield layer
        if isinstance(layer, keras.Model):
            yield from _layers(layer)


def _graph(architecture: dict[str, Any]) -> Any:
    return architecture.get("backbone", architecture)["graph"]


def _names(model: SpineNetModel) -> Names:
    return model.class_names if isinstance(model, HeadModel) else None


def _names_beside(path: Path) -> Names:
    """Return the class names of the run with this weights file: earlier versions wrote them only to its config."""
    from spinenet_tf.training.run import Run

    run = Run(path.parent)
    return run.config.class_names if run.config_path.is_file() else None
