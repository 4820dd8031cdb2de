"""Regularized evolution (Real 2019, arXiv 1802.01548): the best of a few recent trials gets a mutated child."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from optuna.study import Study
from optuna.trial import FrozenTrial

from spinenet_tf.nets.options import Options, option
from spinenet_tf.search.samplers.base import SpaceSampler, Values, draw_uniformly
from spinenet_tf.search.samplers.history import Result, dominates, results
from spinenet_tf.search.samplers.mutation import mutate


@dataclass(frozen=True)
class EvolutionOptions(Options):
    """The options of regularized evolution."""

    population: int = option(50, 2)  # the last trials, of which parents are chosen; as many are random at first
    sample: int = option(10, 1)  # of these are drawn, and the best one is the parent

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.sample > self.population:
            raise ValueError(
                f"`sample` must be at most `population`. Received: sample={self.sample}, population={self.population}"
            )


class EvolutionSampler(SpaceSampler):
    """Mutate the best of `sample` trials, which are drawn from the last `population` trials that have values.

    A trial ages by the trials that end after it, however good it is. The population is read from the study, so all
    processes share it. Best is: violates constraints least, and then, is dominated by the fewest of the sample, which
    with one objective is the best value. A pruned trial has the last value that it reported. Trials without values
    (failed, repeated, too expensive to train) do not enter the population.
    """

    options_type = EvolutionOptions

    def proposals(self, study: Study, trial: FrozenTrial, random: np.random.Generator) -> Iterator[Values]:
        """Yield uniform values until there is a population, and then children."""
        trained = [result for result in results(study, self.space) if result.scores]
        population = trained[-self.options.population :]
        while True:
            if len(population) < self.options.population:
                yield draw_uniformly(self.space, random)
            else:
                chosen = random.choice(len(population), self.options.sample, replace=False)
                yield mutate(self.space, _best([population[index] for index in chosen]).values, random)


def _best(sample: Sequence[Result]) -> Result:
    """Return the first of the results that the fewest others dominate."""
    return min(sample, key=lambda result: sum(dominates(other, result) for other in sample))
