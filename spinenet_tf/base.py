"""What every model of this package has: a named architecture, and weights files that carry it."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py
import keras

FINGERPRINT = "spinenet_tf_architecture"
SUFFIX = ".weights.h5"


class ArchitectureError(ValueError):
    """Weights that belong to another architecture than the model's."""


class SpineNetModel(keras.Model):
    """A functional Keras model with an `architecture()`, by which its weights files are recognised.

    Keras writes layers into a weights file by class and order, so that another net of equal shapes would load silently;
    here that is an `ArchitectureError`, raised before anything is written.
    """

    def architecture(self) -> dict[str, Any]:
        """Return all that decides what the weights mean, as plain JSON types."""
        raise NotImplementedError

    def compile(self, *args, jit_compile="auto", **kwargs) -> None:
        """Compile as Keras does, but on TensorFlow's CPU without XLA, which makes convs slower there, unless asked."""
        if jit_compile == "auto" and runs_op_by_op():
            jit_compile = False
        super().compile(*args, jit_compile=jit_compile, **kwargs)

    def fit(self, x=None, y=None, *args, shuffle: bool | None = None, **kwargs):
        """Train as Keras does; `shuffle` defaults to True for arrays only: data sets shuffle themselves."""
        # Left to Keras, the optimizer's variables are created while TensorFlow traces the first step, which makes it
        # trace the step twice, and lift each variable's initial value out of the graph: most of the time to the first
        # step.
        if self.optimizer is not None and not self.optimizer.built:
            self.optimizer.build(self.trainable_variables)
        return super().fit(x, y, *args, shuffle=hasattr(x, "shape") if shuffle is None else shuffle, **kwargs)

    def save_weights(self, filepath, overwrite: bool = True, **kwargs) -> None:
        """Write a `.weights.h5` file with the architecture in it; the file appears whole or not at all.

        Keras would write the optimizer's state too, which makes the file two or three times as large.

        Raises:
            ValueError: the name does not end in `.weights.h5`.
            FileExistsError: the file exists and `overwrite` is False.
        """
        path = _weights_path(filepath)
        if path.exists() and not overwrite:
            raise FileExistsError(f"{path} exists. Pass overwrite=True (--overwrite) to replace it.")
        part = path.with_name(f".{os.getpid()}.{path.name}")
        try:
            with self._without_optimizer():
                super().save_weights(part, overwrite=True, **kwargs)
            with h5py.File(part, "a") as file:
                file.attrs[FINGERPRINT] = json.dumps(self.architecture())
            os.replace(part, path)
        finally:
            part.unlink(missing_ok=True)

    def load_weights(self, filepath, **kwargs) -> None:
        """Read a file that `save_weights` wrote for the same architecture; after an error the model is as it was.

        Raises:
            FileNotFoundError: there is no such file.
            ArchitectureError: the file belongs to another architecture; the message lists the differences.
            ValueError: the file is not a weights file of this package, or is damaged.
        """
        path = _weights_path(filepath)
        found = differences(read_architecture(path), self.architecture())
        if found:
            raise ArchitectureError("\n  ".join([f"{path} holds the weights of another architecture:", *found]))
        before = self.get_weights()
        try:
            with self._without_optimizer():
                super().load_weights(path, **kwargs)
        except Exception as error:
            self.set_weights(before)
            raise ValueError(f"{path} is damaged, nothing was loaded: {error}") from error

    @contextmanager
    def _without_optimizer(self) -> Iterator[None]:
        optimizer = getattr(self, "optimizer", None)  # a model that was not compiled has none
        if optimizer is None:
            yield
            return
        # Around Keras's and TensorFlow's own tracking of attributes, which would take it for another child.
        object.__setattr__(self, "optimizer", None)
        try:
            yield
        finally:
            object.__setattr__(self, "optimizer", optimizer)


def runs_op_by_op() -> bool:
    """Return whether nothing fuses elementwise operations unless asked: on TensorFlow's CPU."""
    # Devices are asked for on TensorFlow only: JAX raises for a kind that it does not have.
    return keras.backend.backend() == "tensorflow" and not any(map(keras.distribution.list_devices, ("gpu", "tpu")))


def read_architecture(filepath: str | os.PathLike) -> dict[str, Any]:
    """Return the architecture that a weights file carries.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is not a weights file of this package.
    """
    path = Path(filepath)
    if not path.is_file():
        raise FileNotFoundError(f"There is no weights file {path}.")
    try:
        with h5py.File(path, "r") as file:
            text = file.attrs.get(FINGERPRINT)
    except OSError as error:
        raise ValueError(f"{path} is not a readable HDF5 file: {error}") from error
    if text is None:
        raise ValueError(f"{path} carries no architecture: it was not written by save_weights of a spinenet_tf model.")
    return json.loads(text)


def _weights_path(filepath) -> Path:
    path = Path(filepath)
    if not path.name.endswith(SUFFIX):
        raise ValueError(f"The name of a weights file ends in {SUFFIX}. Received: filepath={str(filepath)!r}")
    return path


def _flatten(value: Any, prefix: str = "") -> dict[str, Any]:
    if isinstance(value, list) and any(isinstance(entry, dict) for entry in value):
        value = dict(enumerate(value))
    if not isinstance(value, dict):
        return {prefix: value}
    flat: dict[str, Any] = {}
    for key, entry in value.items():
        flat |= _flatten(entry, f"{prefix}.{key}" if prefix else str(key))
    return flat


def differences(theirs: dict[str, Any], ours: dict[str, Any]) -> list[str]:
    """Return a line for each value in which the architecture of a weights file and that of a model differ."""
    theirs, ours = _flatten(theirs), _flatten(json.loads(json.dumps(ours)))
    keys = [key for key in ours | theirs if theirs.get(key) != ours.get(key)]
    return [f"{key}: {theirs.get(key, 'absent')} in the file, {ours.get(key, 'absent')} in the model" for key in keys]
