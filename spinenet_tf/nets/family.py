"""The family of models: the scaling, heads, input size and published results of each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from spinenet_tf._files.messages import unknown
from spinenet_tf.nets.graphs import EFF_SPINENET, R0_SP53, R23_SP30, R50_FPN, RESNET_18, SPINENET, SPINENET_MOBILE
from spinenet_tf.nets.spec_checks import check_name
from spinenet_tf.nets.specs import ArchitectureSpec

KINDS = ("backbone", "mobile", "efficient", "ladder", "rival")


@dataclass(frozen=True)
class Published:
    """Figures of a detector from papers and model zoos: millions of parameters, billions of multiply-adds, and AP."""

    params_m: float | None = None
    macs_b: float | None = None
    ap: float | None = None  # COCO AP of the best published recipe at the variant's input size
    note: str = ""


@dataclass(frozen=True)
class Variant:
    """One model of the family: its graph, scaling, heads, input size and published results."""

    graph: ArchitectureSpec
    image_size: int  # px
    style: Mapping[str, Any]  # settings of the backbone that differ from the defaults of `Style`
    heads: Mapping[str, Mapping[str, Any]]  # by name, the default first: the options that are not a head's defaults
    published: Published = Published()
    kind: str = "backbone"  # one of `KINDS`


def _retinanet(width: int, **options: Any) -> dict[str, dict[str, Any]]:
    return {"retinanet": {"head_width": width} | options}


def _mask_rcnn(width: int, **options: Any) -> dict[str, dict[str, Any]]:
    return {"mask_rcnn": {"rpn_width": width, "box_width": width, "mask_width": width} | options}


Net = str | ArchitectureSpec | Variant  # a name of the family, a custom graph, or a custom row

_MOBILE = {"alpha": 1.0, "activation": "swish"}
_LITE = {"activation": "relu6", "se_ratio": 0.0}
_UNPUBLISHED = "not published: relu6, no SE"

# From the model zoo, except for the options of Mask R-CNN, which nobody published for mobile nets.
MOBILE: dict[str, Variant] = {
    "spinenet_mobile_49xs": Variant(
        SPINENET_MOBILE, 256, _MOBILE | {"width": 0.6, "endpoint": 24}, _retinanet(24) | _mask_rcnn(24, fc_width=256),
        Published(note="no figure is verified"), "mobile",
    ),
    "spinenet_mobile_49s": Variant(
        SPINENET_MOBILE, 384, _MOBILE | {"width": 0.65, "endpoint": 40}, _retinanet(40) | _mask_rcnn(40, fc_width=256),
        Published(ap=23.5, note="size and cost are not verified"), "mobile",
    ),
    "spinenet_mobile_49": Variant(
        SPINENET_MOBILE, 384, _MOBILE | {"endpoint": 48}, _retinanet(48) | _mask_rcnn(48, fc_width=256),
        Published(2.32, 1.0, 28.6), "mobile",
    ),
}  # fmt: skip


def _eff(image_size: int, width: float, endpoint: int, head_depth: int, published: Published) -> Variant:
    """Return a row of Eff-SpineNet; the convs of the head have as many channels as the outputs."""
    style = _MOBILE | {"width": width, "endpoint": endpoint}
    heads = _retinanet(endpoint, head_depth=head_depth) | _mask_rcnn(endpoint, fc_width=256)
    return Variant(EFF_SPINENET, image_size, style, heads, published, "efficient")


_WIDTHS = "the widths of the blocks are unverified"
_RECONSTRUCTED = f"reconstructed from published sizes; {_WIDTHS}"
_UNVERIFIED = Published(note="unverified: no published figure was found")

# arXiv 2010.11426. Its code was never published, and its tables could not be read here. D0 to D2 are the simplest rule
# (one width multiplier, no repeats) whose parameters and multiply-adds are within 3 % of the published ones; other
# settings fit, too. M0 to M2 follow the same rule; we found no published size to compare them with.
EFFICIENT: dict[str, Variant] = {
    "eff_spinenet_m0": _eff(256, 0.425, 32, 3, _UNVERIFIED),
    "eff_spinenet_m1": _eff(384, 0.5, 48, 3, _UNVERIFIED),
    "eff_spinenet_m2": _eff(384, 0.85, 48, 4, _UNVERIFIED),
    "eff_spinenet_d0": _eff(512, 1.05, 72, 4, Published(3.6, 2.5, 34.7, _RECONSTRUCTED)),
    "eff_spinenet_d1": _eff(640, 1.25, 112, 3, Published(5.2, 6.0, 39.9, _RECONSTRUCTED)),
    "eff_spinenet_d2": _eff(768, 1.35, 128, 4, Published(6.2, 10.3, 42.5, _RECONSTRUCTED)),
}


def _lite(rows: Mapping[str, Variant], note: str = _UNPUBLISHED) -> dict[str, Variant]:
    """Return the same nets for phones, with functions that can be quantized to 8 bits."""
    return {
        f"{name}_lite": replace(row, style={**row.style, **_LITE}, published=Published(note=note))
        for name, row in rows.items()
    }


# Sections 3.4 and 4.1 of the paper: what differs from SpineNet-49 is named. 143L exists in code only.
VARIANTS: dict[str, Variant] = {
    "spinenet_49s": Variant(
        SPINENET, 640, {"width": 0.65, "endpoint": 128}, _retinanet(128) | _mask_rcnn(128, fc_width=512),
        Published(11.9, 33.8, 41.5, "published size and cost do not follow from the published width"),
    ),
    "spinenet_49": Variant(SPINENET, 640, {}, _retinanet(256), Published(28.5, 85.4, 44.3)),
    "spinenet_96": Variant(SPINENET, 1024, {"repeats": 2}, _retinanet(256), Published(43.0, 265.4, 48.6)),
    "spinenet_143": Variant(
        SPINENET, 1280, {"alpha": 1.0, "repeats": 3}, _retinanet(256, anchor_size=4.0), Published(66.9, 524.4, 50.7),
    ),
    "spinenet_143l": Variant(
        SPINENET, 1280, {"width": 1.3, "alpha": 1.0, "repeats": 3}, _retinanet(256, anchor_size=4.0),
        Published(note="in Model Garden's code only"),
    ),
    "spinenet_190": Variant(
        SPINENET, 1280, {"width": 1.3, "alpha": 1.0, "repeats": 4, "endpoint": 512},
        _retinanet(512, head_depth=7, anchor_size=4.0)
        | _mask_rcnn(384, box_depth=7, mask_depth=7, anchor_size=5.0),
        Published(163.6, 1885.0, 52.1),
    ),
    **MOBILE,
    **_lite(MOBILE),
    **EFFICIENT,
    **_lite(EFFICIENT, f"{_UNPUBLISHED}; {_WIDTHS}"),
    "r50_fpn": Variant(R50_FPN, 640, {"alpha": 1.0}, _retinanet(256), Published(34.0, 96.8, 37.8), "ladder"),
    "r23_sp30": Variant(R23_SP30, 640, {}, _retinanet(256), Published(ap=39.6), "ladder"),
    "r0_sp53": Variant(R0_SP53, 640, {}, _retinanet(256), Published(ap=40.7), "ladder"),
    # To compare with: the smallest net of arXiv 1904.07850, without deformable convs.
    "resnet_18": Variant(
        RESNET_18, 512, {"endpoint": 64}, {"centernet": {}},
        Published(ap=25.9, note="of MMDetection's copy; 28.1 with deformable convs"), "rival",
    ),
}  # fmt: skip

_REGISTERED: set[str] = set()  # names in the table that only this process knows


def list_models(kind: str | None = None) -> list[str]:
    """Return the names of all models, or of one kind; registered models come last.

    Kinds are "backbone", "mobile", "efficient" (Eff-SpineNet), "ladder" (the paper's steps from ResNet-50-FPN to
    SpineNet) and "rival".

    Raises:
        ValueError: the kind is unknown.
    """
    if kind is not None and kind not in KINDS:
        raise ValueError(f"Valid kinds are {KINDS}. Received: kind={kind!r}")
    return [name for name, variant in VARIANTS.items() if kind in (None, variant.kind)]


def register(name: str, spec: ArchitectureSpec) -> None:
    """Register a custom graph under a name, for the factory and for configs of this process.

    It has the settings of SpineNet-49, or of its mobile variant if its connections are depthwise. A run's config stores
    the graph and the name of that model, so it also loads in processes that have not registered the name.

    Raises:
        ValueError: the name is taken or invalid (see `spec_checks.check_name`), or `spec` is not an ArchitectureSpec.
    """
    check_name(name)
    if name in VARIANTS:
        raise ValueError(f"A model with this name exists; choose another name. Received: name={name!r}")
    if not isinstance(spec, ArchitectureSpec):
        raise ValueError(f"`spec` must be an ArchitectureSpec. Received: spec={spec!r}")
    VARIANTS[name] = variant(spec)
    _REGISTERED.add(name)


def own_graph(name: Any) -> ArchitectureSpec | None:
    """Return the graph that was registered under a name, or None for a model of the family."""
    return VARIANTS[name].graph if isinstance(name, str) and name in _REGISTERED else None


def like(spec: ArchitectureSpec) -> str:
    """Return the name of the model whose settings a custom graph gets."""
    return "spinenet_mobile_49" if spec.is_separable else "spinenet_49"


def variant(name: str | ArchitectureSpec | Variant) -> Variant:
    """Return the row of a model; a custom spec gets the row of SpineNet-49, or of its mobile variant.

    A custom row is returned unchanged.

    Raises:
        ValueError: the name is unknown; the message lists the valid ones.
    """
    if isinstance(name, Variant):
        return name
    if isinstance(name, ArchitectureSpec):
        return replace(VARIANTS[like(name)], graph=name, published=Published())
    if not isinstance(name, str) or name not in VARIANTS:
        raise ValueError(f"{unknown('model', [str(name)], VARIANTS)} Received: name={name!r}")
    return VARIANTS[name]
