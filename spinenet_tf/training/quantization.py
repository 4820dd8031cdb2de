"""Quantization-aware training: a detector that computes like its int8 export, with shared weights (Jacob 2018)."""

from __future__ import annotations

from collections import Counter
from typing import Any

import keras
from keras import ops

from spinenet_tf._fast.normalization import BatchNorm
from spinenet_tf.heads.detector import DetectionModel
from spinenet_tf.nets.base import SpineNetModel
from spinenet_tf.nets.calls import maker_of
from spinenet_tf.nets.costs import CONVS
from spinenet_tf.nets.deconv import CropToLevel
from spinenet_tf.nets.resample import Resampling

# The smallest range of an activation. A squeeze-and-excitation of one or two channels is often 0 on all images. Its
# range of 1e-38 would give a scale that XNNPACK rejects (2^8 and more after a conv) and that crashes LiteRT 2.3. After
# BN, the range of an active channel is a few units.
MIN_RANGE = 0.05
RANGE_MOMENTUM = 0.99  # of the moving averages of the ranges

_FUSED = (keras.activations.relu, keras.activations.relu6)  # TFLite fuses them into the previous operation
# These layers only select or repeat values: the output has the scale of the input.
_SAME_SCALE = (keras.layers.MaxPooling2D, Resampling, CropToLevel)


@keras.saving.register_keras_serializable("spinenet_tf")
class QuantizationAware(DetectionModel):
    """A detector that computes like its int8 file: kernels and activations are rounded to 8 bits, and BN is affine.

    It shares the layers of `detector`: training one trains the other. Gradients pass through the rounding inside its
    range. Weights files are those of the detector; the ranges are saved with the optimizer's state. BN statistics do
    not change, so start from trained weights. The activation ranges are moving averages over the batches of `fit`:
    call `fit` before `predict`.

    Raises:
        ValueError: the net of `detector` selects the detections itself.
    """

    def __init__(self, detector: DetectionModel):
        if detector.decoding.selects:
            raise ValueError(
                "Quantization-aware training needs a detector whose outputs are maps: 8 bits are too few for the "
                f"coordinates of boxes inside the net. Received: detector={type(detector).__name__}"
            )
        rounding = _Rounding()
        network = keras.models.clone_model(
            detector, clone_function=lambda layer: layer, call_function=rounding.call, recursive=True
        )
        raw = keras.tree.map_structure(rounding.round, network.output)
        super(DetectionModel, self).__init__(inputs=network.input, outputs=raw, name=f"{detector.name}_int8")
        self.head, self.loss_names, self.decoding = detector.head, detector.loss_names, detector.decoding
        self._equip(detector.backbone, detector.num_classes, detector.options)
        self.detector = detector  # computes in float
        self._classes = detector._classes

    def losses_of(self, raw, truth, image_size, weights, training=True):
        return self.detector.losses_of(raw, truth, image_size, weights, training)

    def _use_classes(self, classes) -> None:
        super()._use_classes(classes)
        self.detector._use_classes(classes)

    def export(self, *args, **kwargs) -> None:
        """Export `detector`, whose int8 file computes like this model: `format="litert", quantization="int8"`."""
        self.detector.export(*args, **kwargs)

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
    """Round `x` to 256 steps of its range, like an int8 tensor with one scale."""

    def build(self, input_shape) -> None:
        ends = {"shape": (), "initializer": "zeros", "trainable": False, "dtype": "float32", "aggregation": "mean"}
        self.low = self.add_weight(name="low", **ends)
        self.high = self.add_weight(name="high", **ends)

    def call(self, x, training=None):
        if training:
            self._follow(x)
        return keras.quantizers.fake_quant_with_min_max_vars(x, self.low, self.high)

    def _follow(self, x) -> None:
        """Update the moving average of the range, which always includes 0; the first range is that of `x`."""
        x = ops.stop_gradient(x)  # on JAX, gradients flow through an assigned variable
        low = ops.minimum(ops.min(x), 0.0)
        high = ops.maximum(ops.maximum(ops.max(x), 0.0), low + MIN_RANGE)
        momentum = ops.where(self.high > self.low, RANGE_MOMENTUM, 0.0)
        self.low.assign(momentum * self.low + (1.0 - momentum) * low)
        self.high.assign(momentum * self.high + (1.0 - momentum) * high)


class RoundedConv(keras.layers.Layer):
    """A conv whose kernels are rounded to 8 bits, with one scale per output channel.

    A following BN need not be folded first: it only changes the scale of each channel, not the integers. A separable
    conv is two operations with a rounded tensor between them.
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
    """BN with fixed statistics, also in training: the affine map that an export folds into the conv."""

    def __init__(self, norm: BatchNorm, **kwargs):
        super().__init__(**kwargs)
        self.norm = norm

    def call(self, x):
        return self.norm(x, training=False)


def round_kernel(kernel, axis: int):
    """Round a kernel to 255 steps per channel of `axis`, symmetric around 0, like TFLite's int8 convs."""
    kernel = ops.convert_to_tensor(kernel)
    others = [other for other in range(len(kernel.shape)) if other != axis]
    limit = ops.stop_gradient(ops.maximum(ops.max(ops.abs(kernel), axis=others), keras.config.epsilon()))
    return keras.quantizers.fake_quant_with_min_max_vars(kernel, -limit, limit, narrow_range=True, axis=axis)


class _Rounding:
    """Call the layers of a graph again, with each input of an integer operation rounded."""

    def __init__(self) -> None:
        self._rounded: dict[int, tuple] = {}  # id of a tensor -> the tensor (a reference keeps its id unique), rounded
        self._names: Counter[str] = Counter()

    def call(self, layer, *args, **kwargs):
        """Call a layer with int8 rounding."""
        if _reads_floats(layer):
            return layer(*args, **kwargs)
        if isinstance(layer, BatchNorm):
            return FrozenNorm(layer, name=self._name(layer, "frozen"))(*args)
        if isinstance(layer, CONVS):
            return RoundedConv(layer, name=self._name(layer, "rounded"))(self.round(args[0]))
        outputs = layer(keras.tree.map_structure(self.round, args[0]), **kwargs)
        if isinstance(layer, _SAME_SCALE):
            self._rounded[id(outputs)] = (outputs, outputs)
        return outputs

    def round(self, x):
        """Return a tensor rounded to int8; all its readers share its range."""
        if id(x) not in self._rounded:
            self._rounded[id(x)] = (x, Rounded(name=self._name(maker_of(x), "int8"))(x))
        return self._rounded[id(x)][1]

    def _name(self, layer, suffix: str) -> str:
        """Return a name that is new in the graph: a head's conv is called once per level."""
        name = f"{layer.name}_{suffix}"
        self._names[name] += 1
        return name if self._names[name] == 1 else f"{name}_{self._names[name]}"


def _reads_floats(layer) -> bool:
    """Return whether a layer reads unrounded values: it is fused into another operation, or is a nested model."""
    fused = isinstance(layer, keras.layers.Activation) and layer.activation in _FUSED
    return fused or isinstance(layer, (keras.Model, keras.layers.Dropout))
