"""A model that takes pixels computes the same as one that takes normalized images, and neither takes the other's."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import keras
import numpy as np
import pytest

from spinenet_tf import backbone, classifier, detector
from spinenet_tf.data.images import normalize
from spinenet_tf.nets.image_checks import ImageRangeError
from spinenet_tf.training.quantization import QuantizationAware

SHAPE = (64, 64, 3)
SMALL: dict[str, Any] = {"max_level": 5, "endpoint": 8}
TRUTH = {"boxes": np.array([[[4, 4, 30, 30]]] * 4, "float32"), "classes": np.zeros((4, 1), "int32")}
BUILD: dict[str, Callable] = {
    "backbone": lambda spec, **given: backbone(spec, SHAPE, **SMALL, **given),
    "classifier": lambda spec, **given: classifier(spec, 3, SHAPE, **SMALL, **given),
    "retinanet": lambda spec, **given: detector(spec, 3, SHAPE, head_depth=1, head_width=8, **SMALL, **given),
    "centernet": lambda spec, **given: detector(spec, 3, SHAPE, "centernet", head_width=8, **SMALL, **given),
}


@pytest.fixture(scope="module")
def pixels() -> np.ndarray:
    return np.random.default_rng(3).integers(0, 256, (4, *SHAPE), np.uint8)


@pytest.fixture(scope="module")
def normalized(pixels) -> np.ndarray:
    return np.asarray(normalize(pixels))


@pytest.fixture(scope="module")
def pair(three_blocks, randomize) -> Callable:
    """Return `pair(kind)`: a model of normalized images and one of pixels with the same weights."""
    made: dict[str, tuple] = {}
    weights: dict[str, list] = {}

    def get(kind: str) -> tuple[keras.Model, keras.Model]:
        if kind not in made:
            made[kind] = randomize(BUILD[kind](three_blocks)), BUILD[kind](three_blocks, include_preprocessing=True)
            weights[kind] = made[kind][0].get_weights()
        for model in made[kind]:
            model.set_weights(weights[kind])
            model.compile(keras.optimizers.SGD(0.0), run_eagerly=True)
        return made[kind]

    return get


def assert_equal(found: Any, expected: Any, tolerance: float = 1e-5) -> None:
    for x, y in zip(keras.tree.flatten(found), keras.tree.flatten(expected), strict=True):
        np.testing.assert_allclose(x, y, atol=tolerance * max(np.abs(y).max(), 1.0))


@pytest.mark.parametrize("kind", BUILD)
def test_pixels_of_any_type_give_what_normalized_images_give(kind, pair, pixels, normalized) -> None:
    plain, model = pair(kind)
    expected = plain.predict(normalized, verbose=0)
    for images in (pixels, pixels.astype("float32"), pixels.astype("int32")):
        assert_equal(model.predict(images, verbose=0), expected)
    assert_equal(model.predict_normalized(normalized), expected, 1e-4)
    assert_equal(plain.predict_normalized(normalized), expected)


@pytest.mark.parametrize("kind", BUILD)
def test_weights_fit_both_forms(kind, pair, three_blocks, tmp_path) -> None:
    plain, model = pair(kind)
    assert model.architecture() == plain.architecture()
    for source, include in ((plain, True), (model, False)):
        source.save_weights(tmp_path / f"{include}.weights.h5")
        fresh = BUILD[kind](three_blocks, include_preprocessing=include, weights=tmp_path / f"{include}.weights.h5")
        assert_equal(fresh.get_weights(), plain.get_weights(), 0)
        assert fresh.include_preprocessing is include


@pytest.mark.parametrize("kind", BUILD)
def test_files_configs_and_clones_keep_the_form(kind, pair, pixels, tmp_path) -> None:
    _, model = pair(kind)
    model.save(tmp_path / "net.keras")
    loaded = keras.saving.load_model(tmp_path / "net.keras")
    copy = type(model).from_config(model.get_config())
    assert all(each.include_preprocessing for each in (model, loaded, copy))
    assert_equal(loaded(pixels), model(pixels), 1e-6)
    net = getattr(copy, "backbone", copy)
    assert net.get_layer("normalize_pixels").dtype_policy.name == "float32"


def generator(batches: list) -> Iterator:
    yield from batches


class Batches(keras.utils.PyDataset):
    def __init__(self, batches: list):
        super().__init__()
        self.batches = batches

    def __len__(self) -> int:
        return len(self.batches)

    def __getitem__(self, index: int) -> tuple:
        return self.batches[index]


def tf_data(batches: list) -> Any:
    import tensorflow as tf

    joined = keras.tree.map_structure(lambda *arrays: np.concatenate(arrays), *batches)
    return tf.data.Dataset.from_tensor_slices(joined).batch(2)


STREAMS: dict[str, Callable] = {"generator": generator, "PyDataset": Batches, "tf.data": tf_data}


def batches(images: np.ndarray) -> list[tuple]:
    """Return two batches, the first of which is black, so that only the second tells what the images are."""
    first = images[:2] * 0
    return [(images, {key: x[:2] for key, x in TRUTH.items()}) for images in (first, images[2:])]


@contextmanager
def refused(received: str) -> Iterator[None]:
    with pytest.raises(ImageRangeError, match=received) as error:
        yield
    assert "\n" not in str(error.value)


def test_arrays_of_the_other_form_are_refused(pair, pixels, normalized) -> None:
    plain, model = pair("retinanet")
    for chosen, images, received in (
        (model, normalized, r"Received: values from -2\.\d+ to 2\.\d+$"),
        (model, np.full_like(normalized, np.nan), "Received: values from nan to nan$"),
        (model, pixels * np.float32(2), "Received: values from 0 to 510$"),
        (plain, pixels, "Received: dtype=uint8$"),
    ):
        for act in (chosen.predict, chosen.predict_on_batch):
            with refused(received):
                act(images)
        for act in (chosen.fit, chosen.evaluate, chosen.train_on_batch, chosen.test_on_batch):
            with refused(received):
                act(images, TRUTH)
    with refused("values from -2"):
        model.fit(pixels, TRUTH, validation_data=(normalized, TRUTH), verbose=0)


@pytest.mark.parametrize("kind", STREAMS)
def test_streams_of_the_other_form_are_refused_when_they_are_drawn(kind, pair, pixels, normalized) -> None:
    plain, model = pair("retinanet")
    stream = STREAMS[kind]
    for chosen, images, received in ((model, normalized, "values from -2"), (plain, pixels, "dtype=uint8")):
        for act in (chosen.fit, chosen.evaluate):
            with refused(received):
                act(stream(batches(images)), verbose=0)
        with refused(received):
            chosen.predict(stream([images for images, _ in batches(images)]), verbose=0)
    with refused("values from -2"):
        model.fit(pixels, TRUTH, validation_data=stream(batches(normalized)), verbose=0)


@pytest.mark.parametrize("kind", STREAMS)
@pytest.mark.parametrize("dtype", ["uint8", "float32"])
def test_streams_of_pixels_are_learned_from(kind, dtype, pair, pixels, normalized) -> None:
    plain, model = pair("retinanet")
    images = pixels.astype(dtype)
    expected = plain.evaluate(normalized, TRUTH, batch_size=2, verbose=0)
    data = [(images[i : i + 2], {key: x[:2] for key, x in TRUTH.items()}) for i in (0, 2)]
    np.testing.assert_allclose(model.evaluate(STREAMS[kind](data), steps=2, verbose=0), expected, rtol=1e-4)
    assert np.isfinite(model.fit(STREAMS[kind](data), steps_per_epoch=2, verbose=0).history["loss"]).all()


def test_a_quantization_aware_model_takes_pixels_too(three_blocks, pixels) -> None:
    aware = QuantizationAware(BUILD["retinanet"](three_blocks, include_preprocessing=True))
    aware.compile(keras.optimizers.SGD(0.0), run_eagerly=True)
    aware.fit(pixels, TRUTH, verbose=0)
    found, expected = aware(pixels.astype("float32")), aware.detector(pixels.astype("float32"))
    for level, x in expected["class_logits"].items():
        assert np.abs(x - found["class_logits"][level]).max() < 0.1 * np.abs(x).max()


def test_a_config_has_no_such_option(tiny_model) -> None:
    """Batches of a run are normalized."""
    from spinenet_tf.training.model_config import ModelConfig

    given = {"name": tiny_model, "image_size": [64, 64], "overrides": {"include_preprocessing": True}}
    with pytest.raises(ValueError, match="include_preprocessing"):
        ModelConfig(**given)
