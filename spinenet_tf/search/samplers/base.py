"""What the samplers share: one draw of all values a trial, repeated until the space accepts it."""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
from optuna.distributions import BaseDistribution, IntDistribution
from optuna.samplers import BaseSampler
from optuna.study import Study
from optuna.trial import FrozenTrial, Trial

from spinenet_tf.nets.options import Options
from spinenet_tf.search.space import RejectedArchitecture, SearchSpace

MAX_DRAWS = 1000  # for one trial
PATIENCE = 20  # rejected proposals before decisions are loosened
LOOSENED = 100  # rejected proposals after which all decisions are uniform
REJECTED_DRAWS = "rejected_draws"  # the attribute of a trial with the number of rejected draws before its own

Values = Mapping[str, int]


@dataclass(frozen=True)
class NoOptions(Options):
    """The options of a sampler that has none."""


class SpaceSampler(BaseSampler):
    """Base class: a subclass yields proposals, and the first that the space accepts is the trial's.

    What a sampler has learned may lead to graphs that the space rejects. After `PATIENCE` of them in a row, more and
    more decisions are drawn uniformly.

    The random numbers of a trial depend on the seed and on the trial's number only. So no two trials draw the same
    numbers, whichever process draws, and a study that is continued goes on like one that never stopped.
    """

    options_type: type[Options] = NoOptions

    def __init__(self, space: SearchSpace, seed: int | None = None, options: Options | None = None):
        self.space = space
        self.options: Any = options or self.options_type()
        self._seed = secrets.randbits(32) if seed is None else seed
        self._rejected: dict[int, int] = {}

    def proposals(self, study: Study, trial: FrozenTrial, random: np.random.Generator) -> Iterator[Values]:
        """Yield values until the caller accepts some."""
        raise NotImplementedError

    def rejected_draws(self, number: int) -> int:
        """Return how many draws for a trial the space rejected: 0 if another process or nobody drew it."""
        return self._rejected.get(number, 0)

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """Return the whole space, which is the same for every trial."""
        return {name: _distribution(choices) for name, choices in self.space.parameters().items()}

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """Return the first proposal that the space accepts.

        Raises:
            RuntimeError: the space rejects `MAX_DRAWS` proposals in a row.
        """
        random = np.random.default_rng([self._seed, trial.number])
        for rejected, proposal in enumerate(islice(self.proposals(study, trial, random), MAX_DRAWS)):
            values = _loosen(proposal, self.space, (rejected - PATIENCE) / (LOOSENED - PATIENCE), random)
            if accepts(self.space, values):
                self._rejected[trial.number] = rejected
                return values
        raise RuntimeError(f"Space {self.space.name!r} rejected {MAX_DRAWS} proposals of {self} in a row.")

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """Refuse a parameter that is not the space's.

        Raises:
            ValueError: always.
        """
        raise ValueError(f"Space {self.space.name!r} has no such parameter. Received: {param_name!r}")


def suggest(trial: Trial, space: SearchSpace) -> dict[str, int]:
    """Return the values of a trial, and store in its attribute `REJECTED_DRAWS` how many draws the space rejected."""
    values = {name: trial.suggest_int(name, 0, choices - 1) for name, choices in space.parameters().items()}
    if isinstance(trial.study.sampler, SpaceSampler):
        trial.set_user_attr(REJECTED_DRAWS, trial.study.sampler.rejected_draws(trial.number))
    return values


def accepts(space: SearchSpace, values: Values) -> bool:
    """Return whether the space does not reject these values."""
    try:
        space.decode(values)
    except RejectedArchitecture:
        return False
    return True


def draw_uniformly(space: SearchSpace, random: np.random.Generator) -> dict[str, int]:
    """Return values of which each choice of each decision is equally likely."""
    limits = space.parameters()
    return dict(zip(limits, random.integers(list(limits.values())).tolist(), strict=True))


def _loosen(values: Values, space: SearchSpace, share: float, random: np.random.Generator) -> dict[str, int]:
    """Return the values with about this share of them drawn uniformly."""
    if share <= 0:
        return dict(values)
    others = draw_uniformly(space, random)
    return {name: others[name] if random.random() < share else value for name, value in values.items()}


def _distribution(choices: int) -> IntDistribution:
    return IntDistribution(0, choices - 1)
