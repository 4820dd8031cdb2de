"""Learning-rate schedules that Keras can serialize: linear warm-up, then the paper's steps or a cosine.

The package imports this module, so that Keras finds the classes; so it imports nothing but Keras.
"""

from __future__ import annotations

import keras
from keras import ops
from keras.optimizers.schedules import LearningRateSchedule, PiecewiseConstantDecay


@keras.saving.register_keras_serializable("spinenet_tf")
class Warmup(LearningRateSchedule):
    """Warm up linearly from `start` to the schedule `after` over `steps` steps, then follow `after` (Goyal 2017)."""

    def __init__(self, start: float, steps: int, after: LearningRateSchedule):
        super().__init__()
        self.start, self.steps, self.after = start, steps, after

    def __call__(self, step):
        rate = self.after(step)
        if not self.steps:
            return rate
        progress = ops.cast(step, rate.dtype) / self.steps
        return ops.where(progress < 1.0, self.start + (rate - self.start) * progress, rate)

    def get_config(self):
        after = keras.saving.serialize_keras_object(self.after)
        return {"start": self.start, "steps": self.steps, "after": after}

    @classmethod
    def from_config(cls, config):
        return cls(**config | {"after": keras.saving.deserialize_keras_object(config["after"])})


@keras.saving.register_keras_serializable("spinenet_tf")
class PerUpdate(LearningRateSchedule):
    """Follow `after` per update of `batches` steps: with accumulated gradients, Keras counts batches."""

    def __init__(self, batches: int, after: LearningRateSchedule):
        super().__init__()
        self.batches, self.after = batches, after

    def __call__(self, step):
        return self.after(ops.floor_divide(step, self.batches))

    def get_config(self):
        return {"batches": self.batches, "after": keras.saving.serialize_keras_object(self.after)}

    @classmethod
    def from_config(cls, config):
        return cls(**config | {"after": keras.saving.deserialize_keras_object(config["after"])})


def step_decay(rate: float, total_steps: int, last_steps: tuple[int, ...]) -> LearningRateSchedule:
    """Return a schedule that divides `rate` by ten `last` steps before the end, for each `last` of `last_steps`."""
    boundaries = sorted(total_steps - last for last in last_steps) or [total_steps]  # Keras rejects an empty list
    return PiecewiseConstantDecay(boundaries, [rate * 0.1**index for index in range(len(boundaries) + 1)])
