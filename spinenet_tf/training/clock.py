"""The position of a training: the epoch, and the number of its batches that are done."""

from __future__ import annotations

import math
from typing import Any

import keras


class Clock(keras.callbacks.Callback):
    """Count epochs and batches across resumptions, and stop if the loss is not finite. It must be the first callback.

    `batch == steps` means that all batches of the epoch are done, but not its evaluation and log. The next epoch
    starts at batch 0.
    """

    def __init__(self, steps: int):
        super().__init__()
        self.steps = steps  # in an epoch
        self.set(0, 0)

    @property
    def step(self) -> int:
        """The number of batches since the start of the first epoch."""
        return self.epoch * self.steps + self.batch

    def set(self, epoch: int, batch: int) -> None:
        """Set the position to `epoch` (from 0) with `batch` batches done."""
        self.epoch, self.batch = epoch, batch

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        if epoch != self.epoch:
            self.set(epoch, 0)

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        self.batch += 1
        loss = float((logs or {}).get("loss", 0.0))
        if not math.isfinite(loss):
            place = f"step {self.step} (epoch {self.epoch + 1})"
            raise RuntimeError(f"NaN or Inf loss at {place}. The run keeps what it saved before.")
