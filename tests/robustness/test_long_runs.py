"""Test that long runs do not leak memory or files, and that killing them at any moment does not change the result."""

from __future__ import annotations

import os
import pickle
import random
import signal
import subprocess
import sys
import time
from functools import partialmethod
from pathlib import Path

import keras
import numpy as np
import pytest

from spinenet_tf.heads.retinanet import RetinaNet
from spinenet_tf.training import recipe
from spinenet_tf.training.config_file import read_config
from spinenet_tf.training.run import Run

PAGE = os.sysconf("SC_PAGE_SIZE")
SHORT = ["data.train.scenes=10", "data.val.scenes=2", "batch_size=2", "log_images=0"]
# Dropped branches, averages, momenta, accumulated gradients, warm-up and shuffling: all that has a memory.
WITH_MEMORY = [
    *SHORT,
    "model.overrides={max_level: 3, score_threshold: 0.001, stochastic_depth: 0.3}",
    "model.image_size=[32, 32]",
    "optimizer={name: adam, learning_rate: 0.64, warmup_steps: 2, ema: 0.9, accumulate: 2}",
    "checkpoint_every=2",
]


class Gauges(keras.callbacks.Callback):
    """Record this process's resident memory in bytes and open files after every fifth step."""

    def __init__(self):
        super().__init__()
        self.step, self.readings, self.began = 0, [], 0.0

    def on_train_begin(self, logs=None):
        self.began = time.monotonic()

    def on_train_batch_end(self, batch, logs=None):
        self.step += 1
        if self.step % 5 == 0:
            resident = int(Path("/proc/self/statm").read_text().split()[1]) * PAGE
            self.readings.append((self.step, resident, len(os.listdir("/proc/self/fd"))))


# Tracing, the first evaluation and TensorFlow's pools allocate in the first steps; 2,000 then tell a leak from noise.
@pytest.mark.parametrize(
    ("epochs", "steps", "warm", "most"),
    [
        pytest.param(3, 20, 25, 1_000_000, id="60-steps"),
        pytest.param(20, 100, 500, 10_000, id="2000-steps", marks=pytest.mark.soak),
    ],
)
@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="memory and files are read from /proc")
def test_memory_and_files_stay_flat(
    epochs, steps, warm, most, tmp_path, tiny_model, write_config, promise, capsys
) -> None:
    """Train, evaluate and save after each epoch; `most` is the growth in bytes per step that counts as noise."""
    overrides = [*SHORT, f"epochs={epochs}", f"steps_per_epoch={steps}", f"checkpoint_every={steps}"]
    gauges = Gauges()
    recipe.train(write_config(tmp_path), tmp_path / "run", gauges, overrides=overrides)
    step, memory, files = np.array([reading for reading in gauges.readings if reading[0] > warm]).T
    slope = np.polyfit(step, memory, 1)[0]
    line = f"{epochs * steps} steps: {memory[0] / 1e6:.0f} MB after {step[0]}, {memory[-1] / 1e6:.0f} MB at the end"
    with capsys.disabled():
        print(f"\n{line}, slope {slope / 1e3:.2f} kB a step; {files.min()} to {files.max()} open files")
    assert slope < most
    assert files.max() - files.min() <= 2, "one may be open for a moment"
    promise("Long runs: memory and open files stay constant over the training steps", cases=epochs * steps)


CHILD = """
import pickle, sys
from functools import partialmethod
from pathlib import Path
import keras
from spinenet_tf.nets.family import VARIANTS
from spinenet_tf.heads.retinanet import RetinaNet
from spinenet_tf.training import recipe

VARIANTS["tiny"] = pickle.loads(bytes.fromhex(sys.argv[1]))
folder = Path(sys.argv[3])
# Tracing a graph takes ten times as long as these steps.
RetinaNet.compile = partialmethod(RetinaNet.compile, run_eagerly=True)
print("ready", flush=True)
told = keras.callbacks.LambdaCallback(on_train_begin=lambda logs: print("training", flush=True))
recipe.train(sys.argv[2], folder, told, overrides=sys.argv[4:], resume=(folder / "config.yaml").exists())
"""


def train_and_kill(word: str, moment: float, at_most: tuple[int, int], folder: Path, arguments: list[str]) -> None:
    """Train or resume in another process, and kill it some seconds after it printed a word.

    It is killed earlier if a state of the epoch and batch `at_most` exists, so that it never finishes.
    """
    errors = folder.with_suffix(".errors")
    with errors.open("w") as file:
        child = subprocess.Popen([sys.executable, "-c", CHILD, *arguments], stdout=subprocess.PIPE, stderr=file)
    assert f"{word}\n".encode() in iter(child.stdout.readline, b""), errors.read_text()[-2000:]
    end = time.monotonic() + moment
    while time.monotonic() < end and newest_state(folder) < at_most and child.poll() is None:
        time.sleep(0.01)
    child.send_signal(signal.SIGKILL)
    child.communicate()
    assert child.returncode == -signal.SIGKILL, errors.read_text()[-2000:]


def newest_state(folder: Path) -> tuple[int, int]:
    """Return epoch and batch of the newest saved state."""
    names = (path.name.split("-") for path in (folder / "states").glob("epoch-*.npz"))
    return max(((int(name[1]), int(name[3])) for name in names), default=(0, 0))


@pytest.mark.parametrize(
    ("kills", "epochs", "steps"),
    [pytest.param(2, 2, 4, id="2-kills"), pytest.param(50, 20, 30, id="50-kills", marks=pytest.mark.soak)],
)
def test_kills_at_random_moments_change_nothing(
    kills, epochs, steps, tmp_path, least_model, least_row, write_config, monkeypatch, promise, capsys
) -> None:
    """Kill alternately during building and restoring, and during training, evaluation and saving; then resume."""
    # Tracing a graph takes ten times as long as these steps.
    monkeypatch.setattr(RetinaNet, "compile", partialmethod(RetinaNet.compile, run_eagerly=True))
    path = write_config(tmp_path)
    config = read_config(path, overrides := [*WITH_MEMORY, f"epochs={epochs}", f"steps_per_epoch={steps}"])
    whole, killed, start = Run(tmp_path / "whole"), Run(tmp_path / "killed"), time.monotonic()
    gauges = Gauges()
    expected = recipe.train(config, whole.folder, gauges).load(whole.last_weights_path).get_weights()
    spans = {"ready": gauges.began - start, "training": 2 * (time.monotonic() - gauges.began) / kills}

    arguments = [pickle.dumps(least_row).hex(), str(path), str(killed.folder), *overrides]
    moments = [(word, random.SystemRandom().uniform(0, spans[word])) for word in list(spans) * (kills // 2)]
    for number, moment in enumerate(moments):
        at_most = divmod((epochs * steps - 4) * (number + 1) // kills, steps)
        train_and_kill(*moment, at_most, killed.folder, arguments)
    with capsys.disabled():
        reached = newest_state(killed.folder)
        print(f"\n{kills} kills left epoch and batch {reached} of {epochs, steps}; at most seconds after: {spans}")
    recipe.train(config, killed.folder, resume=killed.config_path.exists())
    resumed = killed.load(killed.last_weights_path).get_weights()
    for mine, other in zip(resumed, expected, strict=True):
        np.testing.assert_array_equal(mine, other, err_msg=f"killed after {moments}")
    assert [row["val_AP"] for row in killed.log] == [row["val_AP"] for row in whole.log]
    promise("Long runs: kills at random times do not change the result", cases=kills)
