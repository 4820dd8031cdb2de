"""Every shipped config trains: two steps of its own graph, narrowed, with its own optimizer, schedule and variation."""

from __future__ import annotations

import json
from collections.abc import Callable
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from spinenet_tf.family import variant
from spinenet_tf.training.config import TrainConfig, find_config, read_config
from spinenet_tf.training.run import Run
from spinenet_tf.training.smoke import SIZE, smoke

SHIPPED = sorted(entry.name.removesuffix(".yaml") for entry in files("spinenet_tf.configs").iterdir())
SHIPPED = [name for name in SHIPPED if not name.startswith("__")]


@pytest.fixture(scope="module")
def train(tmp_path_factory) -> Callable[[TrainConfig], Run]:
    """Return `train(config)`: the run of a shrunk config.

    Shrunk, the members of a family are one net: what is the same but for the model's name is trained once.
    """
    from spinenet_tf.cli import _carry_out

    runs: dict[str, Run] = {}

    def carry_out(config: TrainConfig) -> Run:
        graph = variant(config.model.name).graph.name
        key = config.model_copy(update={"model": config.model.model_copy(update={"name": graph})}).to_yaml()
        if key not in runs:
            folder = tmp_path_factory.mktemp("smoke") / "run"
            _carry_out(config, folder)
            runs[key] = Run(folder)
        return runs[key]

    # Tracing the steps would take ten times as long as taking them.
    tf.config.run_functions_eagerly(True)
    yield carry_out
    tf.config.run_functions_eagerly(False)


@pytest.fixture(scope="module")
def digits(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("digits")


@pytest.mark.filterwarnings("ignore:Even though the `tf.config.experimental_run_functions_eagerly`")
@pytest.mark.parametrize("name", SHIPPED)
def test_every_shipped_config_trains(name: str, train, digits) -> None:
    config = smoke(read_config(find_config(name)), digits)
    run = train(config)
    (row,) = run.read_log()
    assert row["step"] == 2
    assert np.isfinite([value for value in row.values()]).all()
    assert {"detection": "val_AP50", "classification": "val_top1"}[config.task] in row
    assert run.weights_path.is_file()
    assert run.config().model.image_size == SIZE
