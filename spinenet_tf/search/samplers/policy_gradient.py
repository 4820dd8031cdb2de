"""Reinforcement learning, as the paper's search uses it, with a policy that learns within hundreds of trials."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from optuna.study import Study
from optuna.trial import FrozenTrial

from spinenet_tf.nets.options import Options, option
from spinenet_tf.search.samplers.base import SpaceSampler, Values
from spinenet_tf.search.samplers.history import Result, results
from spinenet_tf.search.samplers.policy import Policy
from spinenet_tf.search.space import SearchSpace


@dataclass(frozen=True)
class PolicyGradientOptions(Options):
    """The options of the policy gradient."""

    learning_rate: float = option(0.1, above=0)  # of Adam
    baseline: float = option(0.9, 0, below=1)  # decay of the moving average that rewards are compared with


class PolicyGradientSampler(SpaceSampler):
    """Draw from a `Policy` that every finished trial updates, in the order in which trials end.

    The paper has an RNN controller, which needs thousands of trials; independent distributions need hundreds. Each
    process builds the policy from the study's trials. The reward is the value; that of a pruned trial is the last value
    that it reported, that of a trial that violates a constraint the worst reward so far. Failed and repeated trials do
    not count. Proposals that the space rejects are drawn again, which the gradient ignores.
    """

    options_type = PolicyGradientOptions

    def __init__(self, space: SearchSpace, seed: int | None = None, options: Options | None = None):
        super().__init__(space, seed, options)
        self._start()

    def proposals(self, study: Study, trial: FrozenTrial, random: np.random.Generator) -> Iterator[Values]:
        """Yield values that the policy draws.

        Raises:
            ValueError: the study has several objectives.
        """
        if len(study.directions) > 1:
            raise ValueError(
                "The policy gradient needs one objective: use a product or a constraint. "
                f"Received: {len(study.directions)} objectives"
            )
        self._follow(results(study, self.space))
        names = list(self.space.parameters())
        while True:
            yield dict(zip(names, self._policy.draw(random), strict=True))

    def _start(self) -> None:
        choices = list(self.space.parameters().values())
        self._policy = Policy(choices, self.options.learning_rate, self.options.baseline)
        self._learned: list[int] = []  # numbers of the trials
        self._worst = math.inf

    def _follow(self, history: Sequence[Result]) -> None:
        """Learn from the results that are new; start again if another process has reported an earlier one since."""
        numbers = [result.number for result in history]
        if numbers[: len(self._learned)] != self._learned:
            self._start()
        for result in history[len(self._learned) :]:
            self._learn(result)
        self._learned = numbers

    def _learn(self, result: Result) -> None:
        if result.scores:
            self._worst = min(self._worst, result.scores[0])
        reward = self._worst if result.violation else result.scores[0]
        if math.isfinite(reward):  # else no trial has a value yet that this one could be worse than
            self._policy.learn([result.values[name] for name in self.space.parameters()], reward)
