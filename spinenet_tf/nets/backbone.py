"""Build the Keras model of a spec, from images to the feature pyramid {"P3": ..., "P7": ...}."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import keras

from spinenet_tf._fast.variables import named_alike
from spinenet_tf.nets.base import SpineNetModel
from spinenet_tf.nets.blocks import block_channels, chain
from spinenet_tf.nets.deconv import deconv
from spinenet_tf.nets.dtype import Dtype, dtype_scope
from spinenet_tf.nets.layer_config import arguments, freeze, layer_config
from spinenet_tf.nets.resample import resample, resample_mobile, upsample
from spinenet_tf.nets.specs import ArchitectureSpec, BlockSpec
from spinenet_tf.nets.style import Style
from spinenet_tf.nets.wiring import dangling
from spinenet_tf.ops.pixels import OFFSET, SCALE

MIN_SIDE = 32
STEM_CHANNELS = 64  # of the stem's 7x7 conv, for any width multiplier


@keras.saving.register_keras_serializable("spinenet_tf")
class Backbone(SpineNetModel):
    """A scale-permuted network from images `[B, H, W, 3]` to `{"P3": [B, H / 8, W / 8, endpoint], ...}`, finest first.

    Each side of the input is at least 32 px, or None; the side of a map at level L is ceil(side / 2^L). Source: arXiv
    1912.05027, section 3 and appendix. Images are normalized, or with `include_preprocessing` pixels in 0..255, which
    the layer `normalize_pixels` normalizes; the weights are the same.

    `dtype` is a Keras dtype policy: its name, a `DTypePolicy`, or a `DTypePolicyMap` from layer names (or regular
    expressions) to policies. None means Keras's global policy.

    Raises:
        ValueError: a side under 32 px, a level that the spec does not output, or a `dtype` that is not a floating-point
            policy.
    """

    def __init__(
        self,
        spec: ArchitectureSpec | Mapping[str, Any],
        input_shape: tuple[int | None, int | None, int] = (640, 640, 3),
        style: Style | None = None,
        name: str | None = None,
        dtype: Dtype = None,
        include_preprocessing: bool = False,
    ):
        spec = spec if isinstance(spec, ArchitectureSpec) else ArchitectureSpec.from_config(spec)
        _check_input_shape(input_shape)
        style = style or Style()
        first, last = levels_of(spec, style)
        image = keras.Input(tuple(input_shape), name="images")
        with dtype_scope(dtype):
            with named_alike():
                normalized = normalize_pixels(image) if include_preprocessing else image
                pyramid = _WALKS[spec.fusion](spec, style, normalized).run()
            outputs = {f"P{level}": pyramid[level] for level in range(first, last + 1)}
            super().__init__(inputs=image, outputs=outputs, name=name or spec.name)
        self.spec = spec
        self.image_shape: tuple[int | None, int | None, int] = (input_shape[0], input_shape[1], 3)
        self.min_level, self.max_level = first, last
        self.style = replace(style, min_level=first, max_level=last)
        self.include_preprocessing = include_preprocessing

    @property
    def pyramid_outputs(self) -> dict[str, Any]:
        """The symbolic outputs by level, `{"P3": KerasTensor, ...}`, under the name that keras-hub's heads use."""
        return dict(self.output)

    @property
    def pyramid_levels(self) -> tuple[int, ...]:
        """The levels of the outputs, finest first: (3, 4, 5, 6, 7)."""
        return tuple(range(self.min_level, self.max_level + 1))

    def get_config(self) -> dict[str, Any]:
        own = {"spec": self.spec.get_config(), "input_shape": list(self.image_shape)}
        form = {"include_preprocessing": self.include_preprocessing}
        return own | form | self.style.plain() | layer_config(self)

    @classmethod
    def from_config(cls, config, custom_objects=None):
        style = {key: value for key, value in config.items() if key in Style.names()}
        own = {key: value for key, value in arguments(config).items() if key not in style}
        model = cls(**own | {"input_shape": tuple(own["input_shape"]), "style": Style.of(style)})
        return freeze(model, config)

    def architecture(self) -> dict[str, Any]:
        graph = {name: value for name, value in self.spec.get_config().items() if name != "name"}
        absent = [] if self.style.tf1_zoo else ["tf1_zoo"]  # files of earlier versions do not have it
        absent += [] if self.spec.has_mbconv else ["se_ratio", "se_gate"]
        style = {name: value for name, value in self.style.of_weights().items() if name not in absent}
        return {"model": self.spec.name, **style, "graph": graph}


def normalize_pixels(image):
    """Normalize pixels in 0..255, in float32: a half-precision product would lose more than the images have."""
    return keras.layers.Rescaling(SCALE.tolist(), OFFSET.tolist(), dtype="float32", name="normalize_pixels")(image)


def _check_input_shape(input_shape: tuple[int | None, ...]) -> None:
    if len(input_shape) != 3 or input_shape[2] != 3:
        raise ValueError(f"`input_shape` must be (height, width, 3). Received: input_shape={tuple(input_shape)}")
    if any(side is not None and side < MIN_SIDE for side in input_shape[:2]):
        raise ValueError(f"Each side must be at least {MIN_SIDE} px. Received: input_shape={tuple(input_shape)}")


def levels_of(spec: ArchitectureSpec, style: Style) -> tuple[int, int]:
    """Return the first and last output level: those of the style, or by default those of the graph.

    Raises:
        ValueError: the graph does not output one of them, or the first is coarser than the last.
    """
    first, last = spec.levels
    min_level = first if style.min_level is None else style.min_level
    max_level = last if style.max_level is None else style.max_level
    missing = [level for level in range(min_level, max_level + 1) if level not in spec.output_levels]
    if missing or min_level > max_level:
        raise ValueError(f"{spec.name} outputs the levels {spec.output_levels}. Received: {min_level=}, {max_level=}")
    return min_level, max_level


class _Walk:
    """Walk over the blocks of a spec; hold the nodes built so far."""

    def __init__(self, spec: ArchitectureSpec, style: Style, image):
        self.spec, self.style, self.image = spec, style, image
        self.nodes: list = []
        self.levels: list[int] = []
        self.widths: list[int] = []
        self.dangling = dangling(spec, style.width)

    def run(self) -> dict:
        """Build the whole graph and return the endpoint of each output level."""
        self.build_stem()
        for index in range(len(self.spec.blocks)):
            self.build_block(index)
        outputs = {
            block.level: node
            for block, node in zip(self.spec.blocks, self.nodes[len(self.spec.stem) :], strict=True)
            if block.is_output
        }
        return {
            level: self.style.conv_bn_act(outputs[level], self.style.endpoint, 1, name=f"endpoint_P{level}")
            for level in sorted(outputs)
        }

    def build_stem(self) -> None:
        """Build the stem's conv and its chain of nodes."""
        x, previous = self._stem_conv(), self.spec.stem[0]
        kind = self.spec.stem_block
        for node, level in enumerate(self.spec.stem):
            strides = 2 ** (level - previous)
            width = self._scaled(self.spec.widths[level])
            x = chain(kind, x, width, self.style, repeats=self.style.repeats, strides=strides, name=f"stem_block{node}")
            self._add_node(x, level, width)
            previous = level

    def build_block(self, index: int) -> None:
        """Resample the parents, add them, activate the sum, apply the block."""
        block, node = self.spec.blocks[index], len(self.nodes)
        name, width = f"block{node}", self._scaled(block.width or self.spec.widths[block.level])
        x = self._fuse(node, block, block_channels(block.kind, width, block.expansion), name)
        drop_rate = self.style.stochastic_depth * (index + 1) / len(self.spec.blocks)
        how: dict[str, Any] = {"expansion": block.expansion, "repeats": self.style.repeats * block.repeats}
        x = chain(block.kind, x, width, self.style, **how, drop_rate=drop_rate, name=name)
        self._add_node(x, block.level, width)

    def _fuse(self, node: int, block: BlockSpec, channels: int, name: str):
        """Return the activated sum of the resampled parents, and in an output also of unread nodes of its shape."""
        unread, act = self.dangling.get(node, ()), f"{name}_fuse_act"
        is_sum = len(block.parents) + len(unread) > 1
        inputs = [
            self._connect(parent, block.level, channels, f"{name}_resample{position}", act=None if is_sum else act)
            for position, parent in enumerate(block.parents)
        ]
        inputs += [self.nodes[other] for other in unread]
        return self.style.act(self._add(inputs, name), name=act) if is_sum else inputs[0]

    def _stem_conv(self):
        if self.spec.stem_conv == "mobile":
            width = self._scaled(self.spec.widths[0])
            return self.style.conv_bn_act(self.image, width, 3, strides=2, name="stem_conv")
        x = self.style.conv_bn_act(self.image, STEM_CHANNELS, 7, strides=2, name="stem_conv")
        return keras.layers.MaxPooling2D(3, 2, padding="same", name="stem_pool")(x)

    def _connect(self, parent: int, level: int, channels: int, name: str, act: str | None):
        ends: dict[str, Any] = {"parent_level": self.levels[parent], "level": level, "channels": channels, "act": act}
        if self.spec.is_separable:
            return resample_mobile(self.nodes[parent], self.image, **ends, style=self.style, name=name)
        inner = max(1, int(self.style.alpha * self.widths[parent]))
        return resample(self.nodes[parent], self.image, **ends, inner=inner, style=self.style, name=name)

    def _add(self, inputs: list, name: str):
        """Add the inputs pairwise: TFLite fuses an activation into ADD, but neither fuses nor delegates ADD_N."""
        x, *others = inputs
        for position, other in enumerate(others):
            x = keras.layers.Add(name=f"{name}_fuse{position or ''}")([x, other])
        return x

    def _add_node(self, x, level: int, width: int) -> None:
        self.nodes.append(x)
        self.levels.append(level)
        self.widths.append(width)

    def _scaled(self, width: int) -> int:
        return self.spec.scaled(width, self.style.width)


class _FpnWalk(_Walk):
    """Build the baseline, a ResNet with a feature pyramid network (Lin 2017), with BN as in the paper's code."""

    def run(self) -> dict:
        self.build_stem()
        endpoint = self.style.endpoint
        stages = dict(zip(self.levels, self.nodes, strict=True))  # the last node of each level
        pyramid = {level: self._conv(stages[level], endpoint, 1, f"lateral_P{level}") for level in (3, 4, 5)}
        for level in (4, 3):
            above = upsample(pyramid[level + 1], self.image, level + 1, level, self.style, name=f"topdown_P{level}")
            pyramid[level] = keras.layers.Add(name=f"topdown_P{level}")([pyramid[level], above])
        pyramid = {level: self._conv(x, endpoint, 3, f"smooth_P{level}") for level, x in pyramid.items()}
        pyramid[6] = self._conv(pyramid[5], endpoint, 3, "coarse_P6", strides=2)
        pyramid[7] = self._conv(self.style.act(pyramid[6], name="coarse_P6_act"), endpoint, 3, "coarse_P7", strides=2)
        return {
            level: self.style.norm(pyramid[level], name=f"endpoint_P{level}_bn") for level in self.spec.output_levels
        }

    def _conv(self, x, filters: int, kernel_size: int, name: str, strides: int = 1):
        return self.style.conv(x, filters, kernel_size, strides=strides, use_bias=True, name=name)


class _DeconvWalk(_Walk):
    """Build a ResNet and transposed convs after its last stage (arXiv 1904.07850)."""

    def run(self) -> dict:
        self.build_stem()
        return deconv(self.nodes[-1], self.image, level=self.levels[-1], style=self.style)


_WALKS = {"blocks": _Walk, "fpn": _FpnWalk, "deconv": _DeconvWalk}
