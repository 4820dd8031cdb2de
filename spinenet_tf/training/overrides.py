"""The overrides of a model that a config may set, with their types and ranges: arguments of the factory."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, ConfigDict, Field

# pydantic takes the standard library's TypedDict from Python 3.12 on, and brings this one for those before.
from typing_extensions import TypedDict

from spinenet_tf.heads.retinanet import BOX_LOSSES
from spinenet_tf.nets.blocks import ACTIVATIONS, SE_GATES
from spinenet_tf.nets.family import unknown
from spinenet_tf.training.schema import NUMBER, Count, Fraction, NotNegative, Positive

Level = Annotated[int, Field(ge=0, le=10), NUMBER]
Channels = Annotated[int, Field(ge=1, le=1 << 16), NUMBER]
Depth = Annotated[int, Field(ge=0, le=100), NUMBER]
Repeats = Annotated[int, Field(ge=1, le=100), NUMBER]


def _one_of(valid: tuple[str, ...]) -> AfterValidator:
    def check(name: str) -> str:
        if name not in valid:
            raise ValueError(unknown("value", [name], valid))
        return name

    return AfterValidator(check)


class _Overrides(TypedDict, total=False):
    __pydantic_config__ = ConfigDict(extra="forbid")  # type: ignore[misc]

    # of the backbone
    min_level: Level
    max_level: Level
    width: Annotated[Positive, Field(le=64)]
    alpha: Annotated[Positive, Field(le=64)]
    repeats: Repeats
    endpoint: Channels
    activation: Annotated[str, _one_of(ACTIVATIONS)]
    stochastic_depth: Annotated[float, Field(ge=0, lt=1), NUMBER]
    se_ratio: Annotated[NotNegative, Field(le=64)]
    se_gate: Annotated[str, _one_of(SE_GATES)]
    norm_momentum: Fraction
    norm_epsilon: NotNegative
    sync_bn: bool
    l2: NotNegative
    tf1_zoo: bool
    # of the detector: head, anchors
    head_depth: Depth
    head_width: Channels
    num_scales: Annotated[Count, Field(le=100)]
    aspect_ratios: Annotated[list[Positive], Field(min_length=1, max_length=100)]
    anchor_size: Positive
    # its losses
    focal_alpha: Fraction
    focal_gamma: NotNegative
    box_loss: Annotated[str, _one_of(BOX_LOSSES)]
    huber_delta: Positive
    box_weight: NotNegative
    # its decoding
    score_threshold: Fraction
    iou_threshold: Fraction
    max_detections: Count
    pre_nms_top_k: Count
    background: bool
    plus_one: bool


OVERRIDES = tuple(_Overrides.__annotations__)


def _name_the_nearest(values: Any) -> Any:
    strangers = [str(key)[:40] for key in values if key not in OVERRIDES] if isinstance(values, dict) else []
    if strangers:
        raise ValueError(unknown("override", strangers[:5], OVERRIDES))
    return values


Overrides = Annotated[_Overrides, BeforeValidator(_name_the_nearest)]
