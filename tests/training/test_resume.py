"""A run that is stopped at any point and resumed ends with bit-identical weights."""

from __future__ import annotations

import json
import math
import os
import pickle
import random
import signal
import subprocess
import sys
from functools import partialmethod
from pathlib import Path

import keras
import numpy as np
import pytest

from spinenet_tf.heads.checked import CheckedModel
from spinenet_tf.heads.retinanet import RetinaNet
from spinenet_tf.heads.table import HEADS
from spinenet_tf.nets.family import Variant
from spinenet_tf.training import pace, recipe
from spinenet_tf.training.config_file import read_config
from spinenet_tf.training.measuring import Evaluate
from spinenet_tf.training.preemption import Preempted
from spinenet_tf.training.quantization import QuantizationAware
from spinenet_tf.training.run import Run, build_model

EPOCHS, STEPS = 2, 4
# Dropped branches, averages, momenta, accumulated gradients, warm-up and shuffling: all that has a memory.
OVERRIDES = [
    "model.overrides={max_level: 3, score_threshold: 0.001, stochastic_depth: 0.3}",
    "data.train.scenes=10",
    "optimizer={name: adam, learning_rate: 0.64, warmup_steps: 2, ema: 0.9, accumulate: 2}",
    "batch_size=2",
    f"epochs={EPOCHS}",
    f"steps_per_epoch={STEPS}",
    "checkpoint_every=2",
    "evaluate_every=2",
    "model.image_size=[32, 32]",
    "log_images=0",
]


class SignalAt(keras.callbacks.Callback):
    """Send a signal to this process while it trains on a given batch of the run, counted from 1."""

    def __init__(self, step: int, number: signal.Signals):
        super().__init__()
        self.step, self.number = step, number

    def on_epoch_begin(self, epoch, logs=None):
        self.epoch = epoch

    def on_train_batch_begin(self, batch, logs=None):
        if self.epoch * self.params["steps"] + batch + 1 == self.step:
            os.kill(os.getpid(), self.number)


CHILD = """
import pickle, signal, sys
from functools import partialmethod
from spinenet_tf.nets.family import VARIANTS
from spinenet_tf.heads.retinanet import RetinaNet
from spinenet_tf.training import recipe
sys.path.insert(0, sys.argv[1])
from test_resume import OVERRIDES, SignalAt

VARIANTS["tiny"] = pickle.loads(bytes.fromhex(sys.argv[2]))
RetinaNet.compile = partialmethod(RetinaNet.compile, run_eagerly=True)
recipe.train(sys.argv[3], sys.argv[4], SignalAt(int(sys.argv[5]), signal.SIGKILL), overrides=OVERRIDES)
"""


def kill_in_step(step: int, config_path: Path, folder: Path, row: Variant) -> None:
    """Train in another process, which is killed with SIGKILL."""
    arguments = [str(Path(__file__).parent), pickle.dumps(row).hex(), str(config_path), str(folder), str(step)]
    child = subprocess.run([sys.executable, "-c", CHILD, *arguments], capture_output=True, text=True, check=False)
    assert child.returncode == -signal.SIGKILL, child.stderr[-2000:]


def terminate_in_evaluation(self, epoch: int, logs=None) -> None:
    os.kill(os.getpid(), signal.SIGTERM)
    raise AssertionError("still evaluating")


def positions(run: Run) -> list[tuple[int, ...]]:
    """Return epoch and batch of the saved states."""
    return sorted(tuple(map(int, path.name.split("-")[1:4:2])) for path in run.states_folder.glob("*.npz"))


def last_weights(run: Run) -> list[np.ndarray]:
    return run.load(run.last_weights_path).get_weights()


def rows(run: Run) -> list[dict]:
    return [{key: value for key, value in row.items() if key != "seconds"} for row in run.log]


@pytest.mark.slow
def test_a_run_resumes_exactly_wherever_it_was_stopped(
    tmp_path: Path, least_model, least_row, write_config, monkeypatch, caplog
) -> None:
    """Kill it at a random step, terminate it in its evaluation and inside an epoch, and damage its newest state."""
    monkeypatch.setattr(pace, "SHARE", math.inf)  # a state after each epoch
    # Tracing a graph takes ten times as long as these steps.
    monkeypatch.setattr(RetinaNet, "compile", partialmethod(RetinaNet.compile, run_eagerly=True))
    path = write_config(tmp_path)
    config, run, whole = read_config(path, OVERRIDES), Run(tmp_path / "stopped"), Run(tmp_path / "whole")
    expected = last_weights(recipe.train(config, whole.folder))

    step = random.SystemRandom().randint(1, STEPS)
    kill_in_step(step, path, run.folder, least_row)
    assert positions(run) == ([(0, 2)] if step > 2 else []), f"killed in step {step}"

    with monkeypatch.context() as patch:
        patch.setattr(Evaluate, "on_epoch_end", terminate_in_evaluation)
        with pytest.raises(Preempted, match=f"Stopped by SIGTERM after step {STEPS}. Continue with --resume."):
            recipe.train(config, run.folder, resume=True)
    assert positions(run) == [(0, 2), (0, STEPS)]
    assert rows(run) == []

    with pytest.raises(Preempted, match=f"after step {STEPS + 2}"):
        recipe.train(config, run.folder, SignalAt(STEPS + 2, signal.SIGTERM), resume=True)
    assert positions(run) == [(1, 0), (1, 2)]
    assert rows(run) == rows(whole)[:1], "what was interrupted was evaluated again"
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL, "it was given back"

    newest = max(run.states_folder.iterdir())
    newest.write_bytes(newest.read_bytes()[:-100])
    resumed = last_weights(recipe.train(config, run.folder, resume=True))
    assert f"{newest} is damaged: falling back to the previous state." in caplog.text
    for mine, other in zip(resumed, expected, strict=True):
        np.testing.assert_array_equal(mine, other, err_msg=f"killed in step {step}")
    assert rows(run) == rows(whole), "metrics and AP as if there had been no interruption"
    for name in ("best.weights.h5", "last.weights.h5"):
        stored = [one.load(one.folder / name).get_weights() for one in (run, whole)]
        for mine, other in zip(*stored, strict=True):
            np.testing.assert_array_equal(mine, other)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["centernet", "mask_rcnn"])
def test_other_heads_resume_exactly(name: str, tmp_path: Path, least_model, write_config, monkeypatch) -> None:
    """The random numbers that Mask R-CNN draws its samples with are part of the state."""
    monkeypatch.setattr(CheckedModel, "compile", partialmethod(CheckedModel.compile, run_eagerly=True))
    head = HEADS[name]
    options = [f"task={head.task}", f"model.head={json.dumps({'kind': name, **head.smallest})}", "epochs=1"]
    config = read_config(write_config(tmp_path), [*OVERRIDES, *options])
    run, whole = Run(tmp_path / "stopped"), Run(tmp_path / "whole")
    recipe.train(config, whole.folder)
    with pytest.raises(Preempted):
        recipe.train(config, run.folder, SignalAt(STEPS - 1, signal.SIGTERM))
    recipe.train(config, run.folder, resume=True)
    for mine, other in zip(last_weights(run), last_weights(whole), strict=True):
        np.testing.assert_array_equal(mine, other)
    assert rows(run) == rows(whole)


@pytest.mark.slow
def test_a_fine_tuning_for_integers_resumes_exactly(tmp_path: Path, least_model, write_config, monkeypatch) -> None:
    """The activation ranges are part of the state; the resulting weights are those of the detector."""
    # Tracing a graph takes longer than these steps.
    monkeypatch.setattr(QuantizationAware, "compile", partialmethod(QuantizationAware.compile, run_eagerly=True))
    path, begun = write_config(tmp_path), Run(tmp_path / "begun")
    config = read_config(path, [*OVERRIDES, "class_names=[digit]"])
    begun.create(config, model=build_model(config))
    integers = [f"weights={begun.folder}", "quantization=int8", "epochs=1", "evaluate_every=1"]
    config = read_config(path, [*OVERRIDES, *integers])
    run, whole = Run(tmp_path / "stopped"), Run(tmp_path / "whole")
    recipe.train(config, whole.folder)
    with pytest.raises(Preempted):
        recipe.train(config, run.folder, SignalAt(STEPS - 1, signal.SIGTERM))
    recipe.train(config, run.folder, resume=True)
    resumed, expected = (one.load(one.last_weights_path) for one in (run, whole))
    assert type(resumed) is RetinaNet
    for mine, other in zip(resumed.get_weights(), expected.get_weights(), strict=True):
        np.testing.assert_array_equal(mine, other)
    assert rows(run) == rows(whole)
    before, tuned = (one.load().get_weights() for one in (begun, run))
    assert any((old != new).any() for old, new in zip(before, tuned, strict=True))
