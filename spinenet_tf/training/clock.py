"""Where a training is: the epoch, and the batches of it that were trained on."""

from __future__ import annotations

import math
from typing import Any

import keras


class Clock(keras.callbacks.Callback):
    """Count epochs and batches across resumptions, and stop where the loss is not finite; first in a list of callbacks.

    An epoch whose batches are all done (`batch == steps`) still is to be evaluated and logged; the next one begins with
    batch 0.
    """

    def __init__(self, steps: int):
        super().__init__()
        self.steps = steps  # in an epoch
        self.set(0, 0)

    @property
    def step(self) -> int:
        """The batches trained on since the first epoch began."""
        return self.epoch * self.steps + self.batch

    def set(self, epoch: int, batch: int) -> None:
        """Let the next epoch that begins be `epoch`, from 0, with `batch` batches done."""
        self.epoch, self.batch = epoch, batch

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        if epoch != self.epoch:
            self.set(epoch, 0)

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        self.batch += 1
        loss = float((logs or {}).get("loss", 0.0))
        if not math.isfinite(loss):
            place = f"step {self.step} (epoch {self.epoch + 1})"
            raise RuntimeError(f"NaN or Inf loss at {place}. What the run saved before is kept.")
