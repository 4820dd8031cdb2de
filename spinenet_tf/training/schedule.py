"""Learning-rate schedules that Keras can serialize: linear warm-up, then the paper's steps or a cosine.

The package imports this module, so that Keras finds the classes; so it imports nothing but Keras.
"""

from __future__ import annotations

import keras
from keras import ops
from keras.optimizers.schedules import LearningRateSchedule, PiecewiseConstantDecay


@keras.saving.register_keras_serializable("spinenet_tf")
class Warmup(LearningRateSchedule):
    """Warm up linearly from the rate `start` to the schedule `after` over `steps` steps, then follow it (Goyal 2017).

    `after` counts from the first step, warm-up included. With `steps=0` there is no warm-up.
    """

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
        """Return the arguments, for Keras's serialization."""
        after = keras.saving.serialize_keras_object(self.after)
        return {"start": self.start, "steps": self.steps, "after": after}

    @classmethod
    def from_config(cls, config):
        """Create the schedule that `get_config` describes."""
        return cls(**config | {"after": keras.saving.deserialize_keras_object(config["after"])})


@keras.saving.register_keras_serializable("spinenet_tf")
class PerUpdate(LearningRateSchedule):
    """Follow the schedule `after`, whose steps are updates of `batches` batches each.

    An optimizer with `gradient_accumulation_steps=batches` counts batches, which would follow `after` too fast.
    """

    def __init__(self, batches: int, after: LearningRateSchedule):
        super().__init__()
        self.batches, self.after = batches, after

    def __call__(self, step):
        return self.after(ops.floor_divide(step, self.batches))

    def get_config(self):
        """Return the arguments, for Keras's serialization."""
        return {"batches": self.batches, "after": keras.saving.serialize_keras_object(self.after)}

    @classmethod
    def from_config(cls, config):
        """Create the schedule that `get_config` describes."""
        return cls(**config | {"after": keras.saving.deserialize_keras_object(config["after"])})


def step_decay(rate: float, total_steps: int, last_steps: tuple[int, ...]) -> LearningRateSchedule:
    """Return a schedule that divides `rate` by ten `last` steps before the end, for each `last` of `last_steps`.

    The published recipes drop it 30 and 10 epochs before the end.
    """
    boundaries = sorted(total_steps - last for last in last_steps) or [total_steps]  # Keras rejects an empty list
    return PiecewiseConstantDecay(boundaries, [rate * 0.1**index for index in range(len(boundaries) + 1)])
