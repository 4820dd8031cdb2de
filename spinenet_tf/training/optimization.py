"""The optimizer of a config and its schedule.

What a config leaves out of the schedule is a fraction of the run, so that it fits a run of any length.
"""

from __future__ import annotations

import logging
from typing import Any

import keras
from keras.optimizers.schedules import CosineDecay, LearningRateSchedule

from spinenet_tf.training.config import ConfigError, OptimizerConfig
from spinenet_tf.training.optimizers import SGD, Adam
from spinenet_tf.training.schedule import PerUpdate, Warmup, step_decay

logger = logging.getLogger(__name__)

PUBLISHED_BATCH = 256  # learning rates are given for it
DECAY = (1 / 10, 1 / 30)  # of the updates, at the end: about the 30 and 10 of 350 epochs that were published
WARMUP, LONGEST_WARMUP = 1 / 20, 2000  # of the updates, and how many at most
WARMUP_FROM = 0.0067 / 0.28  # of the learning rate


def make_optimizer(config: OptimizerConfig, batch_size: int, steps: int, epochs: int) -> keras.Optimizer:
    """Make the optimizer of a run of so many epochs of so many steps.

    Raises:
        ConfigError: the run is too short for a single update, or for the steps of the schedule and its warm-up.
    """
    schedule = _make_schedule(config, batch_size, steps, epochs)
    shared: dict[str, Any] = {"global_clipnorm": config.clip_global_norm}
    if config.accumulate > 1:
        shared["gradient_accumulation_steps"] = config.accumulate
    if config.name == "adam":
        return Adam(schedule, **shared)
    return SGD(schedule, config.momentum, **shared)


def _make_schedule(config: OptimizerConfig, batch_size: int, steps: int, epochs: int) -> LearningRateSchedule:
    """Make the schedule; learning rates are for a batch of 256 and scale linearly with the batch (Goyal 2017).

    Where gradients are accumulated, the batch is all that makes one update, and the schedule counts updates.
    """
    scale, total = config.accumulate * batch_size / PUBLISHED_BATCH, _count_updates(config, steps * epochs)
    rate = config.learning_rate
    start = rate * WARMUP_FROM if config.warmup_from is None else config.warmup_from
    after: LearningRateSchedule = CosineDecay(rate * scale, total)
    fits = total // 2  # updates that a warm-up may take
    if config.schedule == "step":
        last = _last_updates(config, steps, epochs)
        after, fits = step_decay(rate * scale, total, last), total - max(last, default=0)
    warmup = Warmup(start * scale, _warmup(config, total, fits), after)
    return PerUpdate(config.accumulate, warmup) if config.accumulate > 1 else warmup


def _count_updates(config: OptimizerConfig, batches: int) -> int:
    if batches < config.accumulate:
        raise ConfigError(
            f"optimizer.accumulate needs {config.accumulate} batches for an update, the run has {batches}. "
            f"Received: accumulate={config.accumulate}"
        )
    return batches // config.accumulate


def _last_updates(config: OptimizerConfig, steps: int, epochs: int) -> tuple[int, ...]:
    """Return how many updates before the end the rate falls."""
    if config.decay_epochs is None:
        return tuple(round(_count_updates(config, steps * epochs) * fraction) for fraction in DECAY)
    if max(config.decay_epochs, default=0) >= epochs:
        raise ConfigError(
            "optimizer.decay_epochs are fewer than the run's: leave them out (null) for its last tenth and thirtieth. "
            f"Received: decay_epochs={config.decay_epochs}, epochs={epochs}"
        )
    return tuple(steps * last // config.accumulate for last in config.decay_epochs)


def _warmup(config: OptimizerConfig, total: int, fits: int) -> int:
    """Return the updates of the warm-up, of which so many fit."""
    if config.warmup_steps is None:
        return min(round(total * WARMUP), LONGEST_WARMUP, fits)
    if config.warmup_steps <= fits:
        return config.warmup_steps
    if config.schedule == "step":
        raise ConfigError(
            f"optimizer.warmup_steps end before the rate first falls, after {fits} updates: leave them out (null) for "
            f"a twentieth of the run. Received: warmup_steps={config.warmup_steps}"
        )
    logger.warning("optimizer.warmup_steps: %d are more than half of the run, so %d.", config.warmup_steps, fits)
    return fits
