"""Multi-process training on one or several hosts: the config's `distribution: data_parallel`.

All processes run the same program on arrays that span them. Each computation on these arrays, and each assignment to
them, must run in all processes in the same order: a process that runs it alone waits forever. So all processes
evaluate, average and write a run, and only the run of the first process is kept.
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
    """Join the other processes of a `data_parallel` training, and divide batches among all their devices.

    Keras's environment variables give the addresses, or a call of `keras.distribution.initialize()` does; without
    either, this process is the only one. With another `distribution`, the context does nothing.

    Raises:
        ConfigError: the backend is not JAX, or the batch size is not a multiple of the number of devices.
    """
    if config.distribution != "data_parallel":
        yield
        return
    if keras.backend.backend() != "jax":
        raise ConfigError("distribution: data_parallel needs the JAX backend: set KERAS_BACKEND=jax.")
    import jax

    if any(name in os.environ for name in COORDINATES) and not jax.distributed.is_initialized():
        keras.utils.set_random_seed(config.seed)  # otherwise Keras chooses a seed for all processes
        keras.distribution.initialize()
    devices = keras.distribution.list_devices()
    if config.batch_size % len(devices):
        raise ConfigError(
            f"batch_size must be a multiple of the {len(devices)} devices. Received: batch_size={config.batch_size}"
        )
    before = keras.distribution.distribution()
    # The input pipeline divides batches by `share`: Keras's sharding would decode all images in each process.
    keras.distribution.set_distribution(keras.distribution.DataParallel(devices=devices, auto_shard_dataset=False))
    try:
        yield
    finally:
        keras.distribution.set_distribution(before)


def share() -> tuple[int, int]:
    """Return the index of this process and the number of processes; (0, 1) outside `joined`."""
    if keras.backend.backend() != "jax" or keras.distribution.distribution() is None:
        return 0, 1
    import jax

    return jax.process_index(), jax.process_count()


@contextmanager
def first_ahead() -> Iterator[None]:
    """Run the context in the first process before the others: it may write files that they read."""
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
    """Yield the run's folder in the first process, and a temporary folder in each other process.

    With `resume`, the temporary folders start as copies of the run, which all processes must be able to read.
    """
    number, count = share()
    if count == 1:
        yield folder
        return
    with TemporaryDirectory() as scratch:
        own = folder if number == 0 else Path(scratch) / "run"
        if number > 0 and resume:
            shutil.copytree(folder, own, ignore=shutil.ignore_patterns("events", "*.h5"))
        _meet()  # before the first process changes the folder
        yield own


def largest(number: int) -> int:
    """Return the largest `number` over all processes; all processes must call this."""
    if share()[1] == 1:
        return number
    from jax.experimental import multihost_utils

    return int(np.max(multihost_utils.process_allgather(np.array(number))))


def in_any(flag: bool) -> bool:
    """Return whether the flag is set in any process; all processes must call this."""
    return bool(largest(int(flag)))


def _meet() -> None:
    """Wait until all processes call this."""
    in_any(False)
