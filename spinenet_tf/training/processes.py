"""Training by many processes, on one host or several: what `distribution: data_parallel` stands for.

All processes run the same program on arrays that span them, so whatever computes on such arrays, or assigns to them, is
done by all, in the same order: a process that does it alone waits for ever. Hence all of them evaluate, average, and
write a run; but only that of the first is kept.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import keras
import numpy as np

from spinenet_tf.training.config import ConfigError, TrainConfig

COORDINATES = tuple(f"KERAS_DISTRIBUTION_{name}" for name in ("JOB_ADDRESSES", "NUM_PROCESSES", "PROCESS_ID"))


@contextmanager
def joined(config: TrainConfig) -> Iterator[None]:
    """Join the other processes of a `data_parallel` training, and divide batches among all of their devices.

    Where they are is told by Keras's environment variables, or by `keras.distribution.initialize()` before; without
    either, this process is the only one. Another `distribution` changes nothing.

    Raises:
        ConfigError: the backend is not JAX, or the batch does not divide.
    """
    if config.distribution != "data_parallel":
        yield
        return
    if keras.backend.backend() != "jax":
        raise ConfigError("distribution: data_parallel needs the JAX backend: set KERAS_BACKEND=jax.")
    import jax

    if any(name in os.environ for name in COORDINATES) and not jax.distributed.is_initialized():
        keras.utils.set_random_seed(config.seed)  # else Keras agrees on another one
        keras.distribution.initialize()
    devices = keras.distribution.list_devices()
    if config.batch_size % len(devices):
        raise ConfigError(f"batch_size is divided among {len(devices)} devices. Received: {config.batch_size}")
    before = keras.distribution.distribution()
    # The batches are divided by `share`: Keras's own way would decode all images in each process.
    keras.distribution.set_distribution(keras.distribution.DataParallel(devices=devices, auto_shard_dataset=False))
    try:
        yield
    finally:
        keras.distribution.set_distribution(before)


def share() -> tuple[int, int]:
    """Return the number of this process, from 0, and how many there are: (0, 1) but within `joined`."""
    if keras.backend.backend() != "jax" or keras.distribution.distribution() is None:
        return 0, 1
    import jax

    return jax.process_index(), jax.process_count()


@contextmanager
def first_ahead() -> Iterator[None]:
    """Let the first process do something before the others do: it may write what they read."""
    number, count = share()
    if number > 0:
        _meet()
    try:
        yield
    finally:
        if number == 0 and count > 1:
            _meet()


@contextmanager
def own_folder(folder: Path, *, resume: bool) -> Iterator[Path]:
    """Give the first process the run's folder, and each other one a temporary folder in its place.

    With `resume` they begin as copies of the run, which all processes must see.
    """
    number, count = share()
    if count == 1:
        yield folder
        return
    with TemporaryDirectory() as scratch:
        own = folder if number == 0 else Path(scratch) / "run"
        if number > 0 and resume:
            shutil.copytree(folder, own, ignore=shutil.ignore_patterns("events", "*.h5"))
        _meet()  # before the first one changes its folder
        yield own


def largest(number: int) -> int:
    """Return the largest of the numbers of all processes, each of which must ask."""
    if share()[1] == 1:
        return number
    from jax.experimental import multihost_utils

    return int(np.max(multihost_utils.process_allgather(np.array(number))))


def in_any(flag: bool) -> bool:
    """Tell whether the flag is set in any of the processes, all of which must ask."""
    return bool(largest(int(flag)))


def _meet() -> None:
    """Wait until all processes are here."""
    in_any(False)
