"""Save and restore the whole training state, so that a resumed run ends with bit-identical weights."""

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

KEPT = 2  # states: if the newest is damaged, the previous one remains
_Header = tuple[tuple[int, ...], str]  # shape and dtype
_NAME = re.compile(r"epoch-(\d+)-batch-(\d+)-([0-9a-f]{64})\.npz")


class StateError(ValueError):
    """A training state that cannot be restored."""


class TrainingState:
    """The variables of a compiled model, its optimizer and metrics, the averages of its weights, and the clock.

    The model's variables include the seeds of its random layers. A state is one file, named after the epoch, the batch
    and the SHA-256 of its content, and written atomically.
    """

    def __init__(self, folder: Path, model: keras.Model, clock: Clock, averages: list[keras.Variable]):
        self.folder, self.clock = folder, clock
        self.metrics = model.metrics_variables
        self.variables = [*model.variables, *model.optimizer.variables, *averages, *self.metrics]

    def save(self) -> Path:
        """Write the state, remove all but the last `KEPT` states, and return the new file.

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
        """Load the newest undamaged state, set the clock to it, and return whether there was a state.

        Raises:
            StateError: all states are damaged, or the state belongs to another model.
        """
        states = _states(self.folder)
        for path in states:
            if path.stem.endswith(_digest(path)):
                self._load(path)
                return True
            logger.warning("%s is damaged: falling back to the previous state.", path)
        if states:
            raise StateError(f"All states in {self.folder} are damaged. Start over with --overwrite.")
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
                raise ValueError("its arrays belong to another model or optimizer")
            with np.load(path, allow_pickle=False) as file:
                arrays = {key: file[key] for key in file.files}
            epoch, batch, steps = (int(number) for number in arrays.pop("position"))
        except Exception as error:  # from zipfile or NumPy: the hash matches, but the file is not a state
            raise StateError(f"{path} is not a state of this training: {error}") from error
        if steps != self.clock.steps:
            raise StateError(f"{path} has {steps} steps per epoch, but the data now gives {self.clock.steps}.")
        for key, variable in variables.items():
            variable.assign(arrays[key])
        self.clock.set(epoch, batch)

    def _numbered(self) -> dict[str, keras.Variable]:
        """Return the variables by index: Keras numbers paths and names differently in each process."""
        return {f"{index:05}": variable for index, variable in enumerate(self.variables)}


def _headers(path: Path) -> dict[str, _Header]:
    """Return the shapes and dtypes in a file's headers, reading no array: a small file can declare huge arrays."""
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
    """Return the state files, newest first."""
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
