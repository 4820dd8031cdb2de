"""The schema of a search: space, sampler, proxy, objective and budget; unknown keys are refused."""

from __future__ import annotations

import os
from collections.abc import Mapping
from copy import deepcopy
from dataclasses import fields, replace
from pathlib import Path
from typing import Any, Literal, Self

import yaml
from pydantic import Field, ValidationInfo, field_validator, model_validator

from spinenet_tf._files.document import plain
from spinenet_tf._files.messages import unknown
from spinenet_tf.nets.family import variant
from spinenet_tf.search.samplers import make_sampler
from spinenet_tf.search.samplers.base import SpaceSampler
from spinenet_tf.search.space import SearchSpace
from spinenet_tf.search.spaces import SPACES
from spinenet_tf.training.config import ConfigError, TrainConfig
from spinenet_tf.training.config_file import (
    Overrides,
    apply_overrides,
    find_config,
    read_values,
    resolve,
    validated,
    with_base,
)
from spinenet_tf.training.schema import Count, Natural, Positive, PositiveFraction, Seed, Side, Strict

PACKAGE = "spinenet_tf.configs.search"
_ONE_OBJECTIVE = ("policy_gradient",)  # samplers that cannot search for a front


class CostConfig(Strict):
    """A cost of a graph, relative to a target: that of a reference model, or a number.

    The cost is that of a detector with the graph: the proxy's, or `model` with its own width, head and image size.
    """

    kind: Literal["multiply_adds", "int8_latency"]
    model: str | None = None  # default: the proxy's model
    image_size: tuple[Side, Side] | None = None  # default: that of the model
    classes: Count = 80  # of the detector, if `model` is set
    reference: str | None = None  # a model whose cost is the target
    target: Positive | None = None  # multiply-adds, or milliseconds
    threads: Count = 1  # of the latency
    calls: Count = 50  # of each file to measure a latency, alternating with the reference

    @field_validator("model", "reference")
    @classmethod
    def _check_name(cls, name: str | None) -> str | None:
        if name is not None:
            variant(name)
        return name

    @model_validator(mode="after")
    def _check_target(self) -> Self:
        if (self.reference is None) == (self.target is None):
            raise ValueError(
                f"A cost needs a `reference` or a `target`. Received: reference={self.reference}, target={self.target}"
            )
        if self.kind == "int8_latency" and (self.model is None or self.reference is None):
            raise ValueError(
                "A latency needs a `model` that is exported, and a `reference` measured beside it. "
                f"Received: model={self.model}, reference={self.reference}"
            )
        return self


class ObjectiveConfig(Strict):
    """What the search maximizes.

    ap: the AP. limit: the AP of the graphs that cost at most the target; others are not trained. product: AP x
    min(1, target / cost)^weight, or without the minimum if `soft`. front: AP and cost, as a Pareto front.
    """

    kind: Literal["ap", "limit", "product", "front"] = "ap"
    costs: tuple[CostConfig, ...] = ()  # limit: measured in this order, the cheapest first
    weight: Positive = 0.07  # of the product, as published for MnasNet
    soft: bool = False

    @model_validator(mode="after")
    def _check_costs(self) -> Self:
        counts = {"ap": "no cost", "limit": "one or more", "product": "one cost", "front": "one cost"}
        right = {"ap": not self.costs, "limit": len(self.costs) > 0}.get(self.kind, len(self.costs) == 1)
        if not right:
            received = f"kind={self.kind}, {len(self.costs)} costs"
            raise ValueError(f"`costs` must have {counts[self.kind]} for this kind. Received: {received}")
        return self


class PruningConfig(Strict):
    """When a training is stopped early: its AP is not among the best fraction at the same epoch."""

    keep: PositiveFraction = 0.5
    startup: Natural = 10  # trials that are never stopped
    warmup: Natural = 1  # epochs before the first decision


class SearchConfig(Strict):
    """One search."""

    name: str = "search"  # of the study in a database
    space: dict[str, Any]  # `name`, and values that differ from those of the named space
    sampler: dict[str, Any] = Field(default_factory=lambda: {"name": "evolution"})  # `name`, and its options
    proxy: TrainConfig  # a training config: a name, a file or its content; its graph is replaced
    objective: ObjectiveConfig = ObjectiveConfig()
    trials: Count  # trainings
    pruning: PruningConfig | None = None
    seed: Seed = 0
    retries: Natural = 2  # of a trial whose process is killed
    max_failures: Count = 5  # in a row, which end a worker
    max_skipped: Count = 1000  # graphs in a row that are not trained, which end a worker
    heartbeat: Count = 60  # seconds, in a database: see docs/search.md
    keep_runs: bool = False  # keep the folders of the trainings
    best: Count = 5  # graphs that are written as YAML

    @field_validator("space", "sampler", mode="before")
    @classmethod
    def _accept_a_name(cls, value: Any) -> Any:
        value = plain(value)
        return {"name": value} if isinstance(value, str) else value

    @field_validator("space")
    @classmethod
    def _check_space(cls, space: dict[str, Any]) -> dict[str, Any]:
        space_of(space)
        return space

    @field_validator("sampler")
    @classmethod
    def _check_sampler(cls, sampler: dict[str, Any], info: ValidationInfo) -> dict[str, Any]:
        if "space" in info.data:
            _new_sampler(sampler, space_of(info.data["space"]), seed=0)
        return sampler

    @field_validator("proxy", mode="before")
    @classmethod
    def _read_proxy(cls, proxy: Any, info: ValidationInfo) -> Any:
        folder = (info.context or {}).get("folder", Path())
        if isinstance(proxy, (str, os.PathLike)):
            return resolve(_beside(folder, os.fspath(proxy)))
        return with_base(proxy, folder) if isinstance(proxy, dict) else proxy

    @model_validator(mode="after")
    def _check_parts(self) -> Self:
        if self.proxy.task != "detection":
            raise ValueError(f"proxy: The proxy must train a detector. Received: task={self.proxy.task}")
        if self.objective.kind == "front" and self.pruning is not None:
            raise ValueError("`pruning` needs one objective, and a front has two. Received: objective.kind=front")
        if self.objective.kind == "front" and self.sampler["name"] in _ONE_OBJECTIVE:
            raise ValueError(f"A front needs another sampler. Received: sampler={self.sampler['name']}")
        return self

    def search_space(self) -> SearchSpace:
        """Return the space with its own values."""
        return space_of(self.space)

    def new_sampler(self) -> SpaceSampler:
        """Return the sampler, of the same seed for all workers: what it draws depends on the number of the trial."""
        return _new_sampler(self.sampler, self.search_space(), self.seed)

    def to_yaml(self) -> str:
        """Return the resolved config as YAML that `read_search_config` reads."""
        return yaml.safe_dump(self.model_dump(mode="json"), sort_keys=False)


def _new_sampler(values: Mapping[str, Any], space: SearchSpace, seed: int) -> SpaceSampler:
    options = {key: value for key, value in values.items() if key != "name"}
    return make_sampler(values.get("name", ""), space, seed, **options)


def space_of(values: Mapping[str, Any]) -> SearchSpace:
    """Return the named space with other values.

    Raises:
        ValueError: the name or a key is unknown, or the space refuses a value.
    """
    own = {key: _as_tuple(value) for key, value in values.items() if key != "name"}
    if values.get("name") not in SPACES:
        raise ValueError(unknown("space", [str(values.get("name"))], SPACES))
    valid = [field.name for field in fields(SearchSpace) if field.name not in ("name", "template")]
    if wrong := [key for key in own if key not in valid]:
        raise ValueError(unknown("key of a space", wrong[:5], valid))
    return replace(SPACES[values["name"]], **own)


def read_search_config(
    config: SearchConfig | Mapping[str, Any] | str | os.PathLike, overrides: Overrides = ()
) -> SearchConfig:
    """Return the config that a user passed: the name of one of the package, a YAML file, or its content.

    `base: OTHER.yaml` and `overrides` work as in training configs. A proxy and its `base` are relative to the config.

    Raises:
        ConfigError: there is no such file, it is not YAML, a key is unknown or missing, or a value is out of range.
    """
    if isinstance(config, (str, os.PathLike)):
        path = find_config(os.fspath(config), PACKAGE)
        values, source, folder = read_values(path), str(path), path.parent
    else:
        values = config.model_dump(mode="json") if isinstance(config, SearchConfig) else deepcopy(dict(config))
        source, folder = "config", Path()
    apply_overrides(values, overrides)
    return validated(SearchConfig, values, source, {"folder": folder})


def check_same(there: SearchConfig, here: SearchConfig, where: str) -> None:
    """Check that a search may go on with `here`: only what does not change its trials may differ.

    Raises:
        ConfigError: other keys differ.
    """
    may_change = {"trials", "retries", "max_failures", "max_skipped", "heartbeat", "keep_runs", "best"}
    left, right = (one.model_dump(mode="json") for one in (there, here))
    keys = [key for key in left if left[key] != right[key] and key not in may_change]
    if keys:
        valid = ", ".join(sorted(may_change))
        raise ConfigError(
            f"{where} was started with another config. Only {valid} may change. Received: other {', '.join(keys)}"
        )


def _beside(folder: Path, name: str) -> str:
    """Return the path of a file that a config names relative to its own folder; names of configs stay as they are."""
    return str(folder / name) if (folder / name).is_file() else name


def _as_tuple(value: Any) -> Any:
    return tuple(map(_as_tuple, value)) if isinstance(value, list) else value
