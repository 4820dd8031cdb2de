"""The state of a training on disk: all that the next step depends on, so that a resumed run ends bit for bit alike."""

from __future__ import annotations

import hashlib
import logging
import re
import zipfile
from pathlib import Path

import keras
import numpy as np

from spinenet_tf._files.writing import made, staged
from spinenet_tf.training.clock import Clock

logger = logging.getLogger(__name__)

KEPT = 2  # states: a newest one that is damaged leaves the one before
_Header = tuple[tuple[int, ...], str]  # shape and dtype
_NAME = re.compile(r"epoch-(\d+)-batch-(\d+)-([0-9a-f]{64})\.npz")


class StateError(ValueError):
    """States that cannot be resumed from."""


class TrainingState:
    """The variables of a compiled model, its optimizer and its metrics, the averages of its weights, and the clock.

    The variables of the model include the seeds of its random layers. A state is one file, named after epoch, batch
    and the SHA-256 of its content, that appears whole or not at all.
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
        arrays = {key: keras.ops.convert_to_numpy(variable) for key, variable in self._numbered().items()}
        for variable, array in zip(self.variables, arrays.values(), strict=True):
            if np.issubdtype(array.dtype, np.floating) and not np.isfinite(array).all():
                raise RuntimeError(f"{variable.path} is not finite after step {self.clock.step}.")
        clock = self.clock
        position = np.array([clock.epoch, clock.batch, clock.steps])
        path = _write(self.folder, f"epoch-{clock.epoch:05}-batch-{clock.batch:08}", arrays | {"position": position})
        for old in _states(self.folder)[KEPT:]:
            old.unlink()
        return path

    def restore(self) -> bool:
        """Load the newest whole state, and set the clock to it; tell whether there was one.

        Raises:
            StateError: there are states, but all are damaged, or of another model.
        """
        states = _states(self.folder)
        for path in states:
            if path.stem.endswith(_digest(path)):
                self._load(path)
                return True
            logger.warning("%s is damaged: falling back to the state before it.", path)
        if states:
            raise StateError(f"All states in {self.folder} are damaged. Start anew with --overwrite.")
        return False

    def _load(self, path: Path) -> None:
        variables = self._numbered()
        expected: dict[str, _Header] = {
            key: (tuple(variable.shape), keras.backend.standardize_dtype(variable.dtype))
            for key, variable in variables.items()
        }
        try:
            found = _headers(path)
            position = found.pop("position")
            if found != expected or position[0] != (3,):
                raise ValueError("its arrays are of another model or optimizer")
            with np.load(path, allow_pickle=False) as file:
                arrays = {key: file[key] for key in file.files}
            epoch, batch, steps = (int(number) for number in arrays.pop("position"))
        except Exception as error:  # of zipfile and NumPy: the hash in its name is right, yet it is no state of ours
            raise StateError(f"{path} is not a state of this training: {error}") from error
        if steps != self.clock.steps:
            raise StateError(f"{path} had {steps} steps in an epoch, now there are {self.clock.steps}: other data?")
        for key, variable in variables.items():
            variable.assign(arrays[key])
        self.clock.set(epoch, batch)

    def _numbered(self) -> dict[str, keras.Variable]:
        """Return the variables by their number: Keras counts up paths and names anew in each process."""
        return {f"{index:05}": variable for index, variable in enumerate(self.variables)}


def _headers(path: Path) -> dict[str, _Header]:
    """Return what the arrays of a file are said to be, reading none: a small file may declare a huge one."""
    found = {}
    with zipfile.ZipFile(path) as archive:
        for name in archive.namelist():
            with archive.open(name) as file:
                version = np.lib.format.read_magic(file)
                read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
                shape, _, dtype = read(file)
            found[name.removesuffix(".npy")] = (shape, dtype.name)
    return found


def _states(folder: Path) -> list[Path]:
    """Return the files, the newest first."""
    found = ((_NAME.fullmatch(path.name), path) for path in folder.glob("*.npz"))
    return [path for _, path in sorted(((int(name[1]), int(name[2])), path) for name, path in found if name)[::-1]]


def _write(folder: Path, stem: str, arrays: dict[str, np.ndarray]) -> Path:
    with made(folder), staged(folder / f"{stem}.npz") as part:
        np.savez(part, **arrays)  # type: ignore[arg-type]
        named = part.rename(part.with_name(f"{stem}-{_digest(part)}.npz"))
    return folder / named.name


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
