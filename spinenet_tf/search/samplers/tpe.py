"""Optuna's tree-structured Parzen estimator, to compare with."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from optuna.samplers import TPESampler
from optuna.study import Study
from optuna.trial import FrozenTrial

from spinenet_tf.nets.options import Options, option
from spinenet_tf.search.samplers.base import SpaceSampler, Values, draw_uniformly


@dataclass(frozen=True)
class TPEOptions(Options):
    """The options of TPE."""

    startup: int = option(10, 1)  # trials that are uniform
    candidates: int = option(24, 1)  # draws of which the most promising one is proposed
    constant_liar: bool = option(True)  # avoid the neighborhood of running trials, for many workers


class SpaceTPESampler(SpaceSampler):
    """Draw from Optuna's multivariate TPE, which is written for few dimensions, until the space accepts the values.

    It knows constraints, takes several objectives, and counts pruned trials as worse than complete ones: by the step
    that they reached, and those that reported nothing, such as repeated graphs, as the worst. It ignores failed trials.
    """

    options_type = TPEOptions

    def proposals(self, study: Study, trial: FrozenTrial, random: np.random.Generator) -> Iterator[Values]:
        """Yield uniform values until `startup` trials have ended, and then those that TPE proposes."""
        sampler = TPESampler(
            n_startup_trials=self.options.startup,
            n_ei_candidates=self.options.candidates,
            multivariate=True,
            constant_liar=self.options.constant_liar,
            seed=int(random.integers(1 << 32)),
        )
        whole = self.infer_relative_search_space(study, trial)
        while True:
            yield sampler.sample_relative(study, trial, whole) or draw_uniformly(self.space, random)
