"""Quantization-aware training: a detector that computes as its int8 export will, over the same weights (Jacob 2018)."""

from __future__ import annotations

from collections import Counter
from typing import Any

import keras
from keras import ops

from spinenet_tf._fast.normalization import BatchNorm
from spinenet_tf.heads.detector import DetectionModel
from spinenet_tf.nets.base import SpineNetModel
from spinenet_tf.nets.calls import maker_of
from spinenet_tf.nets.deconv import CropToLevel
from spinenet_tf.nets.resample import NearestUpsample

# The smallest range of an activation. A squeeze-and-excitation of one or two channels often is 0 on all images: its
# range of 1e-38 would give a scale that XNNPACK refuses (2^8 and more after a conv) and LiteRT 2.3 dies of. After BN
# an activation that lives ranges over some units.
MIN_RANGE = 0.05
RANGE_MOMENTUM = 0.99  # of the moving averages that ranges are

_CONVS = (
    keras.layers.Conv2D,
    keras.layers.Conv2DTranspose,
    keras.layers.DepthwiseConv2D,
    keras.layers.SeparableConv2D,
)
_FUSED = (keras.activations.relu, keras.activations.relu6)  # TFLite computes them within the operation before
# What only picks or repeats values: its output has the scale of its input.
_SAME_SCALE = (keras.layers.MaxPooling2D, NearestUpsample, CropToLevel)


@keras.saving.register_keras_serializable("spinenet_tf")
class QuantizationAware(DetectionModel):
    """A detector as its int8 file computes: kernels and activations rounded to 8 bits, BN as the affine map it ends as.

    It shares the layers of the `detector` that it is made of: training one trains the other. Gradients pass through the
    rounding, inside its range. Its weights files are the detector's, and hold the ranges with the optimizer's state. BN
    keeps the statistics that it has, so start from trained weights. The ranges of activations are moving averages over
    the batches of `fit`: nothing can be predicted before.
    """

    def __init__(self, detector: DetectionModel):
        rounding = _Rounding()
        network = keras.models.clone_model(
            detector, clone_function=lambda layer: layer, call_function=rounding.call, recursive=True
        )
        raw = keras.tree.map_structure(rounding.round, network.output)
        super(DetectionModel, self).__init__(inputs=network.input, outputs=raw, name=f"{detector.name}_int8")
        self.head, self.loss_names, self.decoding = detector.head, detector.loss_names, detector.decoding
        self._equip(detector.backbone, detector.num_classes, detector.options)
        self.detector = detector  # as it computes in float

    def losses_of(self, raw, truth, image_size, weights):
        return self.detector.losses_of(raw, truth, image_size, weights)

    def get_config(self) -> dict[str, Any]:
        return {"detector": keras.saving.serialize_keras_object(self.detector)}

    @classmethod
    def from_config(cls, config, custom_objects=None):
        return cls(keras.saving.deserialize_keras_object(config["detector"], custom_objects))

    def architecture(self) -> dict[str, Any]:
        return self.detector.architecture()

    def _stored(self) -> SpineNetModel:
        return self.detector

    def _training_variables(self) -> list[keras.Variable]:
        """Return the optimizer's variables and the ranges."""
        weights = {id(variable) for variable in self.detector.variables}
        return super()._training_variables() + [one for one in self.variables if id(one) not in weights]


class Rounded(keras.layers.Layer):
    """Round `x` to the 256 steps of its range, as an int8 tensor with one scale holds it."""

    def build(self, input_shape) -> None:
        ends = {"shape": (), "initializer": "zeros", "trainable": False, "dtype": "float32", "aggregation": "mean"}
        self.low = self.add_weight(name="low", **ends)
        self.high = self.add_weight(name="high", **ends)

    def call(self, x, training=None):
        if training:
            self._follow(x)
        return keras.quantizers.fake_quant_with_min_max_vars(x, self.low, self.high)

    def _follow(self, x) -> None:
        """Move the range, which always holds 0, toward that of `x`; the first one is taken as it is."""
        x = ops.stop_gradient(x)  # on JAX what is read after an assignment still depends on what was assigned
        low = ops.minimum(ops.min(x), 0.0)
        high = ops.maximum(ops.maximum(ops.max(x), 0.0), low + MIN_RANGE)
        momentum = ops.where(self.high > self.low, RANGE_MOMENTUM, 0.0)
        self.low.assign(momentum * self.low + (1.0 - momentum) * low)
        self.high.assign(momentum * self.high + (1.0 - momentum) * high)


class RoundedConv(keras.layers.Layer):
    """A conv with its kernels rounded to 8 bits, a scale per output channel.

    BN behind it needs no folding first: it multiplies a channel, and so the channel's scale; the integers stay the
    same. A separable conv is two operations, with a rounded tensor between them.
    """

    def __init__(self, conv: keras.layers.Layer, **kwargs):
        super().__init__(**kwargs)
        self.conv = conv
        self.between = Rounded(name="between") if isinstance(conv, keras.layers.SeparableConv2D) else None

    def call(self, x, training=None):
        conv, options = self.conv, {"strides": self.conv.strides, "padding": self.conv.padding}
        if self.between is not None:
            x = ops.depthwise_conv(x, round_kernel(conv.depthwise_kernel, axis=2), **options)
            x = ops.conv(self.between(x, training=training), round_kernel(conv.pointwise_kernel, axis=3))
        elif isinstance(conv, keras.layers.DepthwiseConv2D):
            x = ops.depthwise_conv(x, round_kernel(conv.kernel, axis=2), **options)
        elif isinstance(conv, keras.layers.Conv2DTranspose):
            x = ops.conv_transpose(x, round_kernel(conv.kernel, axis=2), **options)
        else:
            x = ops.conv(x, round_kernel(conv.kernel, axis=3), **options)
        return x if conv.bias is None else x + conv.bias


class FrozenNorm(keras.layers.Layer):
    """BN with the statistics that it has, also in training: the affine map that an export folds into the conv."""

    def __init__(self, norm: BatchNorm, **kwargs):
        super().__init__(**kwargs)
        self.norm = norm

    def call(self, x):
        return self.norm(x, training=False)


def round_kernel(kernel, axis: int):
    """Round a kernel to the 255 steps of each channel on `axis`, symmetric about 0, as TFLite's int8 convs have it."""
    kernel = ops.convert_to_tensor(kernel)
    others = [other for other in range(len(kernel.shape)) if other != axis]
    limit = ops.stop_gradient(ops.maximum(ops.max(ops.abs(kernel), axis=others), keras.config.epsilon()))
    return keras.quantizers.fake_quant_with_min_max_vars(kernel, -limit, limit, narrow_range=True, axis=axis)


class _Rounding:
    """Calls the layers of a graph anew, each tensor rounded that an integer operation reads."""

    def __init__(self) -> None:
        self._rounded: dict[int, tuple] = {}  # id of a tensor -> itself, which keeps the id taken, and what it became
        self._names: Counter[str] = Counter()

    def call(self, layer, *args, **kwargs):
        """Call a layer as int8 computes it."""
        if _reads_floats(layer):
            return layer(*args, **kwargs)
        if isinstance(layer, BatchNorm):
            return FrozenNorm(layer, name=self._name(layer, "frozen"))(*args)
        if isinstance(layer, _CONVS):
            return RoundedConv(layer, name=self._name(layer, "rounded"))(self.round(args[0]))
        outputs = layer(keras.tree.map_structure(self.round, args[0]), **kwargs)
        if isinstance(layer, _SAME_SCALE):
            self._rounded[id(outputs)] = (outputs, outputs)
        return outputs

    def round(self, x):
        """Return a tensor as int8 holds it; all that read it share its range."""
        if id(x) not in self._rounded:
            self._rounded[id(x)] = (x, Rounded(name=self._name(maker_of(x), "int8"))(x))
        return self._rounded[id(x)][1]

    def _name(self, layer, suffix: str) -> str:
        """Return a name that the graph does not have yet: a head's conv is called once per level."""
        name = f"{layer.name}_{suffix}"
        self._names[name] += 1
        return name if self._names[name] == 1 else f"{name}_{self._names[name]}"


def _reads_floats(layer) -> bool:
    """Tell whether a layer works on what is not rounded yet, within an operation; or is a net of layers."""
    fused = isinstance(layer, keras.layers.Activation) and layer.activation in _FUSED
    return fused or isinstance(layer, (keras.Model, keras.layers.Dropout))
