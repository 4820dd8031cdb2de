"""Store an optimizer's state in a weights file, and restore it into an optimizer of the same kind.

The arrays are where Keras expects them. Keras compares only their number, which may be the same for Adam and Lion, so
the file also stores the kind of optimizer (its "owner").
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

import h5py
import keras

from spinenet_tf.nets.weights import DamagedWeightsError, Shapes, Stored

_PLACE = "optimizer/"
_ARRAYS = f"{_PLACE}vars/"
_OWNER = "spinenet_tf_optimizer"


def describe(optimizer: keras.Optimizer, variables: Sequence[keras.Variable]) -> str:
    """Return a text that identifies the kind of a state: the optimizer's class and a hash of all names and shapes."""
    names = json.dumps([(variable.name, tuple(variable.shape)) for variable in variables])
    digest = hashlib.sha256(names.encode()).hexdigest()[:16]
    return f"{type(optimizer).__name__} of {len(variables)} variables, {digest}"


def write_state(file: h5py.File, optimizer: keras.Optimizer, variables: Sequence[keras.Variable]) -> None:
    """Add the variables of training, most of which are the optimizer's, to a weights file."""
    file.attrs[_OWNER] = describe(optimizer, variables)
    for index, variable in enumerate(variables):
        value = keras.ops.convert_to_numpy(variable)
        if value.dtype.kind == "V":  # bfloat16, which HDF5 does not have
            value = value.astype("float32")
        file[f"{_ARRAYS}{index}"] = value


def read_owner(path: Path) -> str | None:
    """Return the owner of the optimizer state in a file, as `describe` wrote it, or None if the file has no state.

    Raises:
        DamagedWeightsError: the file is not readable, or the owner is not text.
    """
    try:
        with h5py.File(path, "r") as file:
            found = file.attrs.get(_OWNER)
    except Exception as error:  # HDF5 raises many types
        raise DamagedWeightsError(f"{path} is not a readable HDF5 file: {error}") from error
    if not isinstance(found, str | None):
        raise DamagedWeightsError(f"{path} is damaged, nothing was loaded: {_OWNER} is not text.")
    return found


def split_state(shapes: Shapes, owner: str | None) -> tuple[Shapes, Shapes]:
    """Split the arrays of a file into weights and optimizer state; without an owner, all of them count as weights."""
    state = {place: stored for place, stored in shapes.items() if owner is not None and place.startswith(_PLACE)}
    return {place: stored for place, stored in shapes.items() if place not in state}, state


def state_shapes(variables: Sequence[keras.Variable]) -> Shapes:
    """Return the shapes in a file that stores these variables."""
    return {f"{_ARRAYS}{i}": Stored(tuple(variable.shape), variable.name) for i, variable in enumerate(variables)}


def read_state(path: Path, variables: Sequence[keras.Variable]) -> None:
    """Load the variables from a file whose shapes are already checked."""
    with h5py.File(path, "r") as file:
        for index, variable in enumerate(variables):
            variable.assign(file[f"{_ARRAYS}{index}"][()])
