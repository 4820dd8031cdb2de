"""What a config may set of a model: the overrides of its backbone, with types and ranges, its head and its graph."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, ConfigDict, Field

# pydantic takes the standard library's TypedDict from Python 3.12 on, and brings this one for those before.
from typing_extensions import TypedDict

from spinenet_tf._files.document import plain
from spinenet_tf._files.messages import unknown
from spinenet_tf.heads.table import HEADS, default_head, find_head
from spinenet_tf.models import find_options
from spinenet_tf.nets.blocks import ACTIVATIONS, SE_GATES
from spinenet_tf.nets.family import variant
from spinenet_tf.nets.specs import ArchitectureSpec
from spinenet_tf.training.schema import NUMBER, Fraction, NotNegative, Positive

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


BACKBONE = tuple(_Overrides.__annotations__)
OPTIONS = tuple(dict.fromkeys(name for row in HEADS.values() for name in row.options.names()))
OVERRIDES = BACKBONE + OPTIONS  # the options of a head may stand among them, as arguments of the factory do


def _name_the_nearest(values: Any) -> Any:
    strangers = [str(key)[:40] for key in values if key not in OVERRIDES] if isinstance(values, dict) else []
    if strangers:
        raise ValueError(unknown("override", strangers[:5], OVERRIDES))
    if isinstance(values, dict) and (others := [key for key in values if key in OPTIONS]):
        raise ValueError(f"What is an option of this model's head is set once, in head. Received: {', '.join(others)}")
    return values


Overrides = Annotated[_Overrides, BeforeValidator(_name_the_nearest)]


def read_graph(given: Any) -> dict[str, Any]:
    """Return the graph in a YAML file, or the one that is given itself, as plain JSON types.

    Raises:
        ValueError: there is no such file, or it holds no graph that can be built.
    """
    if isinstance(given, dict):
        return ArchitectureSpec.from_config(given).get_config()
    try:
        return ArchitectureSpec.load(Path(given).expanduser()).get_config()
    except (OSError, RuntimeError, TypeError) as error:  # not there, of nobody's home, or no name at all
        raise ValueError(f"{error}. Received: graph={given!r:.100}") from None


def with_head(model: dict[str, Any], task: str) -> dict[str, Any]:
    """Return a config's part `model` with its head named, by default the published one, and all its options there.

    Earlier versions had the options among the overrides. What is at fault is left for its field to tell.
    """
    head, overrides = (model.get(key, {}) for key in ("head", "overrides"))
    if not isinstance(head, dict) or not isinstance(overrides, dict):
        return model
    kind = plain(head.get("kind"))
    try:
        row = default_head(variant(plain(model.get("name"))).heads, task) if kind is None else find_head(kind)
    except ValueError:
        return model | {"overrides": {key: value for key, value in overrides.items() if key not in OPTIONS}}
    moved = {key: value for key, value in overrides.items() if key in row.options.names() and key not in head}
    others = {key: value for key, value in overrides.items() if key not in moved}
    return model | {"head": moved | head | {"kind": row.name}, "overrides": others}


def resolved_head(name: str, head: dict[str, Any]) -> dict[str, Any]:
    """Return the part `head` with all options of the head `kind` on the net `name`.

    Raises:
        ValueError: the head or an option is unknown, or has no such value.
    """
    given = {key: value for key, value in head.items() if key != "kind"}
    row = find_head(head.get("kind", ""))
    return {"kind": row.name} | find_options(name, row.name, row.task, given)[1].plain()
