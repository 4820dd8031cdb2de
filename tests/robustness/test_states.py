"""Test that damaged or forged training states and third-party checkpoints are rejected without side effects."""

from __future__ import annotations

import hashlib
import io
import logging
import zipfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from spinenet_tf.checkpoints.checkpoint import CheckpointError
from spinenet_tf.checkpoints.origins import read_checkpoint
from spinenet_tf.training.clock import Clock
from spinenet_tf.training.state import StateError, TrainingState

DAMAGED = 60  # files of each kind


class Executed:
    """An object that creates a file when it is unpickled."""

    def __init__(self, mark: Path):
        self.mark = mark

    def __reduce__(self):
        return Path.touch, (self.mark,)


def make_state(folder: Path) -> TrainingState:
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2), keras.layers.Dropout(0.5)])
    model.compile(keras.optimizers.Adam(), "mse")
    model.optimizer.build(model.trainable_variables)
    return TrainingState(folder / "states", model, Clock(10), averages=[])


def values(state: TrainingState) -> list[bytes]:
    return [keras.ops.convert_to_numpy(variable).tobytes() for variable in state.variables]


def damage(content: bytes, rng: np.random.Generator) -> bytes:
    damaged, place = bytearray(content), int(rng.integers(len(content)))
    if rng.integers(2):
        del damaged[place:]
    else:
        damaged[place] ^= int(rng.integers(1, 256))
    return bytes(damaged)


def forge(folder: Path, content: bytes) -> None:
    """Replace the saved states by one with a matching hash in its name."""
    for path in folder.iterdir():
        path.unlink()
    (folder / f"epoch-00000-batch-00000004-{hashlib.sha256(content).hexdigest()}.npz").write_bytes(content)


def test_a_damaged_or_forged_state_is_refused_and_changes_nothing(tmp_path: Path, caplog, promise) -> None:
    caplog.set_level(logging.ERROR)
    state, rng = make_state(tmp_path), np.random.default_rng(0)
    content, before = state.save().read_bytes(), values(state)
    refused = 0
    for number in range(2 * DAMAGED):
        damaged = damage(content, rng)
        forge(state.folder, damaged)
        if number % 2:  # the name tells of the damage
            (path,) = state.folder.iterdir()
            path.rename(path.with_name(f"epoch-00000-batch-00000004-{hashlib.sha256(content).hexdigest()}.npz"))
        try:
            state.restore()
        except StateError:
            refused += 1
            assert values(state) == before
        else:
            assert not number % 2, "only a forged name makes damage look whole"
            forge(state.folder, content)
            state.restore()
    assert refused >= 1.5 * DAMAGED
    promise("Weights: a damaged or forged training state is refused without changes", cases=2 * DAMAGED)


def arrays_of(content: bytes) -> dict[str, np.ndarray]:
    with np.load(io.BytesIO(content)) as file:
        return dict(file)


def packed(**arrays: object) -> bytes:
    file = io.BytesIO()
    np.savez(file, **arrays)
    return file.getvalue()


def declared_huge(arrays: dict[str, np.ndarray]) -> bytes:
    """Return a small file whose first array claims 2^50 numbers."""
    file, content = io.BytesIO(), io.BytesIO(packed(**arrays))
    with zipfile.ZipFile(content) as source, zipfile.ZipFile(file, "w") as target:
        for name in source.namelist():
            data = source.read(name)
            if name == "00000.npy":
                header = io.BytesIO()
                np.lib.format.write_array_header_1_0(
                    header, {"descr": "<f4", "fortran_order": False, "shape": (1 << 50,)}
                )
                data = header.getvalue()
            target.writestr(name, data)
    return file.getvalue()


FORGED: dict[str, Callable[[dict[str, np.ndarray], Path], bytes]] = {
    "pickle": lambda arrays, mark: packed(**arrays | {"00000": np.array(Executed(mark), object)}),
    "pickled position": lambda arrays, mark: packed(**arrays | {"position": np.array([Executed(mark)] * 3, object)}),
    "huge": lambda arrays, mark: declared_huge(arrays),
    "another dtype": lambda arrays, mark: packed(**arrays | {"00000": arrays["00000"].astype("float64")}),
    "text": lambda arrays, mark: packed(**arrays | {"00000": np.full((3, 2), "x")}),
    "no position": lambda arrays, mark: packed(**{key: arrays[key] for key in arrays if key != "position"}),
    "short position": lambda arrays, mark: packed(**arrays | {"position": arrays["position"][:2]}),
    "more": lambda arrays, mark: packed(**arrays, more=np.zeros(1)),
    "empty": lambda arrays, mark: b"",
    "no zip": lambda arrays, mark: b"\x93NUMPY" * 100,
}


@pytest.mark.parametrize("kind", FORGED)
def test_a_forged_state_runs_nothing_and_changes_nothing(tmp_path: Path, kind: str, promise) -> None:
    state, mark = make_state(tmp_path), tmp_path / "executed"
    content, before = state.save().read_bytes(), values(state)
    forge(state.folder, FORGED[kind](arrays_of(content), mark))
    with pytest.raises(StateError, match=r"is not a state of this training"):
        state.restore()
    assert values(state) == before
    assert not mark.exists()
    promise("Weights: a damaged or forged training state is refused without changes", cases=1)


def test_a_damaged_foreign_checkpoint_is_refused(tmp_path: Path, promise) -> None:
    rng, prefix = np.random.default_rng(0), tmp_path / "ckpt"
    model = tf.Module()
    model.kernel = tf.Variable(rng.normal(size=(3, 3, 4, 8)))
    tf.train.Checkpoint(model=model).write(str(prefix))
    files = {path: path.read_bytes() for path in tmp_path.iterdir()}
    for number in range(2 * DAMAGED):
        damaged = sorted(files)[number % 2]
        damaged.write_bytes(damage(files[damaged], rng))
        with suppress(CheckpointError):
            found = read_checkpoint(prefix).found
            assert all(value.tobytes() == model.kernel.numpy().tobytes() for value in found.values())
        damaged.write_bytes(files[damaged])
    promise("Weights: a damaged checkpoint of another project raises only a CheckpointError", cases=2 * DAMAGED)
