"""The first stage of Mask R-CNN: a region proposal network (RPN), which scores anchors (Ren 2015)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import keras

from spinenet_tf.heads.mask_rcnn.options import MaskRCNNOptions
from spinenet_tf.heads.towers import make_conv, tower
from spinenet_tf.nets.style import Style

NAME = "rpn"


def rpn_head(features: Mapping[str, Any], options: MaskRCNNOptions, separable: bool, style: Style) -> keras.Model:
    """Return a net from features `{"P3": [B, h, w, K], ...}` to scores and boxes of the A anchors of each location.

    Its outputs are `{"rpn_logits": {"P3": [B, h, w, A], ...}, "rpn_deltas": {"P3": [B, h, w, A * 4], ...}}`. All levels
    share the convs; each level has its own BNs.
    """
    inputs = {level: keras.Input(x.shape[1:], dtype=x.dtype, name=level) for level, x in features.items()}
    convs = [
        make_conv(options.rpn_width, style, separable, name=f"rpn_conv{index}") for index in range(options.rpn_depth)
    ]
    towers = {level: tower(x, convs, style, level) for level, x in inputs.items()}
    per_location = options.num_scales * len(options.aspect_ratios)
    outputs = {}
    for output, filters in (("rpn_logits", per_location), ("rpn_deltas", 4 * per_location)):
        predictor = keras.layers.Conv2D(
            filters,
            1,
            kernel_initializer=keras.initializers.RandomNormal(stddev=1e-5),
            kernel_regularizer=style.regularizer,
            name=f"{output}_predictor",
        )
        outputs[output] = {level: predictor(x) for level, x in towers.items()}
    return keras.Model(inputs, outputs, name=NAME)
