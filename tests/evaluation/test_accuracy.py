"""Test that top-1 and top-5 equal Keras's, and that ties and NaN count as errors."""

from __future__ import annotations

import keras
import numpy as np

from spinenet_tf.evaluation.accuracy import _ranks, accuracy


def test_numbers_are_those_of_keras() -> None:
    rng = np.random.default_rng(0)
    logits, labels = rng.normal(size=(200, 12)).astype("float32"), rng.integers(0, 12, 200)
    measured = accuracy(_ranks(logits, labels), labels, tuple("abcdefghijkl"))
    for value, metric in (
        (measured.top1, keras.metrics.SparseCategoricalAccuracy()),
        (measured.top5, keras.metrics.SparseTopKCategoricalAccuracy(5)),
    ):
        metric.update_state(labels, logits)
        assert abs(value - float(metric.result())) < 1e-6
    right = logits.argmax(axis=1) == labels
    assert measured.per_class["c"] == right[labels == 2].mean()


def test_ties_and_what_is_not_a_number_are_never_right() -> None:
    logits = np.array([[1.0, 1.0, 0.0], [np.nan, 0.0, 0.0], [2.0, np.nan, 0.0], [0.0, 3.0, 1.0]])
    ranks = _ranks(logits, np.array([0, 0, 0, 1]))
    assert ranks[3] == 0
    assert (ranks[:3] > 0).all()


def test_a_class_without_images_has_no_accuracy() -> None:
    assert accuracy(np.array([0, 1]), np.array([0, 0]), ("a", "b")).per_class == {"a": 0.5}
