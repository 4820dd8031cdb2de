"""Random search."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from optuna.study import Study
from optuna.trial import FrozenTrial

from spinenet_tf.search.samplers.base import SpaceSampler, Values, draw_uniformly


class UniformSampler(SpaceSampler):
    """Draw all values uniformly, so that the trials are uniform over the values that the space accepts.

    No trial affects another one.
    """

    def proposals(self, study: Study, trial: FrozenTrial, random: np.random.Generator) -> Iterator[Values]:
        """Yield uniform values."""
        while True:
            yield draw_uniformly(self.space, random)
