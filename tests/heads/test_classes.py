"""Test that class names and category ids travel with a model, and that other names are never taken silently."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import keras
import numpy as np
import pytest
from PIL import Image

from spinenet_tf import classifier, detector
from spinenet_tf.checkpoints import pretrained
from spinenet_tf.checkpoints.pretrained import Archive, Pretrained
from spinenet_tf.data.dataset import DetectionDataset, Example
from spinenet_tf.heads.classes import ClassNamesError, checked_ids, checked_names
from spinenet_tf.nets.weights import NOTE, DamagedWeightsError, read_note, seal
from spinenet_tf.training.quantization import QuantizationAware

SHAPE = (64, 64, 3)
SMALL = {"max_level": 5, "endpoint": 8}
HEADS: dict[str, dict[str, Any]] = {
    "retinanet": {"head": "retinanet", "head_depth": 1, "head_width": 8},
    "centernet": {"head": "centernet", "head_width": 8},
    "classifier": {},
}
NAMES = ("cat", "größer Vogel", "dog")


@pytest.fixture(scope="module")
def make(three_blocks) -> Callable:
    """Return `make(kind, num_classes, **arguments)`, which builds a small model."""

    def build(kind: str = "retinanet", num_classes: int | None = None, **arguments: Any) -> keras.Model:
        factory = classifier if kind == "classifier" else detector
        return factory(three_blocks, num_classes, SHAPE, **HEADS[kind], **SMALL, **arguments)

    return build


@pytest.fixture(scope="module")
def named(make, randomize, tmp_path_factory) -> tuple[keras.Model, Path]:
    """Return a named detector with random weights and its weights file; read only."""
    model = randomize(make(class_names=NAMES, category_ids=[17, 2**40, 18]))
    path = tmp_path_factory.mktemp("named") / "named.weights.h5"
    model.save_weights(path)
    return model, path


def equal(model: keras.Model, values: list[np.ndarray]) -> bool:
    return all(np.array_equal(one, other) for one, other in zip(model.get_weights(), values, strict=True))


@pytest.mark.parametrize("kind", HEADS)
def test_names_are_enough_to_build_a_model(make, kind: str) -> None:
    model = make(kind, class_names=list(NAMES))
    assert (model.num_classes, model.class_names, model.category_ids) == (3, NAMES, None)
    assert isinstance(model.class_names, tuple)


def test_a_number_and_names_that_agree_are_allowed_and_a_number_alone_has_no_names(make) -> None:
    assert make(num_classes=3, class_names=NAMES).class_names == NAMES
    model = make(num_classes=3)
    assert (model.class_names, model.category_ids) == (None, None)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({}, "A model needs `num_classes` or `class_names`. Received: num_classes=None"),
        ({"num_classes": 2, "class_names": NAMES}, "the number of class names, 3. Received: num_classes=2"),
        ({"class_names": ["cat", "dog", "cat"]}, "a different name. Received twice: 'cat'"),
        ({"class_names": ["cat", " "]}, "a string that is not empty. Received: ' '"),
        ({"class_names": ["cat", 3]}, "a string that is not empty. Received: 3"),
        ({"class_names": "cat"}, "must be a list of strings. Received: class_names='cat'"),
        ({"class_names": {"cat"}}, "must be a list of strings. Received: class_names={'cat'}"),
        ({"class_names": []}, "A detector needs at least one class. Received: num_classes=0"),
        ({"num_classes": 3, "category_ids": [1, 2, 3]}, "`class_names`. Received: num_classes=3, class_names=None"),
        ({"class_names": NAMES, "category_ids": [1, 2, 2]}, "3 different integers. Received: 3, 2 of them different"),
        ({"class_names": NAMES, "category_ids": [1, 2]}, "3 different integers. Received: 2, 2 of them different"),
        ({"class_names": NAMES, "category_ids": [1, 2, 3.5]}, r"must be integers. Received: category_ids=\[1, 2, 3.5"),
    ],
)
def test_names_and_ids_that_do_not_fit_are_refused(make, given: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make(**given)


def test_many_names_are_checked_and_stored_quickly(make, tmp_path: Path) -> None:
    names = [f"class number {number} of ImageNet-21k" for number in range(21_841)]
    assert checked_names(names, len(names)) == tuple(names)
    assert checked_ids(range(len(names)), len(names))[-1] == 21_840
    path = tmp_path / "note.h5"
    with h5py.File(path, "w") as file:
        file.attrs[NOTE] = json.dumps({"class_names": names})  # HDF5 stores only 64 KB in the attribute itself
    assert read_note(path)["class_names"] == names


@pytest.mark.parametrize("kind", HEADS)
def test_a_keras_file_keeps_names_and_ids(make, kind: str, tmp_path: Path) -> None:
    ids = {} if kind == "classifier" else {"category_ids": (3, 1, 2)}
    make(kind, class_names=NAMES, **ids).save(tmp_path / "model.keras")
    model = keras.saving.load_model(tmp_path / "model.keras")
    assert (model.class_names, model.category_ids) == (NAMES, ids.get("category_ids"))


def test_a_config_of_an_earlier_version_has_no_names(make) -> None:
    model = make(num_classes=3)
    config = model.get_config()
    del config["class_names"], config["category_ids"]
    assert type(model).from_config(config).class_names is None


def test_a_model_without_names_takes_those_of_the_file(make, named) -> None:
    model = make(num_classes=3)
    model.load_weights(named[1])
    assert (model.class_names, model.category_ids) == (NAMES, (17, 2**40, 18))
    assert equal(model, named[0].get_weights())


def test_a_model_of_the_same_names_takes_the_ids_that_it_lacks_and_keeps_its_own(make, named) -> None:
    for given, expected in ((None, (17, 2**40, 18)), ([1, 2, 3], (1, 2, 3))):
        model = make(class_names=NAMES, category_ids=given)
        model.load_weights(named[1])
        assert (model.class_names, model.category_ids) == (NAMES, expected)


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (
            ("dog", "größer Vogel", "cat"),
            "has the model's classes in another order: class 0 is 'cat' in the file",
        ),
        (("cat", "größer Vogel", "cow"), "other classes than the model: class 2 is 'dog' in the file, 'cow' in the"),
    ],
)
def test_other_names_than_those_of_the_file_are_refused_and_nothing_is_loaded(make, named, names, message) -> None:
    model = make(class_names=names)
    before = model.get_weights()
    with pytest.raises(ClassNamesError, match=message):
        model.load_weights(named[1])
    assert equal(model, before)
    assert (model.class_names, model.category_ids) == (names, None)


def test_a_named_model_keeps_its_names_with_a_file_that_has_none(make, tmp_path: Path) -> None:
    plain = make(num_classes=3)
    plain.save_weights(tmp_path / "plain.weights.h5")
    assert read_note(tmp_path / "plain.weights.h5") == {}
    model = make(class_names=NAMES)
    model.load_weights(tmp_path / "plain.weights.h5")
    assert model.class_names == NAMES
    assert equal(model, plain.get_weights())


def test_the_factory_compares_names_with_those_of_its_weights(make, named) -> None:
    assert make(class_names=NAMES, weights=named[1]).class_names == NAMES
    assert make(num_classes=3, weights=named[1]).class_names == NAMES
    with pytest.raises(ClassNamesError, match="another order"):
        make(class_names=NAMES[::-1], weights=named[1])


@pytest.mark.parametrize(
    "note",
    [
        {"class_names": ["a", "b"]},
        {"class_names": ["a", "b", "b"]},
        {"class_names": "abc"},
        {"class_names": {"a": 1, "b": 2, "c": 3}},
        {"class_names": ["a", "b", "c"], "category_ids": [1, 2, "3"]},
        {"category_ids": [1, 2, 3]},
        ["a", "b", "c"],
        3,
    ],
)
def test_a_damaged_note_is_refused_and_nothing_is_loaded(make, named, tmp_path: Path, note: object) -> None:
    path = tmp_path / "damaged.weights.h5"
    path.write_bytes(named[1].read_bytes())
    with h5py.File(path, "a") as file:
        file.attrs[NOTE] = json.dumps(note)
    path.write_bytes(path.read_bytes() + seal(path.read_bytes()))
    model = make(num_classes=3)
    before = model.get_weights()
    with pytest.raises(DamagedWeightsError, match=r"damaged\.weights\.h5 contains (a )?damaged"):
        model.load_weights(path)
    assert equal(model, before)
    assert model.class_names is None


def test_classes_can_be_renamed_and_keep_their_ids(make, named) -> None:
    model = make(num_classes=3)
    model.load_weights(named[1])
    model.class_names = ["Katze", "Vogel", "Hund"]
    assert (model.class_names, model.category_ids) == (("Katze", "Vogel", "Hund"), (17, 2**40, 18))
    model.class_names = NAMES
    model.category_ids = np.array([5, 6, 7])
    assert model.category_ids == (5, 6, 7)
    with pytest.raises(ValueError, match="the number of class names, 2"):
        model.class_names = ["a", "b"]
    with pytest.raises(ValueError, match="3 different integers"):
        model.category_ids = [1, 1, 1]
    assert (model.class_names, model.category_ids) == (NAMES, (5, 6, 7))


def test_with_a_background_class_the_numbers_are_the_category_ids(make) -> None:
    assert make(num_classes=3, background=True).category_ids == (0, 1, 2)
    assert make(class_names=NAMES, background=True).category_ids == (0, 1, 2)
    assert make(class_names=NAMES, category_ids=[4, 5, 6], background=True).category_ids == (4, 5, 6)


def test_a_quantization_aware_model_has_the_names_of_its_detector(make, named) -> None:
    aware = QuantizationAware(make(class_names=NAMES, category_ids=[1, 2, 3]))
    assert (aware.class_names, aware.category_ids) == (NAMES, (1, 2, 3))
    aware.class_names = NAMES[::-1]
    assert aware.detector.class_names == NAMES[::-1]
    aware.detector.class_names = aware.class_names = NAMES
    other = QuantizationAware(make(num_classes=3))
    other.load_weights(named[1])
    assert other.detector.class_names == other.class_names == NAMES
    assert other.detector.category_ids == other.category_ids == (17, 2**40, 18)
    copy = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(aware))
    assert copy.class_names == NAMES


@pytest.fixture
def published(tiny_model, monkeypatch) -> dict[str, Any]:
    """Return the arguments of a detector whose published weights load at once."""
    monkeypatch.setitem(pretrained.ARCHIVES, tiny_model, Archive("retinanet/tiny.tar.gz", 0.0))
    monkeypatch.setattr(Pretrained, "trained_with", lambda *_: {"background": True})
    monkeypatch.setattr(Pretrained, "load", lambda *_: None)
    return {"name": tiny_model, "input_shape": SHAPE, "weights": "coco", "max_level": 5}


def test_published_weights_have_the_names_and_ids_of_coco(published) -> None:
    model = detector(**published)
    assert model.num_classes == len(model.class_names) == 91
    assert [model.class_names[number] for number in (0, 1, 17, 90)] == ["background", "person", "cat", "toothbrush"]
    assert model.category_ids == tuple(range(91))
    assert detector(**published, class_names=model.class_names).class_names == model.class_names
    assert detector(**published, num_classes=91).class_names == model.class_names


def test_other_names_than_those_of_coco_are_refused_before_the_download(published, monkeypatch) -> None:
    monkeypatch.setattr(Pretrained, "trained_with", None)
    with pytest.raises(ClassNamesError, match="coco has other classes than the model: class 0 is 'background'"):
        detector(**published, class_names=[f"thing {number}" for number in range(91)])
    with pytest.raises(ValueError, match="COCO weights have 91 classes"):
        detector(**published, class_names=NAMES)


@pytest.fixture(scope="module")
def pets() -> Callable[..., DetectionDataset]:
    """Return `pets(*names)`: two images with one object of each class."""
    file = io.BytesIO()
    Image.new("RGB", SHAPE[:2]).save(file, "PNG")

    class Picture:
        name = "pets.png"

        def read_bytes(self) -> bytes:
            return file.getvalue()

    def make(*names: str) -> DetectionDataset:
        count = len(names)
        boxes = np.tile(np.array([[8, 8, 40, 40]], np.float32), (count, 1))
        rows = (boxes, np.arange(count, dtype=np.int32), np.zeros(count, bool), np.full(count, 1024.0))
        examples = tuple(Example(number, Picture(), *SHAPE[:2], *rows) for number in (1, 2))
        return DetectionDataset("pets", names, tuple(range(7, 7 + count)), examples)

    return make


def fit(model: keras.Model, data: Any, **options: Any) -> None:
    model.compile(keras.optimizers.SGD(0.0), run_eagerly=True)
    model.fit(data, verbose=0, **options)


def test_a_model_without_names_takes_those_of_the_batches_that_it_is_fitted_on(make, pets) -> None:
    model = make(num_classes=3)
    batches = pets(*NAMES).batches(SHAPE[:2], 2)
    assert batches.class_names == list(NAMES)
    fit(model, batches)
    assert (model.class_names, model.category_ids) == (NAMES, (7, 8, 9))
    augmented = pets(*NAMES).batches(SHAPE[:2], 2, augment=True)
    assert (augmented.class_names, augmented.category_ids) == (list(NAMES), (7, 8, 9))


def test_batches_that_number_the_classes_differently_are_refused_before_anything_is_trained(make, pets) -> None:
    model, ours = make(class_names=NAMES), pets(*NAMES).batches(SHAPE[:2], 2)
    other = pets("cat", "dog").batches(SHAPE[:2], 2)
    more = pets(*NAMES, "cow").batches(SHAPE[:2], 2)
    message = r"differently: class 1 is 'dog' in the data, 'größer Vogel' in the model\. .*dataset\.with_classes\("
    for data in ({"data": other}, {"data": ours, "validation_data": other}):
        with pytest.raises(ClassNamesError, match=message):
            fit(model, **data)
    with pytest.raises(ClassNamesError, match=message):
        model.evaluate(other, verbose=0)
    with pytest.raises(ClassNamesError, match="class 3 is 'cow' in the data, None in the model"):
        model.evaluate(more, verbose=0)
    assert int(model.optimizer.iterations) == 0
    renumbered = pets("cat", "dog").with_classes(model.class_names).batches(SHAPE[:2], 2)
    fit(model, ours, validation_data=renumbered)
    assert (model.class_names, model.category_ids) == (NAMES, (7, 8, 9))
    own = make(class_names=NAMES, category_ids=[1, 2, 3])
    fit(own, ours)
    assert own.category_ids == (1, 2, 3)


def test_a_classifier_compares_the_names_of_a_keras_data_set(make, tmp_path: Path) -> None:
    for name in ("cat", "dog"):
        (tmp_path / name).mkdir()
        Image.new("RGB", SHAPE[:2]).save(tmp_path / name / "0.png")
    data = keras.utils.image_dataset_from_directory(tmp_path, batch_size=2, image_size=SHAPE[:2], verbose=False)
    models = [make("classifier", class_names=["dog", "cat"]), make("classifier", 2), make("classifier", 1)]
    for model in models:
        model.compile(keras.optimizers.SGD(0.0), keras.losses.BinaryCrossentropy(), run_eagerly=True)
    with pytest.raises(ClassNamesError, match="class 0 is 'cat' in the data, 'dog' in the model"):
        models[0].evaluate(data, verbose=0)
    with pytest.raises(ClassNamesError, match="class 0 is 'cat' in the data, 'dog' in the model"):
        models[0].fit(data, verbose=0)
    models[1].compile_for_labels(keras.optimizers.SGD(0.0))
    models[1].run_eagerly = True
    models[1].fit(data, verbose=0)
    assert models[1].class_names == ("cat", "dog")
    models[2].class_names = ["is a dog"]
    models[2].fit(data, verbose=0)  # one logit separates the two classes
