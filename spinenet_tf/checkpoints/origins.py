"""Checkpoints on disk: which code base wrote one, and its weights for our models."""

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
    """Give a network the weights of a checkpoint of TF Model Garden or of the TF1 zoo, or leave it as it is.

    See `read_checkpoint` for `path` and `averaged`, `Checkpoint.load` for what has to agree, and `ignore`.

    Raises:
        CheckpointError: as these two do.
    """
    read_checkpoint(path, averaged=averaged).load(model, ignore=ignore)


def read_checkpoint(path: str | os.PathLike, *, averaged: bool = True) -> Checkpoint:
    """Read the network of a checkpoint of TF Model Garden (which has an object graph) or of the TF1 zoo (names alone).

    `path` is the checkpoint's prefix, its `.index` file, or the folder of a trainer, whose latest checkpoint is taken.
    Optimizer and counters are left out. Where the trainer kept an exponential moving average of a variable, this is
    taken, as evaluation did there too; with `averaged=False`, the trained value.

    Raises:
        CheckpointError: there is no checkpoint, or it does not read.
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
    except Exception as error:  # OpError, RuntimeError, IndexError, DecodeError and others, as the damage is
        raise CheckpointError(f"{prefix} is not a readable checkpoint: {error}") from error


def _prefix(path: Path) -> str:
    if path.is_dir():
        latest = tf.train.latest_checkpoint(str(path))
        if latest is None:
            raise CheckpointError(f"{path} is a folder without a checkpoint.")
        return latest
    prefix = path.with_suffix("") if path.suffix == ".index" else path
    if not Path(f"{prefix}.index").is_file():
        raise CheckpointError(f"There is no checkpoint {prefix}: it would have a file {prefix.name}.index.")
    return str(prefix)
