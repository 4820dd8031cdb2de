"""Map our variables and those of TF Model Garden to the same canonical names.

Model Garden's layers are named by Keras 2, which numbers the layers of a class in the order of creation:
`conv2d_7/kernel`, `bottleneck_block_3/batch_normalization_1/gamma`. The numbers may start anywhere (in the second
network of a process) and have gaps (where a part was built and dropped). A canonical name replaces each number by its
rank among its siblings: `conv2d:7/kernel`, `bottleneck_block:3/norm:1/gamma`.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import ClassVar, NamedTuple

import keras

from spinenet_tf.checkpoints import mask_rcnn_names
from spinenet_tf.heads.classifier import Classifier
from spinenet_tf.heads.mask_rcnn.model import MaskRCNN
from spinenet_tf.heads.retinanet import RetinaNet
from spinenet_tf.nets.backbone import Backbone
from spinenet_tf.nets.spec_checks import MAX_LEVEL

HEAD = "retina_net_head"
HEADS = (HEAD, "rpn_head", "detection_head", "mask_head")  # which name their layers themselves
_BLOCK_CLASSES = {
    "bottleneck": "bottleneck_block",
    "residual": "residual_block",
    "mbconv": "inverted_bottleneck_block",
}
_BLOCK_SIGN = {"bottleneck": "conv1", "residual": "conv1", "mbconv": "depthwise"}  # a layer in every such block

Network = Backbone | RetinaNet | MaskRCNN | Classifier
Scope = tuple[str, str]  # the name of one of our layers, and its canonical scope


def canonical_names(full_names: Iterable[str]) -> dict[str, str]:
    """Return {canonical name: full name} for Model Garden's `full_names`.

    Raises:
        ValueError: two names have the same canonical name.
    """
    paths = {name: [_kind_and_number(part) for part in name.split("/")[:-1]] for name in full_names}
    siblings: dict[tuple, set[int]] = {}
    for path in paths.values():
        for depth, (kind, number) in enumerate(path):
            siblings.setdefault((*path[:depth], kind), set()).add(number)
    canonical: dict[str, str] = {}
    for name, path in paths.items():
        ranks = [sorted(siblings[*path[:depth], kind]).index(number) for depth, (kind, number) in enumerate(path)]
        scope = [f"{kind}:{rank}" for (kind, _), rank in zip(path, ranks, strict=True)]
        if head := head_of(name):  # the numbers in its names are levels and positions
            scope = [head, name.split("/")[-2]]
        key = "/".join([*scope, name.split("/")[-1]])
        if canonical.setdefault(key, name) != name:
            raise ValueError(f"{name} and {canonical[key]} have the same canonical name, {key}.")
    return canonical


def head_of(name: str) -> str | None:
    """Return which of Model Garden's `HEADS` a variable belongs to, or None for the backbone."""
    return next((head for head in HEADS if head in name), None)


def variables_by_name(model: Network, creation: type[Creation] | None = None) -> dict[str, keras.Variable]:
    """Return all variables of a network by canonical name; `creation` replaces Model Garden's order of creation.

    Raises:
        ValueError: the other project does not have this kind of network.
    """
    backbone = model if isinstance(model, Backbone) else model.backbone
    if backbone.spec.fusion != "blocks":
        raise ValueError(f"Conversion supports only nets of scale-permuted blocks. Received: {backbone.name}")
    if other := sorted(backbone.spec.kinds - _BLOCK_CLASSES.keys()):
        raise ValueError(f"Conversion supports only blocks of kind {tuple(_BLOCK_CLASSES)}. Received: {other}")
    order = (creation or Creation)(backbone)
    named = dict(_layer_variables(_layers(backbone, order.backbone())))
    if isinstance(model, RetinaNet):
        named |= dict(_layer_variables(_layers(model, order.head(model.options.head_depth))))
    if isinstance(model, MaskRCNN):
        named |= dict(_layer_variables(mask_rcnn_names.scopes(model, order.mask_rcnn)))
    if isinstance(model, Classifier):
        named |= dict(_layer_variables(_layers(model, order.classifier())))
    return named


class HeadScopes(NamedTuple):
    """The scopes of one half of a RetinaNet head, with the placeholders `index` of a conv and `level` of a map."""

    predictor: str
    conv: str
    norm: str


class Creation:
    """Yield the layers of a network in the order in which Model Garden creates them, each with its canonical scope.

    As in Keras 2, resamplers and endpoints are at the top level, and each block is a layer with its own scope.
    """

    block_convs: ClassVar[dict[str, tuple[str, ...]]] = {
        "bottleneck": ("shortcut", "conv1", "conv2", "conv3"),
        "residual": ("shortcut", "conv1", "conv2"),
        "mbconv": ("expand", "depthwise", "project", "se_squeeze", "se_excite"),
    }
    root = ""
    heads: ClassVar[dict[str, HeadScopes]] = {
        "class": HeadScopes(
            f"{HEAD}/scores", HEAD + "/classnet-conv_{index}", HEAD + "/classnet-conv-norm_{level}_{index}"
        ),
        "box": HeadScopes(f"{HEAD}/boxes", HEAD + "/boxnet-conv_{index}", HEAD + "/boxnet-conv-norm_{level}_{index}"),
    }

    mask_rcnn: ClassVar[Mapping[str, str]] = mask_rcnn_names.MODEL_GARDEN

    def __init__(self, backbone: Backbone):
        self.spec, self.repeats = backbone.spec, backbone.style.repeats
        self.levels = range(backbone.min_level, backbone.max_level + 1)
        self.present = {layer.name for layer in backbone.layers}  # without blocks that no output depends on
        self.counts: Counter[str] = Counter()

    def resample_scope(self, node: int, parent: int) -> str:
        """Return the scope of one cross-scale connection."""
        return self.root

    def block_scope(self, kind: str, node: int) -> str:
        """Return the scope of a new block."""
        return self.root + self.count(_BLOCK_CLASSES[kind]) + "/"

    def gate_scope(self, block_scope: str) -> str:
        """Return the scope of a block's squeeze-and-excitation."""
        return block_scope + "squeeze_excitation:0/"

    def backbone(self) -> Iterator[Scope]:
        """Yield the name of each layer with weights, and its canonical scope."""
        yield from self.conv_bn("stem_conv", self.root)
        for node in range(len(self.spec.stem)):
            yield from self.chain(self.spec.stem_block, f"stem_block{node}", node, self.repeats)
        for node, block in enumerate(self.spec.blocks, start=len(self.spec.stem)):
            for parent in range(len(block.parents)):
                yield from self.resample(f"block{node}_resample{parent}", self.resample_scope(node, parent))
            yield from self.chain(block.kind, f"block{node}", node, self.repeats * block.repeats)
        for level in self.levels:
            yield from self.conv_bn(f"endpoint_P{level}", self.root)

    def head(self, depth: int) -> Iterator[Scope]:
        """Yield the name of each layer with weights of a RetinaNet head, and its canonical scope."""
        for half, scopes in self.heads.items():
            yield f"{half}_predictor", scopes.predictor
            for index in range(depth):
                yield f"{half}_conv{index}", scopes.conv.format(index=index)
                for level in self.levels:
                    yield f"{half}_conv{index}_P{level}_bn", scopes.norm.format(index=index, level=level)

    def classifier(self) -> Iterator[Scope]:
        """Yield the name of each layer with weights of the classification head, and its canonical scope.

        Raises:
            ValueError: Model Garden's classifier has a different head, which reads only the coarsest level.
        """
        raise ValueError("Model Garden's classifiers cannot be converted: their head differs from the paper's.")

    def resample(self, name: str, scope: str) -> Iterator[Scope]:
        """Yield the convs of one cross-scale connection; mobile nets have a depthwise conv per octave down."""
        steps = [f"down{step}" for step in range(MAX_LEVEL)]
        for part in ("reduce", "down", *steps, "expand"):
            yield from self.conv_bn(f"{name}_{part}", scope, "depthwise_conv2d" if part in steps else "conv2d")

    def chain(self, kind: str, name: str, node: int, repeats: int) -> Iterator[Scope]:
        """Yield the convs of a block and of its repetitions."""
        for repeat in range(repeats):
            block = name if repeats == 1 else f"{name}_repeat{repeat}"
            if f"{block}_{_BLOCK_SIGN[kind]}" in self.present:
                yield from self.block(kind, block, self.block_scope(kind, node))

    def block(self, kind: str, name: str, scope: str) -> Iterator[Scope]:
        """Yield the convs of one block."""
        for part in self.block_convs[kind]:
            within = self.gate_scope(scope) if part.startswith("se_") else scope
            yield from self.conv_bn(f"{name}_{part}", within, "depthwise_conv2d" if part == "depthwise" else "conv2d")

    def conv_bn(self, name: str, scope: str, kind: str = "conv2d") -> Iterator[Scope]:
        """Yield a conv and its normalization, if the backbone has them."""
        for layer, counted in ((name, kind), (f"{name}_bn", "norm")):
            if layer in self.present:
                yield layer, self.count(scope + counted)

    def count(self, kind: str) -> str:
        """Return the canonical name of the next layer of a kind."""
        self.counts[kind] += 1
        return f"{kind}:{self.counts[kind] - 1}"


def _layers(net: keras.Model, scopes: Iterable[Scope]) -> Iterator[tuple[keras.Layer, str]]:
    return ((net.get_layer(name), scope) for name, scope in scopes)


def _layer_variables(scopes: Iterable[tuple[keras.Layer, str]]) -> Iterator[tuple[str, keras.Variable]]:
    for layer, scope in scopes:
        for variable in layer.variables:
            is_depthwise = isinstance(layer, keras.layers.DepthwiseConv2D) and variable.name == "kernel"
            yield f"{scope}/{'depthwise_kernel' if is_depthwise else variable.name}", variable


def _kind_and_number(part: str) -> tuple[str, int]:
    """Split the name of a layer into kind and number; batch normalization is "norm", synchronized or not."""
    stem, _, digits = part.rpartition("_")
    kind, number = (stem, int(digits)) if stem and digits.isdecimal() else (part, 0)
    return re.sub("^(sync_)?batch_normalization$", "norm", kind), number
