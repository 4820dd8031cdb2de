"""What every detector has beside its net: it trains by a loss of its own, on ground truth that is looked at first."""

from __future__ import annotations

import inspect
from typing import Any

from spinenet_tf.heads.batches import checked, in_one_line
from spinenet_tf.heads.ground_truth import check
from spinenet_tf.heads.model import HeadModel

OWN = ("loss", "loss_weights", "metrics", "weighted_metrics")  # of `compile`, which a detector brings itself


class CheckedModel(HeadModel):
    """A model of `num_classes` that computes its loss itself, from {"boxes": `[B, N, 4]`, "classes": `[B, N]`}.

    Arrays are checked as a whole before anything is learned from them, all other data batch by batch as they are drawn.
    What is at fault is a `GroundTruthError`, a ValueError of one line.
    """

    def compile(self, *args, **kwargs) -> None:
        """Compile with an optimizer and what else `keras.Model.compile` takes.

        Raises:
            ValueError: a loss or metrics are given, which would not be used.
        """
        given = inspect.signature(super().compile).bind(*args, **kwargs).arguments
        for name in OWN:
            if given.get(name) is not None:
                raise ValueError(
                    f"A detector has its loss and its metrics: compile(optimizer). Received: {name}={given[name]!r}"
                )
        super().compile(*args, **kwargs)

    def fit(self, *args, **kwargs):
        """Train as Keras does, by the same arguments; a `sample_weight` counts an image so many times.

        Raises:
            GroundTruthError: see `ground_truth.check`.
        """
        with in_one_line():
            return super().fit(*args, **kwargs)

    def _before_fit(self, given: dict[str, Any]) -> None:
        super()._before_fit(given)
        self._check_data(given)
        held_out = given.get("validation_data")
        if isinstance(held_out, (tuple, list)):
            self._check_data(dict(zip(("x", "y", "sample_weight"), held_out, strict=False)))
        elif held_out is not None:
            given["validation_data"] = checked(held_out, self.num_classes)

    def evaluate(self, *args, **kwargs):
        """Measure the losses as Keras does, by the same arguments; raises as `fit` does."""
        call = inspect.signature(super().evaluate).bind(*args, **kwargs)
        if "_use_cached_eval_dataset" not in kwargs:  # those of `fit`, which were checked
            self._check_data(call.arguments)
        with in_one_line():
            return super().evaluate(*call.args, **call.kwargs)

    def train_on_batch(self, x, y=None, sample_weight=None, *args, **kwargs):
        """Train one step as Keras does; raises as `fit` does."""
        check(x, y, sample_weight, self.num_classes)
        return super().train_on_batch(x, y, sample_weight, *args, **kwargs)

    def test_on_batch(self, x, y=None, sample_weight=None, *args, **kwargs):
        """Measure the losses of a batch as Keras does; raises as `fit` does."""
        check(x, y, sample_weight, self.num_classes)
        return super().test_on_batch(x, y, sample_weight, *args, **kwargs)

    def _check_data(self, given: dict[str, Any]) -> None:
        """Check arrays at once, and let other data be checked as they are drawn."""
        x, y = given.get("x"), given.get("y")
        given["x"] = checked(x, self.num_classes)
        if y is not None and given["x"] is x:  # else Keras says that such data hold their targets
            check(x, y, given.get("sample_weight"), self.num_classes)
