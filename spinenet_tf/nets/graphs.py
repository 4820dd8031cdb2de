"""The graphs of the paper and of its model zoo as tables."""

from __future__ import annotations

from dataclasses import replace

from spinenet_tf.nets.specs import ArchitectureSpec, BlockSpec

# Widths by level, before the width multiplier.
RESNET_WIDTHS = {2: 64, 3: 128, 4: 256, 5: 512}
MOBILE_WIDTHS = {0: 8, 1: 16, 2: 24, 3: 40, 4: 80, 5: 112, 6: 112, 7: 112}  # model zoo


def _graph(kind: str, rows: list[tuple], outputs_from: int) -> tuple[BlockSpec, ...]:
    """Convert rows `(level, parent, parent[, kind])` to blocks; those from index `outputs_from` on are outputs."""
    return tuple(
        BlockSpec(level, row_kind[0] if row_kind else kind, (first, second), is_output=index >= outputs_from)
        for index, (level, first, second, *row_kind) in enumerate(rows)
    )


# Fig. 4d of the paper. The last row is an addition of Model Garden, for min_level=2.
SPINENET = ArchitectureSpec(
    "spinenet",
    stem=(2, 2),
    blocks=_graph(
        "bottleneck",
        [
            (2, 0, 1),
            (4, 0, 1, "residual"),
            (3, 2, 3),
            (4, 2, 4),
            (6, 3, 5, "residual"),
            (4, 3, 5),
            (5, 6, 7, "residual"),
            (7, 6, 8, "residual"),
            (5, 8, 9),
            (5, 8, 10),
            (4, 5, 10),
            (3, 4, 10),
            (5, 7, 12),
            (7, 5, 14),
            (6, 12, 14),
            (2, 2, 13),
        ],
        outputs_from=10,
    ),
)

# Fig. 4c: no ResNet block is left.
R0_SP53 = ArchitectureSpec(
    "r0_sp53",
    stem=(2, 2),
    blocks=_graph(
        "bottleneck",
        [
            (2, 0, 1),
            (3, 0, 1),
            (3, 2, 3),
            (4, 2, 4),
            (4, 3, 5),
            (3, 5, 6),
            (5, 4, 7),
            (4, 4, 8),
            (4, 8, 9),
            (4, 8, 10),
            (3, 4, 10),
            (4, 6, 7),
            (5, 8, 13),
            (7, 6, 9),
            (6, 7, 9),
        ],
        outputs_from=10,
    ),
)

# Fig. 4b: seven ResNet blocks, then ten scale-permuted ones.
R23_SP30 = ArchitectureSpec(
    "r23_sp30",
    stem=(2, 2, 3, 3, 4, 4, 5),
    blocks=_graph(
        "bottleneck",
        [
            (4, 5, 6),
            (4, 5, 6),
            (4, 7, 8),
            (3, 8, 9),
            (2, 9, 10),
            (4, 5, 9),
            (3, 9, 10),
            (5, 9, 10),
            (7, 11, 13),
            (6, 9, 14),
        ],
        outputs_from=5,
    ),
)

# The baseline of the paper's figure 1: ResNet-50 (3, 4, 6, 3) with an FPN.
R50_FPN = ArchitectureSpec(
    "r50_fpn", stem=(2,) * 3 + (3,) * 4 + (4,) * 6 + (5,) * 3, blocks=(), widths=RESNET_WIDTHS, fusion="fpn"
)

# The rival, ResNet-18 (2, 2, 2, 2) of arXiv 1904.07850, plain convs for deformable ones.
RESNET_18 = ArchitectureSpec(
    "resnet_18",
    stem=(2, 2, 3, 3, 4, 4, 5, 5),
    blocks=(),
    widths=RESNET_WIDTHS,
    stem_block="residual",
    fusion="deconv",
)

# The mobile graph of the authors' model zoo.
SPINENET_MOBILE = ArchitectureSpec(
    "spinenet_mobile",
    stem=(1, 2),
    blocks=_graph(
        "mbconv",
        [
            (2, 0, 1),
            (2, 1, 2),
            (4, 1, 2),
            (3, 3, 4),
            (4, 3, 5),
            (6, 4, 6),
            (4, 4, 6),
            (5, 7, 8),
            (7, 7, 9),
            (5, 9, 10),
            (5, 9, 11),
            (4, 6, 11),
            (3, 5, 11),
            (5, 8, 13),
            (7, 6, 15),
            (6, 13, 15),
        ],
        outputs_from=11,
    ),
    widths=MOBILE_WIDTHS,
    stem_conv="mobile",
    stem_block="mbconv",
    resampling="depthwise",
)

# The channels of the nodes 2 to 16 of Eff-SpineNet as they are remembered: no source of them could be read.
EFF_WIDTHS = (16, 104, 48, 120, 40, 120, 168, 96, 192, 136, 104, 40, 136, 136, 40)

# arXiv 2010.11426: the graph of SpineNet-49 (without P2) with MBConv blocks, which have their own, learned widths. The
# stem and the rounding are reconstructions: with them, the sizes of the family fit the published ones.
EFF_SPINENET = ArchitectureSpec(
    "eff_spinenet",
    stem=(1, 2),
    blocks=tuple(
        replace(block, kind="mbconv", width=width)
        for block, width in zip(SPINENET.blocks[:-1], EFF_WIDTHS, strict=True)
    ),
    widths=MOBILE_WIDTHS,
    stem_conv="mobile",
    stem_block="mbconv",
    resampling="depthwise",
    round_to=8,
)
