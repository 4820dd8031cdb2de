"""Two processes with half of each batch take the same steps as one process, and stop and resume together."""

from __future__ import annotations

import os
import pickle
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from spinenet_tf.training import recipe
from spinenet_tf.training.config import ConfigError
from spinenet_tf.training.config_file import read_config
from spinenet_tf.training.processes import in_any, joined, own_folder, share
from spinenet_tf.training.run import Run

CHILD = """
import pickle, sys
from spinenet_tf import cli
from spinenet_tf.nets.family import VARIANTS

VARIANTS["tiny"] = pickle.loads(bytes.fromhex(sys.argv.pop(1)))
cli.main()
"""
# Adam would make much of small differences.
OVERRIDES = [
    "distribution=data_parallel",
    "optimizer={learning_rate: 0.64, warmup_steps: 0, ema: 0.9}",
    "model.overrides={max_level: 3, activation: relu6, score_threshold: 0.001}",
    "log_images=0",
]
LIMIT = 900  # seconds, also on a busy machine: processes that wait for each other would wait for ever


@pytest.fixture
def start(tmp_path: Path, least_row, write_config, jax_process) -> Iterator[Callable[..., subprocess.Popen]]:
    """Return `start(*arguments, **environment)`, which runs `spinenet-tf train` on JAX in a new process."""
    pytest.importorskip("jax")
    command = [sys.executable, "-c", CHILD, pickle.dumps(least_row).hex(), "train", str(write_config(tmp_path))]
    begun: list[subprocess.Popen] = []

    def begin(*arguments: object, **environment: str) -> subprocess.Popen:
        options = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
        options["env"] = os.environ | jax_process | environment
        begun.append(subprocess.Popen([*command, *OVERRIDES, *map(str, arguments)], **options))
        return begun[-1]

    yield begin
    for process in begun:
        process.kill()
        process.communicate()


@pytest.fixture
def start_two(start) -> Callable[..., list[subprocess.Popen]]:
    """Return `start_two(*arguments)`, which does the same in two processes that train together."""

    def begin(*arguments: object) -> list[subprocess.Popen]:
        with socket.socket() as free:
            free.bind(("localhost", 0))
            address = f"localhost:{free.getsockname()[1]}"
        names = ("JOB_ADDRESSES", "NUM_PROCESSES", "PROCESS_ID")
        places = [
            {f"KERAS_DISTRIBUTION_{name}": value for name, value in zip(names, (address, "2", number), strict=True)}
            for number in "01"
        ]
        return [start(*arguments, **place) for place in places]

    return begin


def ended(process: subprocess.Popen) -> str:
    output, _ = process.communicate(timeout=LIMIT)
    assert process.returncode == 0, output[-2000:]
    return output


def last_state(run: Path) -> dict[str, np.ndarray]:
    return dict(np.load(max((run / "states").glob("*.npz"))))


def wait_for_a_state(run: Path, process: subprocess.Popen) -> None:
    end = time.monotonic() + LIMIT
    while not list(run.glob("states/*.npz")):
        assert process.poll() is None
        assert time.monotonic() < end
        time.sleep(0.05)


@pytest.mark.slow
def test_two_processes_stopped_and_resumed_end_as_one_does(tmp_path: Path, start, start_two) -> None:
    ended(start("--run", tmp_path / "one"))
    run = tmp_path / "two"
    first, second = start_two("--run", run, "checkpoint_every=1")
    wait_for_a_state(run, first)
    second.send_signal(signal.SIGTERM)
    for process in (first, second):
        assert "Stopped by SIGTERM after step" in ended(process)
    resumed = start_two("--run", run, "checkpoint_every=1", "--resume")
    for process in resumed:
        ended(process)
    one, two = last_state(tmp_path / "one"), last_state(run)
    assert one["position"].tolist() == [2, 0, 2]
    assert list(one) == list(two)
    for key, expected in one.items():  # of the weights, BN's statistics, momenta, averages
        size = max(1.0, np.abs(expected).max())
        np.testing.assert_allclose(two[key], expected, rtol=1e-5, atol=1e-5 * size, err_msg=key)
    rows = zip(Run(tmp_path / "one").log, Run(run).log, strict=True)
    for ours, theirs in rows:
        for name in ("loss", "class_loss", "box_loss", "val_AP"):
            assert theirs[name] == pytest.approx(ours[name], rel=1e-5, abs=1e-5)
    written = {path.name for path in (tmp_path / "one").iterdir()}
    assert {path.name for path in run.iterdir()} == written
    writers = {path.name.rsplit(".", 3)[1] for path in run.glob("events/train/*")}
    assert writers == {str(first.pid), str(resumed[0].pid)}


@pytest.fixture
def read(tmp_path: Path, tiny_model, write_config):
    return partial(read_config, write_config(tmp_path))


def test_a_batch_that_does_not_divide_is_refused_before_anything_is_written(read, tmp_path: Path, monkeypatch) -> None:
    pytest.importorskip("jax")
    monkeypatch.setattr("keras.backend.backend", lambda: "jax")
    monkeypatch.setattr("keras.distribution.list_devices", lambda: ["cpu:0", "cpu:1", "cpu:2"])
    message = r"batch_size must be a multiple of the 3 devices\. Received: batch_size=4"
    with pytest.raises(ConfigError, match=message):
        recipe.train(read(OVERRIDES), tmp_path / "run")
    assert [path.name for path in tmp_path.iterdir()] == ["tiny.yaml"]


def test_another_backend_is_refused(read, monkeypatch) -> None:
    monkeypatch.setattr("keras.backend.backend", lambda: "tensorflow")
    with pytest.raises(ConfigError, match="data_parallel needs the JAX backend"), joined(read(OVERRIDES)):
        pass


def test_a_process_is_alone_otherwise(read, tmp_path: Path) -> None:
    with joined(read([])), own_folder(tmp_path / "run", resume=False) as own:
        assert own == tmp_path / "run"
        assert share() == (0, 1)
        assert in_any(True)
        assert not in_any(False)
