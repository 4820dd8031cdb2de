"""The base class of models that compute their own loss, from ground truth that is checked first."""

from __future__ import annotations

import inspect
from typing import Any

from spinenet_tf.heads.batches import checked
from spinenet_tf.heads.ground_truth import KEYS, GroundTruthError, check
from spinenet_tf.heads.model import HeadModel
from spinenet_tf.nets.streams import in_one_line

OWN = ("loss", "loss_weights", "metrics", "weighted_metrics")  # arguments of `compile` that a detector does not take


class CheckedModel(HeadModel):
    """A model that computes its own loss, from {"boxes": `[B, N, 4]`, "classes": `[B, N]`} and other `truth_keys`.

    Arrays are checked as a whole before training, all other data batch by batch. Invalid ground truth raises a
    `GroundTruthError`, a ValueError whose message is one line.
    """

    truth_keys: tuple[str, ...] = KEYS  # the keys of the ground truth, which may have more

    def compile(self, *args, **kwargs) -> None:
        """Compile with an optimizer, and other arguments of `keras.Model.compile`.

        Raises:
            ValueError: a loss or metrics are given; they would be ignored.
        """
        given = inspect.signature(super().compile).bind(*args, **kwargs).arguments
        for name in OWN:
            if given.get(name) is not None:
                raise ValueError(
                    f"A detector has its own loss and metrics: use compile(optimizer). Received: {name}={given[name]!r}"
                )
        super().compile(*args, **kwargs)

    def fit(self, *args, **kwargs):
        """Train with the arguments of `keras.Model.fit`; `sample_weight` weights the images.

        Raises:
            GroundTruthError: see `ground_truth.check`.
        """
        with in_one_line(GroundTruthError):
            return super().fit(*args, **kwargs)

    def evaluate(self, *args, **kwargs):
        """Return the losses, with the arguments of `keras.Model.evaluate`. Raises the errors of `fit`."""
        with in_one_line(GroundTruthError):
            return super().evaluate(*args, **kwargs)

    def train_on_batch(self, x, y=None, sample_weight=None, *args, **kwargs):
        """Train on one batch, as in Keras. Raises the errors of `fit`."""
        check(x, y, sample_weight, self.num_classes, keys=self.truth_keys)
        return super().train_on_batch(x, y, sample_weight, *args, **kwargs)

    def test_on_batch(self, x, y=None, sample_weight=None, *args, **kwargs):
        """Return the losses of one batch, as in Keras. Raises the errors of `fit`."""
        check(x, y, sample_weight, self.num_classes, keys=self.truth_keys)
        return super().test_on_batch(x, y, sample_weight, *args, **kwargs)

    def _before_evaluate(self, given: dict[str, Any]) -> None:
        """Check arrays now, and wrap other data so that each batch is checked when it is drawn."""
        super()._before_evaluate(given)
        x, y = given.get("x"), given.get("y")
        given["x"] = checked(x, self.num_classes, self.truth_keys)
        if y is not None and given["x"] is x:  # otherwise Keras raises an error: such data contain their targets
            check(x, y, given.get("sample_weight"), self.num_classes, keys=self.truth_keys)
