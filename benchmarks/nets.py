"""Build the networks to compare, ours and Model Garden's, with the same weights."""

from __future__ import annotations

import math
import zlib
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

CLASSES = 91  # Model Garden's default: class 0 is the background
L2 = 4e-5
BOXES = 20  # objects per image
GAMMA = (0.4, 1.0)  # of BN: with 1, the sums in a SpineNet grow a thousandfold
GAINS = {  # output of convs and dense layers relative to their inputs
    **{"/scores/": 4.0, "/boxes/": 1.0},
    **{"rpn-scores/": 2.0, "rpn-boxes/": 0.3, "detection-scores/": 12.0, "detection-boxes/": 1.0, "mask-logits/": 2.0},
}
CLASS_BIAS = -7.0  # few scores are above the threshold


@dataclass(frozen=True)
class Net:
    """A network at one input size: the detector, or with `backbone` only its backbone."""

    name: str
    side: int  # px
    backbone: bool = False

    @property
    def title(self) -> str:
        """The name in tables."""
        return f"{self.name} @{self.side}" + (", backbone" if self.backbone else "")

    @property
    def is_mobile(self) -> bool:
        """Whether it is a mobile network."""
        return "mobile" in self.name

    @property
    def counterpart(self) -> Net:
        """Model Garden's network to compare with: its mobile one for a lite network, which it does not have."""
        return replace(self, name=self.name.removesuffix("_lite"))


NETS = (Net("spinenet_49s", 640), Net("spinenet_49", 640), Net("spinenet_96", 640))
MOBILE = (Net("spinenet_mobile_49xs", 256), Net("spinenet_mobile_49s", 384), Net("spinenet_mobile_49", 384))
LITE = tuple(replace(net, name=f"{net.name}_lite") for net in MOBILE)


def build_ours(net: Net, precision: str = "float32", l2: float = 0.0) -> Any:
    """Build our network as users do, with Keras's initial weights."""
    import spinenet_tf

    shape = (net.side, net.side, 3)
    if net.backbone:
        return spinenet_tf.backbone(net.name, shape, dtype=precision, l2=l2)
    return spinenet_tf.detector(net.name, CLASSES, shape, dtype=precision, background=True, l2=l2)


def build_theirs(net: Net, precision: str = "float32", l2: float = 0.0, nms: str = "v2", sync_bn: bool = False) -> Any:
    """Build Model Garden's network with its own factory, as its trainer does."""
    import tf_keras
    from official.modeling import performance
    from official.vision.modeling import factory
    from official.vision.modeling.backbones import factory as backbone_factory

    performance.set_mixed_precision_policy({"float32": "float32", "mixed_bfloat16": "bfloat16"}[precision])
    config = garden_config(net, nms, sync_bn)
    images = tf_keras.layers.InputSpec(shape=[None, net.side, net.side, 3])
    regularizer = tf_keras.regularizers.l2(l2 / 2) if l2 else None
    if net.backbone:
        return backbone_factory.build_backbone(images, config.backbone, config.norm_activation, regularizer)
    model = factory.build_retinanet(images, config, regularizer)
    model(tf_keras.Input((net.side, net.side, 3)), training=True)  # creates the head's variables
    return model


def garden_config(net: Net, nms: str = "v2", sync_bn: bool = False) -> Any:
    """Return Model Garden's config of the RetinaNet."""
    from official.vision.configs import backbones, common, decoders, retinanet

    from spinenet_tf.heads.table import find_head, options_of
    from spinenet_tf.nets.family import variant
    from spinenet_tf.nets.style import Style

    style, head = Style.of(variant(net.name).style), options_of(net.name, find_head("retinanet"))
    kind = "spinenet_mobile" if net.is_mobile else "spinenet"
    options = (backbones.SpineNetMobile if net.is_mobile else backbones.SpineNet)(
        model_id=net.name.rpartition("_")[2].upper(), min_level=3, max_level=7
    )
    config = retinanet.RetinaNet(num_classes=CLASSES, input_size=[net.side, net.side, 3], min_level=3, max_level=7)
    config.backbone = backbones.Backbone(type=kind, **{kind: options})
    config.decoder = decoders.Decoder(type="identity", identity=decoders.Identity())
    config.anchor.anchor_size = head.anchor_size
    config.head.num_filters, config.head.use_separable_conv = head.head_width, net.is_mobile
    config.norm_activation = common.NormActivation(
        activation=style.activation, norm_momentum=0.99, norm_epsilon=1e-3, use_sync_bn=sync_bn
    )
    config.detection_generator.nms_version = nms
    return config


def with_weights(model: Any) -> Any:
    """Set weights that depend only on the variables' canonical names, in a network of either side, and return it."""
    from spinenet_tf.checkpoints.garden_model import canonical_variables
    from spinenet_tf.checkpoints.names import variables_by_name
    from spinenet_tf.nets.base import SpineNetModel

    ours = isinstance(model, SpineNetModel)
    named = variables_by_name(model) if ours else canonical_variables(model.variables)
    for name, variable in named.items():
        variable.assign(_value(name, tuple(variable.shape)))
    return model


def _value(name: str, shape: tuple[int, ...]) -> np.ndarray:
    """Return weights that keep activations near 1 and detect some objects, like those of a trained network."""
    random = np.random.default_rng(zlib.crc32(name.encode()))
    if name.endswith("gamma"):
        return random.uniform(*GAMMA, shape)
    if name.endswith("moving_variance"):
        return random.uniform(0.5, 1.5, shape)
    if "squeeze_excitation" in name and len(shape) == 1:
        return random.normal(
            1.0, 0.1, shape
        )  # channels of 0 get a scale in Model Garden's int8 file that crashes LiteRT 2.3
    if len(shape) == 1:
        return np.full(shape, CLASS_BIAS) if "/scores/" in name else random.normal(0.0, 0.1, shape)
    gain = next((gain for part, gain in GAINS.items() if part in name), math.sqrt(2.0))
    return random.normal(0.0, gain / math.sqrt(_fan_in(name, shape)), shape)


def _fan_in(name: str, shape: tuple[int, ...]) -> int:
    return math.prod(shape[:2]) if "depthwise" in name else math.prod(shape[:-1])


def flat_outputs(outputs: Any) -> dict[str, Any]:
    """Return raw outputs with the names of both sides: `class_logits_P3`, `box_deltas_P3`, ..., or `P3`, ..."""
    if "cls_outputs" in outputs:
        outputs = {"class_logits": outputs["cls_outputs"], "box_deltas": outputs["box_outputs"]}
    flat = {}
    for name, value in outputs.items():
        if hasattr(value, "items"):
            flat |= {f"{name}_P{level.removeprefix('P')}": x for level, x in value.items()}
        else:
            flat[f"P{name.removeprefix('P')}"] = value
    return flat


def raw_call(model: Any) -> Any:
    """Return a function from images to flat raw outputs in inference mode, for a network of either side."""
    garden_detector = hasattr(model, "detection_generator")

    def call(images):
        if garden_detector:  # without training=True it also decodes
            classes, boxes, _ = model.head(model.backbone(images, training=False), training=False)
            return flat_outputs({"cls_outputs": classes, "box_outputs": boxes})
        return flat_outputs(model(images, training=False))

    return call


def image(net: Net, batch: int = 1, seed: int = 0) -> np.ndarray:
    """Return normalized noise `[batch, side, side, 3]` float32."""
    return np.random.default_rng(seed).standard_normal((batch, net.side, net.side, 3), "float32")


def ground_truth(net: Net, batch: int = 1, boxes: int = BOXES) -> tuple[np.ndarray, np.ndarray]:
    """Return boxes `[batch, boxes, 4]` yxyx in pixels, log-uniform in size, and classes `[batch, boxes]`."""
    random = np.random.default_rng(1)
    sides = net.side * 2.0 ** random.uniform(-5, -0.5, (batch, boxes, 2))
    corners = random.uniform(0, 1, (batch, boxes, 2)) * (net.side - sides)
    return np.concatenate([corners, corners + sides], -1).astype("float32"), random.integers(1, CLASSES, (batch, boxes))


def multiply_adds(net: Net) -> int:
    """Return the multiply-adds of our network for one image."""
    from spinenet_tf.nets.costs import multiply_adds as count
    from spinenet_tf.nets.costs import without_values

    return count(without_values(lambda: build_ours(net)))
