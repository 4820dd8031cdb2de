"""The spaces that were searched: those of the paper, and of google/vertex-ai-nas, from which these facts are."""

from __future__ import annotations

from spinenet_tf.nets.graphs import R0_SP53, R23_SP30, SPINENET, SPINENET_MOBILE
from spinenet_tf.search.space import SearchSpace

# A ResNet-50 without the stem's two blocks and without the outputs.
_RESNET = (2,) + (3,) * 3 + (4,) * 5 + (5,)
_MOBILE = (2,) + (3,) + (4,) * 5 + (5,) * 4
_OFFSETS = (-1, 0, 1, 2)
_STANDARD = ("bottleneck", "residual")
_PHONE = ("mbconv", ("fused_mbconv", 2), ("fused_mbconv", 4))

SPACES: dict[str, SearchSpace] = {
    space.name: space
    for space in (
        SearchSpace("spinenet", SPINENET, _RESNET, _OFFSETS, _STANDARD),  # section 3; found SpineNet-49
        SearchSpace("r0_sp53", R0_SP53, _RESNET),  # sections 3.4 and 5.1: without offsets and residual blocks
        SearchSpace("r23_sp30", R23_SP30, (2,) + (3,) + (4,) * 3),  # half of the blocks stay a ResNet
        SearchSpace("vertex_spinenet", SPINENET, (*_RESNET, 5), _OFFSETS, _STANDARD, window=4),
        SearchSpace("vertex_spinenet_v2", SPINENET, _RESNET, (-1, 0, 1), window=4),  # "converges faster"
        SearchSpace("vertex_spinenet_mbconv", SPINENET_MOBILE, _MOBILE, _OFFSETS, ("mbconv",), window=4),
        # Ours, for phones: a full conv in place of a depthwise one where that is faster.
        SearchSpace("phone", SPINENET_MOBILE, _MOBILE, _OFFSETS, _PHONE, window=4),
    )
}
