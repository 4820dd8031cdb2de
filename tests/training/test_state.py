"""Training states on disk: atomic writes, the last two are kept, and invalid states are rejected."""

from __future__ import annotations

import hashlib
from pathlib import Path

import keras
import numpy as np
import pytest

from spinenet_tf.training.clock import Clock
from spinenet_tf.training.state import StateError, TrainingState


def make_model(width: int = 2) -> keras.Model:
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(width), keras.layers.Dropout(0.5)])
    model.compile(keras.optimizers.Adam(), "mse")
    model.optimizer.build(model.trainable_variables)
    return model


def make_state(folder: Path, model: keras.Model | None = None, steps: int = 10) -> TrainingState:
    return TrainingState(folder / "states", model or make_model(), Clock(steps), averages=[])


def save_at(state: TrainingState, *positions: tuple[int, int]) -> list[Path]:
    paths = []
    for position in positions:
        state.clock.set(*position)
        paths.append(state.save())
    return paths


def values(state: TrainingState) -> list[np.ndarray]:
    return [np.array(variable.value) for variable in state.variables]


def test_weights_optimizer_seeds_and_metrics_come_back_in_another_model(tmp_path: Path) -> None:
    model = make_model()
    model.fit(np.ones((8, 3)), np.ones((8, 2)), batch_size=2, verbose=0)
    state, other = make_state(tmp_path, model), make_state(tmp_path)
    save_at(state, (1, 4))
    assert other.restore()
    assert (other.clock.epoch, other.clock.batch, other.clock.step) == (1, 4, 14)
    for mine, theirs in zip(values(other), values(state), strict=True):
        np.testing.assert_array_equal(mine, theirs)
    names = {variable.name for variable in state.variables}
    assert {"kernel", "seed_generator_state", "iteration", "total"} <= names


def test_a_file_is_named_after_its_hash_and_two_are_kept(tmp_path: Path) -> None:
    paths = save_at(make_state(tmp_path), (0, 4), (0, 10), (1, 0), (10, 2))
    assert sorted((tmp_path / "states").iterdir()) == sorted(paths[-2:])
    for path in paths[-2:]:
        assert path.stem.endswith(hashlib.sha256(path.read_bytes()).hexdigest())


def test_there_may_be_no_state_yet(tmp_path: Path) -> None:
    state = make_state(tmp_path)
    assert not state.restore()
    (tmp_path / "states").mkdir()
    (tmp_path / "states" / "state.part").write_text("cut off while it was written")
    assert not state.restore()


def test_a_damaged_newest_state_falls_back_with_a_warning(tmp_path: Path, caplog) -> None:
    older, newest = save_at(make_state(tmp_path), (0, 9), (0, 10))
    content = bytearray(newest.read_bytes())
    content[len(content) // 2] ^= 1
    newest.write_bytes(content)
    state = make_state(tmp_path)
    assert state.restore()
    assert state.clock.step == 9
    assert f"{newest} is damaged" in caplog.text
    older.write_bytes(b"")
    with pytest.raises(StateError, match=r"All states in .* are damaged\. Start over"):
        state.restore()


@pytest.mark.parametrize(
    ("model", "steps", "message"),
    [
        (make_model(3), 10, "belong to another model or optimizer"),
        (make_model(), 9, "has 10 steps per epoch, but .* 9"),
    ],
)
def test_the_state_of_another_training_changes_nothing(tmp_path: Path, model, steps: int, message: str) -> None:
    save_at(make_state(tmp_path), (0, 1))
    state = make_state(tmp_path, model, steps)
    before = values(state)
    with pytest.raises(StateError, match=message):
        state.restore()
    for mine, theirs in zip(values(state), before, strict=True):
        np.testing.assert_array_equal(mine, theirs)


def test_what_is_not_finite_is_not_saved(tmp_path: Path) -> None:
    state = make_state(tmp_path)
    (good,) = save_at(state, (0, 1))
    state.variables[0].assign(np.full((3, 2), np.nan))
    with pytest.raises(RuntimeError, match="kernel is not finite after step 2"):
        save_at(state, (0, 2))
    assert list((tmp_path / "states").iterdir()) == [good]
