"""Read a checkpoint on disk by the project that wrote it, and load it into our models."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

import tensorflow as tf

from spinenet_tf.checkpoints import model_garden, tf1_zoo
from spinenet_tf.checkpoints.checkpoint import Checkpoint, CheckpointError
from spinenet_tf.checkpoints.names import Network


def load_checkpoint(
    model: Network, path: str | os.PathLike, *, averaged: bool = True, ignore: Iterable[str] = ()
) -> None:
    """Load a checkpoint of TF Model Garden or of the TF1 zoo into a network; after an error it is unchanged.

    See `read_checkpoint` for `path` and `averaged`, and `Checkpoint.load` for `ignore`.

    Raises:
        CheckpointError: see these two functions.
    """
    read_checkpoint(path, averaged=averaged).load(model, ignore=ignore)


def read_checkpoint(path: str | os.PathLike, *, averaged: bool = True) -> Checkpoint:
    """Read the network in a checkpoint of TF Model Garden (with an object graph) or of the TF1 zoo (without).

    `path` is the checkpoint's prefix, its `.index` file, or a trainer's folder, whose latest checkpoint is read.
    Optimizer and counters are left out. If the trainer stored an exponential moving average of a variable, the average
    is read, as in its evaluation; with `averaged=False`, the trained value.

    Raises:
        CheckpointError: the checkpoint does not exist or is not readable.
    """
    prefix = _prefix(Path(path))
    try:
        reader = tf.train.load_checkpoint(prefix)
        if reader.has_tensor(model_garden.GRAPH_KEY):
            found = model_garden.read_variables(reader, prefix, averaged=averaged)
            return model_garden.GardenCheckpoint(prefix, found)
        return tf1_zoo.Tf1Checkpoint(prefix, tf1_zoo.read_variables(reader, averaged=averaged))
    except CheckpointError:
        raise
    except Exception as error:  # damage raises OpError, RuntimeError, IndexError, DecodeError and others
        raise CheckpointError(f"{prefix} is not a readable checkpoint: {error}") from error


def _prefix(path: Path) -> str:
    if path.is_dir():
        latest = tf.train.latest_checkpoint(str(path))
        if latest is None:
            raise CheckpointError(f"The folder {path} contains no checkpoint.")
        return latest
    prefix = path.with_suffix("") if path.suffix == ".index" else path
    if not Path(f"{prefix}.index").is_file():
        raise CheckpointError(f"Checkpoint not found: {prefix}, which needs a file {prefix.name}.index.")
    return str(prefix)
