"""The weight of an image multiplies its loss, and its positives in the normalizer."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from spinenet_tf import ArchitectureSpec, BlockSpec, detector
from spinenet_tf.training.quantization import QuantizationAware

SPEC = ArchitectureSpec("one_block", (2, 2), (BlockSpec(3, "residual", (0, 1), is_output=True),), {2: 4, 3: 4})
EAGER = {"run_eagerly": keras.backend.backend() == "tensorflow"}  # which JAX cannot
IMAGES = np.random.default_rng(1).normal(size=(3, 32, 32, 3)).astype("float32")
BOXES = np.array([[[2, 2, 20, 20], [8, 1, 31, 30]], [[8, 4, 30, 24], [-1] * 4], [[0, 0, 16, 8], [1, 9, 30, 31]]])
CLASSES = np.array([[0, 1], [2, -1], [1, 1]], "int32")
WEIGHTS = np.array([1.0, 2.0, 0.0], "float32")
COUNTED = [0, 1, 1]  # the images as the weights count them


def given(rows: list[int]) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    return IMAGES[rows], {"boxes": BOXES[rows].astype("float32"), "classes": CLASSES[rows]}


EACH = given([0, 1, 2])


def compiled(**overrides) -> keras.Model:
    """Return a small detector with weight decay and frozen BN, with the same weights each time."""
    keras.utils.set_random_seed(1)
    model = detector(SPEC, 3, (32, 32, 3), max_level=3, endpoint=8, head_depth=1, head_width=8, l2=1e-3, **overrides)
    return frozen(model)


def frozen(model: keras.Model) -> keras.Model:
    for layer in model._flatten_layers():
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.trainable = False
    model.compile(keras.optimizers.SGD(0.1), **EAGER)
    return model


def close(ours: dict[str, float], expected: dict[str, float]) -> None:
    assert set(ours) == set(expected) == {"loss", "class_loss", "box_loss"}
    for name, value in expected.items():
        np.testing.assert_allclose(ours[name], value, rtol=1e-5, err_msg=name)


@pytest.fixture(scope="module")
def model() -> keras.Model:
    return compiled()


@pytest.fixture(scope="module")
def expected(model) -> dict[str, float]:
    """Return the losses with each image repeated as often as its weight, after checking that weights matter."""
    plain, found = (model.test_on_batch(*batch, return_dict=True) for batch in (EACH, given(COUNTED)))
    assert abs(plain["box_loss"] - found["box_loss"]) > 1e-3 * found["box_loss"]
    return found


def tuples(weights) -> keras.utils.PyDataset:
    class One(keras.utils.PyDataset):
        num_batches = 1

        def __getitem__(self, index: int):
            return *EACH, weights

    return One()


BOTH = {"boxes": WEIGHTS, "classes": WEIGHTS.copy()}
KINDS = {
    "array": lambda model: model.evaluate(*EACH, sample_weight=WEIGHTS, verbose=0, return_dict=True),
    "column": lambda model: model.test_on_batch(*EACH, WEIGHTS[:, None], return_dict=True),
    "dictionary": lambda model: model.test_on_batch(*EACH, BOTH, return_dict=True),
    "integers": lambda model: model.test_on_batch(*EACH, WEIGHTS.astype(int), return_dict=True),
    "batch": lambda model: model.test_on_batch(*EACH, WEIGHTS, return_dict=True),
    "tuples": lambda model: model.evaluate(tuples(WEIGHTS), verbose=0, return_dict=True),
    "tuples of dictionaries": lambda model: model.evaluate(tuples(BOTH), verbose=0, return_dict=True),
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_weight_counts_an_image_so_many_times(model, expected, kind: str) -> None:
    close(KINDS[kind](model), expected)


def test_weights_count_with_the_other_box_loss_too() -> None:
    model = compiled(box_loss="giou", box_weight=2.0)
    weighted = model.test_on_batch(*EACH, WEIGHTS, return_dict=True)
    close(weighted, model.test_on_batch(*given(COUNTED), return_dict=True))


def test_weights_of_zero_leave_the_decay_of_the_weights_alone(model) -> None:
    nothing = model.test_on_batch(*EACH, np.zeros(3), return_dict=True)
    assert nothing["class_loss"] == nothing["box_loss"] == 0
    np.testing.assert_allclose(nothing["loss"], float(sum(model.losses)), rtol=1e-5)


def test_a_step_with_weights_is_one_with_the_images_as_often() -> None:
    model = compiled()
    start = model.get_weights()

    def after(act, *batch, **options) -> list[np.ndarray]:
        model.set_weights(start)
        act(*batch, **options)
        return model.get_weights()

    counted = after(model.train_on_batch, *given(COUNTED))
    assert all(ours.ndim < 2 or not np.array_equal(ours, before) for ours, before in zip(counted, start, strict=True))
    for act, options in ((model.fit, {"shuffle": False, "verbose": 0}), (model.train_on_batch, {})):
        for ours, expected in zip(after(act, *EACH, sample_weight=WEIGHTS, **options), counted, strict=True):
            np.testing.assert_allclose(ours, expected, rtol=1e-4, atol=1e-6)


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="takes long to compile")
def test_weights_count_in_training_for_integers(model) -> None:
    aware = QuantizationAware(model)
    aware.compile(keras.optimizers.SGD(0.0), **EAGER)
    aware.train_on_batch(*EACH)  # measures the ranges
    weighted = aware.test_on_batch(*EACH, WEIGHTS, return_dict=True)
    close(weighted, aware.test_on_batch(*given(COUNTED), return_dict=True))


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ({"boxes": WEIGHTS, "classes": WEIGHTS + 1}, r"weights of boxes and classes must be equal\. Received: "),
        ({"classes": WEIGHTS}, r"sample_weight keys=\['classes'\]"),
        (WEIGHTS[:2], r"one weight per image\. Received: sample_weight of shape \(2,\) for 3 images"),
        (np.ones((3, 2)), r"Received: sample_weight of shape \(3, 2\)"),
        (WEIGHTS - 1, r"A weight must be a finite number of at least 0\. Received: sample_weight=-1\.0"),
        (WEIGHTS * np.nan, r"Received: sample_weight=nan"),
        (np.array([1, np.inf, 1]), r"Received: sample_weight=inf"),
    ],
)
@pytest.mark.parametrize("act", ["fit", "evaluate", "train_on_batch", "test_on_batch"])
def test_weights_with_two_meanings_are_refused_in_one_line(model, act: str, weights, message: str) -> None:
    before = model.get_weights()
    with pytest.raises(ValueError, match=message) as error:
        getattr(model, act)(*EACH, sample_weight=weights)
    assert "\n" not in str(error.value)
    assert all(np.array_equal(old, new) for old, new in zip(before, model.get_weights(), strict=True))


def test_class_weights_are_refused(model) -> None:
    with pytest.raises(ValueError, match=r"class_weight"):
        model.fit(*EACH, class_weight={0: 1.0, 1: 2.0, 2: 1.0}, verbose=0)


@pytest.mark.parametrize("name", ["loss", "loss_weights", "metrics", "weighted_metrics"])
def test_a_detector_has_its_own_loss_and_metrics(model, name: str) -> None:
    with pytest.raises(ValueError, match=rf"compile\(optimizer\).*Received: {name}=") as error:
        model.compile("sgd", **{name: ["mse"]})
    assert "\n" not in str(error.value)
    model.compile(keras.optimizers.SGD(0.1), None, **EAGER)  # what Keras writes into a .keras file


def test_a_loss_by_position_is_refused_too(model) -> None:
    with pytest.raises(ValueError, match="Received: loss='mse'"):
        model.compile("sgd", "mse")
