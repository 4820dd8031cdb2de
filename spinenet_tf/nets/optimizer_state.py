"""The state of an optimizer in a weights file: beside the weights, and read back by none but its like.

The arrays lie where Keras looks for them. It compares no more than their number, so the file says whose they are: Adam
and Lion may have equally many.
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
    """Return words by which a state is recognized: its optimizer's class, and the hash of all names and shapes."""
    names = json.dumps([(variable.name, tuple(variable.shape)) for variable in variables])
    digest = hashlib.sha256(names.encode()).hexdigest()[:16]
    return f"{type(optimizer).__name__} of {len(variables)} variables, {digest}"


def write_state(file: h5py.File, optimizer: keras.Optimizer, variables: Sequence[keras.Variable]) -> None:
    """Add the variables of a training, most of them its optimizer's, to a weights file."""
    file.attrs[_OWNER] = describe(optimizer, variables)
    for index, variable in enumerate(variables):
        value = keras.ops.convert_to_numpy(variable)
        if value.dtype.kind == "V":  # bfloat16, which HDF5 does not have
            value = value.astype("float32")
        file[f"{_ARRAYS}{index}"] = value


def read_owner(path: Path) -> str | None:
    """Return whose state a file holds, or None if it holds none.

    Raises:
        DamagedWeightsError: it does not say so in words.
    """
    try:
        with h5py.File(path, "r") as file:
            found = file.attrs.get(_OWNER)
    except Exception as error:  # of HDF5, of any kind
        raise DamagedWeightsError(f"{path} is not a readable HDF5 file: {error}") from error
    if not isinstance(found, str | None):
        raise DamagedWeightsError(f"{path} is damaged, nothing was loaded: {_OWNER} is no text.")
    return found


def split_state(shapes: Shapes, owner: str | None) -> tuple[Shapes, Shapes]:
    """Divide what a file holds into weights and a state; what does not say whose state it is counts as weights."""
    state = {place: stored for place, stored in shapes.items() if owner is not None and place.startswith(_PLACE)}
    return {place: stored for place, stored in shapes.items() if place not in state}, state


def state_shapes(variables: Sequence[keras.Variable]) -> Shapes:
    """Return what a file holds that was written for these variables."""
    return {f"{_ARRAYS}{i}": Stored(tuple(variable.shape), variable.name) for i, variable in enumerate(variables)}


def read_state(path: Path, variables: Sequence[keras.Variable]) -> None:
    """Give the variables their values in a file whose shapes are known to be theirs."""
    with h5py.File(path, "r") as file:
        for index, variable in enumerate(variables):
            variable.assign(file[f"{_ARRAYS}{index}"][()])
