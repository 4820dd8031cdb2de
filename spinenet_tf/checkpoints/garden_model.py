"""Build our networks with TF Model Garden's own classes, to write its checkpoints and to test parity.

Needs the extra `garden` (tf-models-official, which uses Keras 2, next to Keras 3).
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from spinenet_tf._files.writing import made, staged
from spinenet_tf.checkpoints.names import canonical_names, variables_by_name
from spinenet_tf.heads.mask_rcnn.model import MaskRCNN
from spinenet_tf.heads.retinanet import RetinaNet
from spinenet_tf.nets.backbone import Backbone
from spinenet_tf.nets.graphs import SPINENET, SPINENET_MOBILE
from spinenet_tf.nets.specs import BlockSpec

_FIXED = ("stem_conv", "stem_block", "resampling", "fusion", "round_to")  # fields that Model Garden does not let vary
SIDE = 128  # px; at sides that are not multiples of it, Model Garden builds another network, or fails


def build(model: Backbone | RetinaNet | MaskRCNN, image_size: tuple[int, int] = (SIDE, SIDE)) -> Any:
    """Return Model Garden's counterpart of a detector or backbone, with random weights.

    Raises:
        ImportError: tf-models-official is not installed.
        ValueError: Model Garden cannot build this network.
    """
    _import_official()
    if isinstance(model, Backbone):
        return _backbone(model, image_size)
    if isinstance(model, MaskRCNN):
        return _mask_rcnn(model, image_size)
    if not isinstance(model, RetinaNet):
        heads = f"{RetinaNet.__name__} and {MaskRCNN.__name__}"
        raise ValueError(f"Of models with a head, only {heads} become Model Garden's. Received: {model.name}")
    return _retinanet(model, image_size)


def copy_weights(model: Backbone | RetinaNet | MaskRCNN, garden: Any) -> None:
    """Copy all weights of `model` to its counterpart, by name."""
    named = canonical_variables(garden.variables)
    for name, variable in variables_by_name(model).items():
        named.pop(name).assign(np.asarray(variable))
    if named:
        raise ValueError(f"Model Garden's network has more variables: {sorted(named)[:5]}")


def canonical_variables(variables: Iterable[Any]) -> dict[str, Any]:
    """Return Keras 2 variables by their canonical names."""
    named = {variable.name.removesuffix(":0"): variable for variable in variables}
    return {canonical: named[name] for canonical, name in canonical_names(named).items()}


def write_checkpoint(model: Backbone | RetinaNet | MaskRCNN, path: str | os.PathLike) -> None:
    """Write the weights as a checkpoint that Model Garden's code can evaluate, or use as `init_checkpoint`.

    The checkpoint of a detector contains `backbone` and `head`, as that of its trainer does.

    Raises:
        FileExistsError: a checkpoint exists at `path`.
        ImportError, ValueError: see `build`.
    """
    import tensorflow as tf

    if Path(f"{path}.index").exists():
        raise FileExistsError(f"The checkpoint {path} exists already.")
    garden = build(model)
    copy_weights(model, garden)
    items = {"backbone": garden} if isinstance(model, Backbone) else {"model": garden, **garden.checkpoint_items}
    with made(Path(path).parent), staged(path, overwrite=False) as part:
        tf.train.Checkpoint(**items).write(str(part))


def _import_official() -> None:
    try:
        import official.vision  # noqa: F401
    except ImportError:
        raise ImportError("TF Model Garden is not installed: pip install spinenet_tf[garden]") from None


def _backbone(backbone: Backbone, image_size: tuple[int, int]):
    import tf_keras
    from official.vision.modeling.backbones import spinenet, spinenet_mobile

    _check(backbone)
    spec, style = backbone.spec, backbone.style
    module = spinenet_mobile if spec.is_separable else spinenet
    own = {"se_ratio": style.se_ratio} if spec.is_separable else {"resample_alpha": style.alpha}
    return (spinenet_mobile.SpineNetMobile if spec.is_separable else spinenet.SpineNet)(
        tf_keras.layers.InputSpec(shape=[None, *image_size, 3]),
        min_level=backbone.min_level,
        max_level=backbone.max_level,
        block_specs=[module.BlockSpec(b.level, b.kind, b.parents, b.is_output) for b in spec.blocks],
        endpoints_num_filters=style.endpoint,
        block_repeats=style.repeats,
        filter_size_scale=style.width,
        init_stochastic_depth_rate=style.stochastic_depth,
        activation=style.activation,
        norm_momentum=style.norm_momentum,
        norm_epsilon=style.norm_epsilon,
        **own,
    )


def _check(backbone: Backbone) -> None:
    spec = backbone.spec
    built = SPINENET_MOBILE if spec.is_separable else SPINENET
    if spec.stem != built.stem or any(built.widths.get(level) != width for level, width in spec.widths.items()):
        valid = f"stem {built.stem} with widths {built.widths}"
        raise ValueError(f"Model Garden builds only {valid}. Received: {spec.name}")
    other = {name: getattr(spec, name) for name in _FIXED if getattr(spec, name) != getattr(built, name)}
    if other:
        raise ValueError(f"Model Garden builds only nets like {built.name}. Received: {spec.name} with {other}")
    for node, block in enumerate(spec.blocks, start=len(spec.stem)):
        plain = BlockSpec(block.level, block.kind, block.parents, block.is_output)
        if block.kind not in built.kinds or len(block.parents) != 2 or block != plain:
            raise ValueError(f"Model Garden's {built.name} has no such block. Received: block {node}, {block}")
    if spec.is_separable and backbone.style.repeats != 1:
        raise ValueError("Model Garden's mobile nets do not chain repeated blocks. Received: repeats > 1")


def _retinanet(detector: RetinaNet, image_size: tuple[int, int]):
    import tf_keras
    from official.vision.modeling import retinanet_model
    from official.vision.modeling.heads.dense_prediction_heads import RetinaNetHead
    from official.vision.modeling.layers.detection_generator import MultilevelDetectionGenerator

    anchors, options, style = detector.anchor_spec, detector.options, detector.backbone.style
    levels = {"min_level": anchors.min_level, "max_level": anchors.max_level}
    head = RetinaNetHead(
        **levels,
        num_classes=detector.num_classes,
        num_anchors_per_location=anchors.per_location,
        num_convs=options.head_depth,
        num_filters=options.head_width,
        use_separable_conv=detector.backbone.spec.is_separable,
        activation=style.activation,
        norm_momentum=style.norm_momentum,
        norm_epsilon=style.norm_epsilon,
    )
    generator = MultilevelDetectionGenerator(
        pre_nms_top_k=options.pre_nms_top_k,
        pre_nms_score_threshold=options.score_threshold,
        nms_iou_threshold=options.iou_threshold,
        max_num_detections=options.max_detections,
    )
    garden = retinanet_model.RetinaNetModel(
        _backbone(detector.backbone, image_size),
        None,
        head,
        generator,
        **levels,
        num_scales=anchors.num_scales,
        aspect_ratios=list(anchors.aspect_ratios),
        anchor_size=anchors.size,
    )
    garden(tf_keras.Input((*image_size, 3)), training=True)  # creates the head's variables
    return garden


def _mask_rcnn(detector: MaskRCNN, image_size: tuple[int, int]):
    import tensorflow as tf
    import tf_keras
    from official.vision.configs import common, decoders, maskrcnn
    from official.vision.modeling import factory

    if detector.backbone.spec.is_separable or detector.options.tower == "separable":
        raise ValueError(
            "Model Garden's predictors of a Mask R-CNN with separable convs are separable too, and ours are not. "
            f"Received: {detector.name}"
        )
    backbone, options = detector.backbone, detector.options
    style = {name: getattr(backbone.style, name) for name in ("activation", "norm_momentum", "norm_epsilon")}
    anchors = options.anchor_spec(backbone.min_level, backbone.max_level)
    config = maskrcnn.MaskRCNN(
        num_classes=options.channels(detector.num_classes),
        min_level=backbone.min_level,
        max_level=backbone.max_level,
        decoder=decoders.Decoder(type="identity", identity=decoders.Identity()),
        norm_activation=common.NormActivation(**style),
        anchor=maskrcnn.Anchor(
            num_scales=anchors.num_scales, aspect_ratios=list(anchors.aspect_ratios), anchor_size=anchors.size
        ),
        rpn_head=maskrcnn.RPNHead(num_convs=options.rpn_depth, num_filters=options.rpn_width),
        detection_head=maskrcnn.DetectionHead(
            num_convs=options.box_depth,
            num_filters=options.box_width,
            num_fcs=options.fc_depth,
            fc_dims=options.fc_width,
        ),
        mask_head=maskrcnn.MaskHead(num_convs=options.mask_depth, num_filters=options.mask_width),
        roi_generator=maskrcnn.ROIGenerator(
            pre_nms_top_k=options.level_proposals_training,
            nms_iou_threshold=options.proposal_iou_threshold,
            num_proposals=options.proposals_training,
            test_pre_nms_top_k=options.level_proposals,
            test_nms_iou_threshold=options.proposal_iou_threshold,
            test_num_proposals=options.proposals,
        ),
        roi_sampler=maskrcnn.ROISampler(
            num_sampled_rois=options.roi_samples,
            foreground_fraction=options.roi_positive_share,
            foreground_iou_threshold=options.roi_positive_iou,
            background_iou_high_threshold=options.roi_positive_iou,
        ),
        mask_sampler=maskrcnn.MaskSampler(num_sampled_masks=options.mask_samples),
        detection_generator=maskrcnn.DetectionGenerator(
            pre_nms_top_k=options.pre_nms_top_k,
            pre_nms_score_threshold=options.score_threshold,
            nms_iou_threshold=options.iou_threshold,
            max_num_detections=options.max_detections,
        ),
    )
    spec = tf_keras.layers.InputSpec(shape=[None, *image_size, 3])
    garden = factory.build_maskrcnn(spec, config, backbone=_backbone(backbone, image_size))
    sides = tf.constant([image_size], tf.float32)
    garden(tf.zeros((1, *image_size, 3)), sides, training=False)  # creates the heads' variables
    return garden
