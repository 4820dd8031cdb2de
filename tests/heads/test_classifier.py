"""A classifier refuses class numbers that it does not have."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from spinenet_tf import ArchitectureSpec, BlockSpec, classifier

SPEC = ArchitectureSpec("one_block", (2, 2), (BlockSpec(3, "residual", (0, 1), is_output=True),), {2: 4, 3: 4})
IMAGES = np.random.default_rng(1).normal(size=(4, 32, 32, 3)).astype("float32")
SPARSE = keras.losses.SparseCategoricalCrossentropy
EAGER = {"run_eagerly": keras.backend.backend() == "tensorflow"}  # which JAX cannot


@pytest.fixture(scope="module")
def model() -> keras.Model:
    return classifier(SPEC, 3, (32, 32, 3), max_level=3, endpoint=8)


@pytest.mark.parametrize(("labels", "told"), [([0, 1, 2, 3], "3"), ([0, -1, 2, 1], "-1"), ([[0], [7], [1], [1]], "7")])
@pytest.mark.parametrize("act", ["fit", "evaluate"])
def test_labels_out_of_range_are_refused_before_anything_is_learned(model, act: str, labels: list, told: str) -> None:
    from spinenet_tf.heads.classifier import SmoothedCrossentropy

    before = model.get_weights()
    for loss in (SPARSE(from_logits=True), SmoothedCrossentropy()):
        model.compile("sgd", loss, **EAGER)
        with pytest.raises(ValueError, match=rf"^Labels must be 0 to 2\. Received: label {told}$"):
            getattr(model, act)(IMAGES, np.array(labels), verbose=0)
    assert all(np.array_equal(old, new) for old, new in zip(before, model.get_weights(), strict=True))


@pytest.mark.parametrize(
    ("loss", "labels"),
    [
        (SPARSE(from_logits=True), np.array([0, 1, 2, 1])),
        (SPARSE(from_logits=True, ignore_class=255), np.array([0, 255, 2, 1])),
        (keras.losses.CategoricalCrossentropy(from_logits=True), np.eye(3, dtype="int32")[[0, 1, 2, 1]]),
    ],
)
def test_what_a_loss_takes_is_taken(model, loss: keras.losses.Loss, labels: np.ndarray) -> None:
    model.compile("sgd", loss, **EAGER)
    assert np.isfinite(model.fit(IMAGES, labels, batch_size=4, verbose=0).history["loss"]).all()


def test_one_logit_takes_what_its_loss_does() -> None:
    model = classifier(SPEC, 1, (32, 32, 3), max_level=3, endpoint=8)
    model.compile("sgd", keras.losses.BinaryCrossentropy(from_logits=True), **EAGER)
    assert np.isfinite(model.fit(IMAGES, np.array([[0], [1], [1], [0]]), verbose=0).history["loss"]).all()
