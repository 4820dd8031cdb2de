"""Optimizers and learning-rate schedules for `compile`.

`SGD` and `Adam` are Keras's, with the same numbers, and start faster on TensorFlow. The schedules are those of the
recipes; combine them with `keras.optimizers.schedules`:

    steps, rate = 100 * 300, 0.28 * 64 / 256
    drops = step_decay(rate, total_steps=steps, last_steps=(3000, 1000))
    detector.compile(SGD(Warmup(0.0, 2000, drops), momentum=0.9, global_clipnorm=10.0))
"""

from spinenet_tf.training.optimizers import SGD, Adam
from spinenet_tf.training.schedule import PerUpdate, Warmup, step_decay

__all__ = ["SGD", "Adam", "PerUpdate", "Warmup", "step_decay"]
