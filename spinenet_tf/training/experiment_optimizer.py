"""Translate the optimizer and the length of an experiment of TF Model Garden."""

from __future__ import annotations

import math
from typing import Any

from spinenet_tf.training.config import ConfigError
from spinenet_tf.training.experiment import Experiment
from spinenet_tf.training.optimization import PUBLISHED_BATCH

SHORTEST = 10  # steps of an epoch
_OPTIMIZER = "trainer.optimizer_config"


def optimization_of(experiment: Experiment, batch: int) -> dict[str, Any]:
    """Return the optimizer, the epochs and the evaluation interval; learning rates refer to a batch of 256."""
    scale, total = PUBLISHED_BATCH / batch, experiment.take("trainer.train_steps")
    interval = experiment.take("trainer.validation_interval")
    schedule, boundaries = _schedule(experiment, scale, total)
    steps = math.gcd(total, interval, *boundaries)
    if steps < SHORTEST:
        raise ConfigError(
            "trainer.train_steps, trainer.validation_interval and the boundaries of the learning rate must be "
            f"multiples of an epoch of at least {SHORTEST} steps. Received: {total}, {interval}, {boundaries}"
        )
    if schedule["schedule"] == "step":
        schedule["decay_epochs"] = [(total - boundary) // steps for boundary in boundaries]
    return {
        "optimizer": _optimizer(experiment) | schedule | _warmup(experiment, scale),
        "epochs": total // steps,
        "steps_per_epoch": steps,
        "evaluate_every": interval // steps,
    }


def _optimizer(experiment: Experiment) -> dict[str, Any]:
    kind = experiment.take(f"{_OPTIMIZER}.optimizer.type")
    own = f"{_OPTIMIZER}.optimizer.{kind}"
    found = {"clip_global_norm": experiment.maybe(f"{own}.global_clipnorm")}
    if kind == "sgd":
        found |= {"name": "sgd", "momentum": experiment.take(f"{own}.momentum")}
    elif kind == "adam":
        found |= {"name": "adam"}
        for key, default in {"beta_1": 0.9, "beta_2": 0.999, "epsilon": 1e-7}.items():
            experiment.equals(f"{own}.{key}", default)
    else:
        raise ConfigError(f"{_OPTIMIZER}.optimizer.type must be sgd or adam. Received: {kind!r}")
    if (decay := experiment.maybe(f"{_OPTIMIZER}.ema.average_decay")) is not None:
        found["ema"] = decay
    return found


def _schedule(experiment: Experiment, scale: float, total: int) -> tuple[dict[str, Any], list[int]]:
    """Return the learning rate's fields, and the steps at which it drops."""
    kind = experiment.take(f"{_OPTIMIZER}.learning_rate.type")
    own = f"{_OPTIMIZER}.learning_rate.{kind}"
    if kind == "stepwise":
        rates, boundaries = experiment.take(f"{own}.values"), experiment.take(f"{own}.boundaries")
        if not all(math.isclose(rate, rates[0] * 0.1**index, rel_tol=1e-6) for index, rate in enumerate(rates)):
            raise ConfigError(f"{own}.values must fall by a factor of ten at each boundary. Received: {rates}")
        return {"learning_rate": rates[0] * scale, "schedule": "step"}, boundaries
    if kind == "cosine":
        steps, rate = experiment.take(f"{own}.decay_steps"), experiment.take(f"{own}.initial_learning_rate")
        if steps != total:
            raise ConfigError(f"{own}.decay_steps must equal trainer.train_steps={total}. Received: {steps}")
        return {"learning_rate": rate * scale, "schedule": "cosine"}, []
    raise ConfigError(f"{_OPTIMIZER}.learning_rate.type must be stepwise or cosine. Received: {kind!r}")


def _warmup(experiment: Experiment, scale: float) -> dict[str, Any]:
    kind = experiment.maybe(f"{_OPTIMIZER}.warmup.type")
    if kind is None:
        return {"warmup_steps": 0}
    if kind != "linear":
        raise ConfigError(f"{_OPTIMIZER}.warmup.type must be linear. Received: {kind!r}")
    steps, start = (experiment.take(f"{_OPTIMIZER}.warmup.linear.warmup_{key}") for key in ("steps", "learning_rate"))
    return {"warmup_steps": steps, "warmup_from": start * scale}
