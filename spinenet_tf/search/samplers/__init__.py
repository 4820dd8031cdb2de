"""Samplers of a search space for Optuna: random search, evolution, a policy gradient and TPE."""

from __future__ import annotations

from typing import Any

from spinenet_tf._files.messages import unknown
from spinenet_tf.search.samplers.base import REJECTED_DRAWS, SpaceSampler, suggest
from spinenet_tf.search.samplers.evolution import EvolutionSampler
from spinenet_tf.search.samplers.policy_gradient import PolicyGradientSampler
from spinenet_tf.search.samplers.tpe import SpaceTPESampler
from spinenet_tf.search.samplers.uniform import UniformSampler
from spinenet_tf.search.space import SearchSpace

__all__ = ["REJECTED_DRAWS", "SAMPLERS", "make_sampler", "suggest"]

SAMPLERS: dict[str, type[SpaceSampler]] = {
    "random": UniformSampler,
    "evolution": EvolutionSampler,
    "policy_gradient": PolicyGradientSampler,
    "tpe": SpaceTPESampler,
}


def make_sampler(name: str, space: SearchSpace, seed: int | None = None, **options: Any) -> SpaceSampler:
    """Return a sampler by name: one of `SAMPLERS`, whose class has the type of its options.

    Without a seed, every sampler draws other numbers.

    Raises:
        ValueError: the name or an option is unknown, or an option is out of range.
    """
    if name not in SAMPLERS:
        raise ValueError(f"{unknown('sampler', [str(name)[:40]], SAMPLERS)} Received: name={name!r:.100}")
    sampler = SAMPLERS[name]
    return sampler(space, seed, sampler.options_type.of(options))
