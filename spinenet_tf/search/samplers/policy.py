"""A policy without a network: one categorical distribution per decision, trained by REINFORCE with Adam."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

_BETA1, _BETA2, _EPSILON = 0.9, 0.999, 1e-8  # of Adam


class Policy:
    """Independent distributions over the choices of decisions, uniform at first.

    Args:
        choices: the number of choices of each decision.
        learning_rate: that of Adam.
        decay: how slowly the baseline follows the rewards, 0..1.
    """

    def __init__(self, choices: Sequence[int], learning_rate: float, decay: float):
        self.choices = np.asarray(choices)
        self.learning_rate, self.decay = learning_rate, decay
        can_be_chosen = np.arange(max(choices, default=0)) < self.choices[:, None]
        self.logits = np.where(can_be_chosen, 0.0, -np.inf)  # [decisions, most choices]
        self.mean, self.square = np.zeros_like(self.logits), np.zeros_like(self.logits)  # of the gradients
        self.steps, self.baseline = 0, 0.0

    def probabilities(self) -> np.ndarray:
        """Return the probability of each choice `[decisions, most choices]`."""
        powers = np.exp(self.logits - self.logits.max(axis=1, keepdims=True))
        return powers / powers.sum(axis=1, keepdims=True)

    def draw(self, random: np.random.Generator) -> list[int]:
        """Return a choice for each decision."""
        limits = self.probabilities().cumsum(axis=1)
        drawn = (random.random((len(limits), 1)) > limits).sum(axis=1)
        return np.minimum(drawn, self.choices - 1).tolist()  # the last limit may be 1 - 1e-16

    def learn(self, chosen: Sequence[int], reward: float) -> None:
        """Make the choices likelier if the reward is above the moving average of earlier ones, and rarer if below."""
        if self.steps == 0:
            self.baseline = reward
        gradient = -self.probabilities()
        gradient[np.arange(len(chosen)), chosen] += 1.0  # of the log-probability of the choices
        self._ascend((reward - self.baseline) * gradient)
        self.baseline = self.decay * self.baseline + (1 - self.decay) * reward

    def _ascend(self, gradient: np.ndarray) -> None:
        self.steps += 1
        self.mean = _BETA1 * self.mean + (1 - _BETA1) * gradient
        self.square = _BETA2 * self.square + (1 - _BETA2) * gradient**2
        mean, square = self.mean / (1 - _BETA1**self.steps), self.square / (1 - _BETA2**self.steps)
        self.logits = self.logits + self.learning_rate * mean / (np.sqrt(square) + _EPSILON)
