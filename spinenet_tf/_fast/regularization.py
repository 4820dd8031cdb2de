"""The paper's weight decay with TensorFlow's fused kernel."""

from __future__ import annotations

import keras
from keras import ops


@keras.saving.register_keras_serializable("spinenet_tf")
class L2(keras.regularizers.L2):
    """Compute Keras's L2, `l2 * sum(w**2)`, with a single TensorFlow operation, whose gradient is a single one too.

    Keras uses a dozen operations for each kernel, all of which have to be traced: 6 % more time to the first step.
    Other backends use Keras's own code.
    """

    def __call__(self, x):
        if keras.backend.backend() != "tensorflow":
            return super().__call__(x)
        import tensorflow as tf

        return ops.multiply(2.0 * self.l2, tf.nn.l2_loss(ops.convert_to_tensor(x)))
