"""The names of the layers of Mask R-CNN's heads in TF Model Garden and in the TF1 zoo."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

import keras

from spinenet_tf.heads.mask_rcnn.model import MaskRCNN

# Our layers, without numbers, and their scopes: `index` counts the layers of a kind, `norm` the BNs of a head.
MODEL_GARDEN = {
    "rpn_conv": "rpn_head/rpn-conv_{index}",
    "rpn_conv_bn": "rpn_head/rpn-conv-norm_{level}_{index}",
    "rpn_logits_predictor": "rpn_head/rpn-scores",
    "rpn_deltas_predictor": "rpn_head/rpn-boxes",
    "box_conv": "detection_head/detection-conv_{index}",
    "box_conv_bn": "detection_head/detection-conv-bn_{index}",
    "box_fc": "detection_head/detection-fc_{index}",
    "box_fc_bn": "detection_head/detection-fc-bn_{index}",
    "box_class_predictor": "detection_head/detection-scores",
    "box_delta_predictor": "detection_head/detection-boxes",
    "mask_conv": "mask_head/mask-conv_{index}",
    "mask_conv_bn": "mask_head/mask-conv-bn_{index}",
    "mask_upsample": "mask_head/mask-upsampling",
    "mask_upsample_bn": "mask_head/mask-deconv-bn",
    "mask_predictor": "mask_head/mask-logits",
}
TF1_ZOO = {
    "rpn_conv": "rpn_head/rpn-{index}",
    "rpn_conv_bn": "rpn_head/rpn-{index}-l{level}-bn",
    "rpn_logits_predictor": "rpn_head/rpn-class",
    "rpn_deltas_predictor": "rpn_head/rpn-box",
    "box_conv": "fast_rcnn_head/conv_{index}",
    "box_conv_bn": "fast_rcnn_head/norm:{norm}",
    "box_fc": "fast_rcnn_head/fc{fc}",
    "box_fc_bn": "fast_rcnn_head/norm:{norm}",
    "box_class_predictor": "fast_rcnn_head/class-predict",
    "box_delta_predictor": "fast_rcnn_head/box-predict",
    "mask_conv": "mask_head/mask-conv-l{index}",
    "mask_conv_bn": "mask_head/norm:{norm}",
    "mask_upsample": "mask_head/conv5-mask",
    "mask_upsample_bn": "mask_head/norm:{norm}",
    "mask_predictor": "mask_head/mask_fcn_logits",
}
FIRST_FC = 6  # the number of the first dense layer in the TF1 zoo

_LAYER = re.compile(r"(?P<part>[a-z_]+?)(?P<index>\d*)(_P(?P<level>\d+))?(?P<norm>_bn)?")
# The zoo does not number the first conv, and published no net with more. The place of the number in the BNs of further
# convs is unknown, so it may be anywhere.
_TF1_RPN = re.compile(r"rpn_head/rpn(?P<a>-\d+)?(-l(?P<level>\d+)(?P<b>-\d+)?-bn(?P<c>-\d+)?)?/(?P<variable>\w+)")


def scopes(model: MaskRCNN, names: Mapping[str, str]) -> Iterator[tuple[keras.Layer, str]]:
    """Yield each layer with variables of a model's heads, and its scope by the table `names`."""
    before = {"box_fc": model.options.box_depth, "mask_upsample": model.options.mask_depth}  # BNs of a head
    for net in (model.rpn, model.box_head, model.mask_head):
        for layer in net.layers:
            if layer.variables:
                found = _LAYER.fullmatch(layer.name)
                assert found is not None, layer.name
                part, index = found["part"], int(found["index"] or 0)
                numbers = {"index": index, "fc": FIRST_FC + index, "norm": before.get(part, 0) + index}
                yield layer, names[part + (found["norm"] or "")].format(level=found["level"], **numbers)


def canonical_tf1_rpn(name: str) -> str | None:
    """Return the canonical name of a variable of the RPN in the TF1 zoo, or None if it is none."""
    found = _TF1_RPN.fullmatch(name)
    if found is None:
        return None
    index = abs(int(found["a"] or found["b"] or found["c"] or 0))
    key, level = ("rpn_conv_bn", found["level"]) if found["level"] else ("rpn_conv", None)
    return f"{TF1_ZOO[key].format(index=index, level=level)}/{found['variable']}"
