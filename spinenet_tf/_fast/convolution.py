"""Convolution whose 1x1 kernels train at the speed of matrix products."""

from __future__ import annotations

import keras
from keras import ops

from spinenet_tf._fast.compilation import is_on_tensorflow_cpu


# Keras names a layer's weights in a file by its class: as `Conv2D` they are where a plain conv has them.
@keras.saving.register_keras_serializable("spinenet_tf")
class Conv2D(keras.layers.Conv2D):
    """A conv of `[B, H, W, C]` that, in training on TensorFlow's CPU, computes a 1x1 kernel as a matrix product.

    The gradient of such a kernel takes oneDNN 1.2 times as long by way of a conv as by way of a product, for wide maps
    1.7 times. In inference a conv stays a conv, which is what exports fuse and quantize.
    """

    def call(self, inputs, training=None):
        if not (training and self._is_product() and is_on_tensorflow_cpu()):
            return super().call(inputs)
        rows, kernel = ops.reshape(inputs, (-1, inputs.shape[-1])), ops.reshape(self.kernel, (-1, self.filters))
        outputs = ops.reshape(ops.matmul(rows, kernel), (*ops.shape(inputs)[:-1], self.filters))
        return self.activation(outputs if self.bias is None else outputs + self.bias)

    def _is_product(self) -> bool:
        return self.kernel_size == self.strides == (1, 1) and self.groups == 1
