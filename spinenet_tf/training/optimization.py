"""Create the optimizer of a config and its learning-rate schedule.

Defaults of the schedule are fractions of the run, so that they fit a run of any length.
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

PUBLISHED_BATCH = 256  # the batch size that a config's learning rate refers to
DECAY = (1 / 10, 1 / 30)  # fraction of the updates after a drop; published: 30 and 10 of 350 epochs
WARMUP, LONGEST_WARMUP = 1 / 20, 2000  # fraction of the updates, and the largest number of updates
WARMUP_FROM = 0.0067 / 0.28  # of the learning rate


def make_optimizer(config: OptimizerConfig, batch_size: int, steps: int, epochs: int) -> keras.Optimizer:
    """Create the optimizer of a run of `epochs` epochs of `steps` steps each.

    Raises:
        ConfigError: the run is too short for one update, or for the schedule's drops and warm-up.
    """
    schedule = _make_schedule(config, batch_size, steps, epochs)
    shared: dict[str, Any] = {"global_clipnorm": config.clip_global_norm}
    if config.accumulate > 1:
        shared["gradient_accumulation_steps"] = config.accumulate
    if config.name == "adam":
        return Adam(schedule, **shared)
    return SGD(schedule, config.momentum, **shared)


def _make_schedule(config: OptimizerConfig, batch_size: int, steps: int, epochs: int) -> LearningRateSchedule:
    """Create the schedule; learning rates are for a batch of 256 and scale linearly with the batch (Goyal 2017).

    With accumulated gradients, the batch is that of a whole update, and the schedule counts updates.
    """
    scale, total = config.accumulate * batch_size / PUBLISHED_BATCH, _count_updates(config, steps * epochs)
    rate = config.learning_rate
    start = rate * WARMUP_FROM if config.warmup_from is None else config.warmup_from
    after: LearningRateSchedule = CosineDecay(rate * scale, total)
    fits = total // 2  # longest warm-up, in updates
    if config.schedule == "step":
        last = _last_updates(config, steps, epochs)
        after, fits = step_decay(rate * scale, total, last), total - max(last, default=0)
    warmup = Warmup(start * scale, _warmup(config, total, fits), after)
    return PerUpdate(config.accumulate, warmup) if config.accumulate > 1 else warmup


def _count_updates(config: OptimizerConfig, batches: int) -> int:
    if batches < config.accumulate:
        raise ConfigError(
            f"optimizer.accumulate needs {config.accumulate} batches for one update, but the run has {batches}. "
            f"Received: accumulate={config.accumulate}"
        )
    return batches // config.accumulate


def _last_updates(config: OptimizerConfig, steps: int, epochs: int) -> tuple[int, ...]:
    """Return the numbers of updates before the end at which the learning rate drops."""
    if config.decay_epochs is None:
        return tuple(round(_count_updates(config, steps * epochs) * fraction) for fraction in DECAY)
    if max(config.decay_epochs, default=0) >= epochs:
        raise ConfigError(
            "optimizer.decay_epochs must be less than epochs; null means the last 1/10 and 1/30 of the run. "
            f"Received: decay_epochs={config.decay_epochs}, epochs={epochs}"
        )
    return tuple(steps * last // config.accumulate for last in config.decay_epochs)


def _warmup(config: OptimizerConfig, total: int, fits: int) -> int:
    """Return the number of warm-up updates, at most `fits`."""
    if config.warmup_steps is None:
        return min(round(total * WARMUP), LONGEST_WARMUP, fits)
    if config.warmup_steps <= fits:
        return config.warmup_steps
    if config.schedule == "step":
        raise ConfigError(
            f"optimizer.warmup_steps must be at most {fits}, where the learning rate first drops; "
            f"null means 1/20 of the run. Received: warmup_steps={config.warmup_steps}"
        )
    logger.warning("optimizer.warmup_steps=%d is more than half of the run: using %d.", config.warmup_steps, fits)
    return fits
