"""Training that Keras's own means stop and resume gives the same result as without interruption."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path

import keras
import numpy as np
import pytest

from spinenet_tf import ArchitectureSpec, BlockSpec, classifier, detector
from spinenet_tf.training.optimizers import SGD, Adam
from spinenet_tf.training.quantization import QuantizationAware
from spinenet_tf.training.schedule import Warmup

pytestmark = pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="runs eagerly, which JAX cannot")
SPEC = ArchitectureSpec("one_block", (2, 2), (BlockSpec(3, "residual", (0, 1), is_output=True),), {2: 4, 3: 4})
SMALL = {"max_level": 3, "endpoint": 8}


def compiled(kind: str) -> keras.Model:
    """Return a new small model with an optimizer whose learning rate and momenta depend on the step."""
    keras.utils.set_random_seed(1)
    rate = Warmup(1e-4, 2, keras.optimizers.schedules.CosineDecay(1e-2, 5))
    if kind == "classifier":
        model = classifier(SPEC, 3, (32, 32, 3), **SMALL)
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        model.compile(Adam(rate), loss, metrics=["accuracy"], run_eagerly=True)
        return model
    model = detector(SPEC, 3, (32, 32, 3), **SMALL, head_depth=1, head_width=8)
    model = QuantizationAware(model) if kind == "quantization-aware" else model
    model.compile(SGD(rate, momentum=0.9, global_clipnorm=1.0), run_eagerly=True)
    return model


def data(kind: str) -> tuple:
    images = np.random.default_rng(1).normal(size=(4, 32, 32, 3)).astype("float32")
    if kind == "classifier":
        return images, np.array([0, 1, 2, 1])
    boxes = np.array([[[2, 2, 20, 20]], [[8, 4, 30, 24]], [[0, 0, 16, 8]], [[-1, -1, -1, -1]]], "float32")
    return images, {"boxes": boxes, "classes": np.array([[0], [2], [1], [-1]], "int32")}


def train(model: keras.Model, kind: str, first: int, last: int, *callbacks) -> list[float]:
    """Train from one epoch to another and return the loss of each."""
    options = {"batch_size": 4, "shuffle": False, "verbose": 0, "callbacks": list(callbacks)}
    return model.fit(*data(kind), initial_epoch=first, epochs=last, **options).history["loss"]


@cache
def uninterrupted(kind: str) -> tuple[list[float], list[np.ndarray]]:
    """Return the losses of four uninterrupted epochs, and all weights after them."""
    model = compiled(kind)
    return train(model, kind, 0, 4), model.get_weights()


def check(model: keras.Model, kind: str, losses: list[float]) -> None:
    """Compare the losses until the fourth epoch, and the weights after it, with those of uninterrupted training."""
    expected, weights = uninterrupted(kind)
    np.testing.assert_allclose(losses, expected[-len(losses) :], rtol=1e-6)
    assert int(model.optimizer.iterations) == 4
    for ours, theirs in zip(model.get_weights(), weights, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-6)


@pytest.fixture(scope="module")
def stopped(tmp_path_factory) -> Callable:
    """Return `stopped(kind)`, which returns a model after two epochs, and a folder with everything that Keras saves."""

    @cache
    def run(kind: str) -> tuple[keras.Model, Path]:
        model, folder = compiled(kind), tmp_path_factory.mktemp("stopped")
        weights = keras.callbacks.ModelCheckpoint(folder / "{epoch}.weights.h5", save_weights_only=True)
        train(model, kind, 0, 2, weights, backup(folder))
        model.save(folder / "stopped.keras")
        return model, folder

    return run


def backup(folder: Path) -> keras.callbacks.Callback:
    return keras.callbacks.BackupAndRestore(folder / "backup", double_checkpoint=True, delete_checkpoint=False)


@pytest.mark.parametrize("kind", ["detector", "classifier", "quantization-aware"])
def test_a_keras_file_evaluates_equally_and_continues(stopped, kind: str) -> None:
    model, folder = stopped(kind)
    loaded = keras.saving.load_model(folder / "stopped.keras")
    assert type(loaded) is type(model)
    measured = [one.evaluate(*data(kind), verbose=0, return_dict=True) for one in (model, loaded)]
    assert measured[0] == measured[1]
    check(loaded, kind, train(loaded, kind, 2, 4))


@pytest.mark.parametrize("kind", ["detector", "quantization-aware"])
def test_training_continues_from_a_backup(stopped, tmp_path: Path, kind: str) -> None:
    shutil.copytree(stopped(kind)[1], tmp_path, dirs_exist_ok=True)
    model = compiled(kind)
    losses = train(model, kind, 0, 4, backup(tmp_path))
    assert len(losses) == 2
    check(model, kind, losses)


@pytest.mark.parametrize("kind", ["classifier", "quantization-aware"])
def test_training_continues_from_a_loaded_checkpoint(stopped, kind: str) -> None:
    model = compiled(kind)
    model.load_weights(stopped(kind)[1] / "2.weights.h5")
    check(model, kind, train(model, kind, 2, 4))


def test_keras_falls_back_to_the_previous_backup_if_the_last_is_damaged(stopped, tmp_path: Path) -> None:
    shutil.copytree(stopped("detector")[1], tmp_path, dirs_exist_ok=True)
    latest = tmp_path / "backup" / "latest.weights.h5"
    latest.write_bytes(latest.read_bytes()[:-1000])
    model = compiled("detector")
    losses = train(model, "detector", 0, 4, backup(tmp_path))
    assert len(losses) == 3
    check(model, "detector", losses)


FRESH = """
import sys, keras, spinenet_tf
backbone, aware = map(keras.saving.load_model, sys.argv[1:])
print(backbone.count_params(), aware.optimizer.get_config(), sep="\\n")
"""


def test_a_new_process_loads_keras_files_after_import_spinenet_tf(tiny_backbone, tmp_path) -> None:
    model, paths = compiled("quantization-aware"), [tmp_path / "backbone.keras", tmp_path / "aware.keras"]
    for saved, path in zip((tiny_backbone, model), paths, strict=True):
        saved.save(path)
    run = subprocess.run([sys.executable, "-c", FRESH, *paths], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr[-2000:]
    assert run.stdout.splitlines() == [str(tiny_backbone.count_params()), str(model.optimizer.get_config())]


def test_xla_is_off_on_a_cpu_unless_asked_for() -> None:
    """Keras does not use XLA without a GPU, and XLA would make convs on a CPU slower."""
    import tensorflow as tf

    model = classifier(SPEC, 3, (32, 32, 3), **SMALL)
    model.compile("sgd", "mse")
    assert model.jit_compile is any(device.device_type != "CPU" for device in tf.config.list_physical_devices())
    model.compile("sgd", "mse", jit_compile=True)
    assert model.jit_compile is True
