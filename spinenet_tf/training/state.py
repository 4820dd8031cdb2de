"""The state of a training on disk: all that the next step depends on, so that a resumed run ends the same to the bit."""

from __future__ import annotations

import hashlib
import logging
import os
import re
from pathlib import Path

import keras
import numpy as np

from spinenet_tf.training.clock import Clock

logger = logging.getLogger(__name__)

KEPT = 2  # states: a newest one that is damaged leaves the one before
_NAME = re.compile(r"step-(\d+)-([0-9a-f]{64})\.npz")


class StateError(ValueError):
    """States that cannot be resumed from."""


class TrainingState:
    """The variables of a compiled model, its optimizer and its metrics, the averages of its weights, and the clock.

    The variables of the model include the seeds of its random layers. A state is one file, `step-STEP-SHA256.npz`, that
    appears whole or not at all.
    """

    def __init__(self, folder: Path, model: keras.Model, clock: Clock, averages: list[keras.Variable]):
        self.folder, self.clock = folder, clock
        self.metrics = model.metrics_variables
        self.variables = [*model.variables, *model.optimizer.variables, *averages, *self.metrics]

    def save(self) -> Path:
        """Write the state, remove all but the last `KEPT`, and return the new file.

        Raises:
            RuntimeError: a value is not finite; nothing is written.
        """
        arrays = {key: keras.ops.convert_to_numpy(variable) for key, variable in self._named().items()}
        for key, array in arrays.items():
            if np.issubdtype(array.dtype, np.floating) and not np.isfinite(array).all():
                raise RuntimeError(f"{key.partition('/')[2]} is not finite after step {self.clock.step}.")
        self.folder.mkdir(exist_ok=True)
        position = np.array([self.clock.epoch, self.clock.batch, self.clock.steps])
        path = _write(self.folder, self.clock.step, arrays | {"position": position})
        for _, old in list(_states(self.folder))[KEPT:]:
            old.unlink()
        return path

    def restore(self) -> bool:
        """Load the newest whole state, and set the clock to it; tell whether there was one.

        Raises:
            StateError: there are states, but all are damaged, or of another model.
        """
        damaged = []
        for step, path in _states(self.folder):
            if _digest(path) == _NAME.fullmatch(path.name)[2]:  # type: ignore[index]
                self._load(path)
                return True
            damaged.append(path)
            logger.warning("%s is damaged: falling back from step %d to the state before it.", path, step)
        if damaged:
            raise StateError(f"All states in {self.folder} are damaged. Start anew with --overwrite.")
        return False

    def _load(self, path: Path) -> None:
        with np.load(path, allow_pickle=False) as file:
            arrays = {key: file[key] for key in file.files}
        epoch, batch, steps = (int(number) for number in arrays.pop("position"))
        named = self._named()
        shapes = {key: tuple(array.shape) for key, array in arrays.items()}
        if shapes != {key: tuple(variable.shape) for key, variable in named.items()}:
            raise StateError(f"{path} is the state of another model or optimizer.")
        if steps != self.clock.steps:
            raise StateError(f"{path} had {steps} steps in an epoch, now there are {self.clock.steps}: other data?")
        for key, variable in named.items():
            variable.assign(arrays[key])
        self.clock.set(epoch, batch)

    def _named(self) -> dict[str, keras.Variable]:
        """Return the variables by number and path: paths alone are not unique."""
        return {f"{index:05}/{variable.path}": variable for index, variable in enumerate(self.variables)}


def _states(folder: Path) -> list[tuple[int, Path]]:
    """Return steps and files, the newest first."""
    names = ((_NAME.fullmatch(path.name), path) for path in folder.glob("*.npz"))
    return sorted(((int(name[1]), path) for name, path in names if name), reverse=True)


def _write(folder: Path, step: int, arrays: dict[str, np.ndarray]) -> Path:
    part = folder / "state.part"
    with part.open("wb") as file:
        np.savez(file, **arrays)  # type: ignore[arg-type]
        file.flush()
        os.fsync(file.fileno())
    path = folder / f"step-{step:08}-{_digest(part)}.npz"
    os.replace(part, path)
    if hasattr(os, "O_DIRECTORY"):  # a rename is durable when its folder is
        handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        os.fsync(handle)
        os.close(handle)
    return path


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
