"""Train a graph under a proxy: a config of a small net and a short training, whose AP ranks graphs.

The paper's proxy has a quarter of the widths and 5 epochs. A config is a proxy for all graphs: only its
graph is replaced.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import keras

from spinenet_tf.nets.costs import count_params, multiply_adds, without_values
from spinenet_tf.nets.specs import ArchitectureSpec
from spinenet_tf.training.config import TrainConfig
from spinenet_tf.training.datasets import with_classes_of
from spinenet_tf.training.recipe import train
from spinenet_tf.training.run import Run, build_model


@dataclass(frozen=True)
class Costs:
    """The size of a detector, and its work for one image."""

    parameters: int  # trainable
    multiply_adds: int  # of all convs, as the graph runs


def train_proxy(
    config: TrainConfig,
    spec: ArchitectureSpec | None,
    folder: Path,
    *,
    seed: int,
    callbacks: Sequence[keras.callbacks.Callback] = (),
) -> float:
    """Train a detector with a proxy's settings, and return the AP of its last evaluation, in 0..1.

    `spec` replaces the graph of the config; None keeps it. `seed` determines the initial weights and the order of the
    training images. An interrupted training in `folder` is resumed, and a finished one is not repeated.

    Raises:
        RunError: the folder has a training of another config, or something else.
        ConfigError, DataError, StateError, Preempted, KeyboardInterrupt, RuntimeError: as `recipe.train` does.
        Exception: a callback raised it.
    """
    run = Run(folder)
    train(with_graph(config, spec, seed), folder, callbacks, resume=run.config_path.is_file(), verbose=0)
    return run.log[-1]["val_AP"]


def with_graph(config: TrainConfig, spec: ArchitectureSpec | None, seed: int) -> TrainConfig:
    """Return the config of one training of a proxy."""
    graph = {} if spec is None else {"graph": spec.get_config()}
    return config.model_copy(update={"model": config.model.model_copy(update=graph), "seed": seed})


def with_width(config: TrainConfig, width: float) -> TrainConfig:
    """Return the config of a proxy with another width multiplier."""
    model = config.model.model_copy(update={"overrides": config.model.overrides | {"width": width}})
    return config.model_copy(update={"model": model})


def count_costs(config: TrainConfig, spec: ArchitectureSpec | None = None) -> Costs:
    """Count the costs of a graph at the scale and image size of a proxy, without training it.

    The number of classes is that of the validation data, which are read, and written if they are built-in.

    Raises:
        ConfigError, DataError: as `recipe.train` does.
    """
    config = with_graph(config, spec, config.seed)
    if config.class_names is None:
        config = with_classes_of(config, config.own_data().read("val"))
    model = without_values(lambda: build_model(config))
    return Costs(count_params(model), multiply_adds(model))
