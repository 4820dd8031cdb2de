"""Test data sets as users meet them: printed, indexed, divided, drawn, and as batches that Keras trains on."""

from __future__ import annotations

import re
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

import spinenet_tf
from spinenet_tf import data
from spinenet_tf.data.dataset import ClassificationDataset, DataError, DetectionDataset

SIZE = (64, 64)


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> ClassificationDataset:
    return data.digit_images(tmp_path_factory.mktemp("images"), "val", scenes=8)


def test_a_data_set_prints_what_it_has(digits: DetectionDataset, images: ClassificationDataset) -> None:
    boxes = sum(len(example.boxes) for example in digits)
    names = ", ".join(repr(str(digit)) for digit in range(10))
    assert repr(digits) == f"<DetectionDataset 'annotations': 12 images, {boxes} boxes, 10 classes: {names}>"
    assert re.fullmatch(
        r"<ClassificationDataset 'digit-images-val-8-seed0': \d+ images, 10 classes: '0', .*>", repr(images)
    )


def test_indices_give_examples_and_slices_give_data_sets(digits: DetectionDataset) -> None:
    assert digits[1] is digits.examples[1]
    assert digits[-1] is digits.examples[11]
    part = digits[2:5]
    assert isinstance(part, DetectionDataset)
    assert part.examples == digits.examples[2:5]
    assert digits.take([4, 2]).examples == (digits[4], digits[2])
    assert (part.class_names, part.max_pixels) == (digits.class_names, digits.max_pixels)
    with pytest.raises(IndexError):
        digits[12]


def test_a_split_has_every_image_once_and_depends_on_the_seed(digits: DetectionDataset) -> None:
    for fraction, count in ((0.25, 3), (0.5, 6)):
        training, validation = digits.split(fraction, seed=1)
        assert len(validation) == count
        ids = [[example.image_id for example in part] for part in (training, validation)]
        assert ids[0] == sorted(ids[0])
        assert sorted(ids[0] + ids[1]) == [example.image_id for example in digits]
    again, other = (digits.split(0.5, seed=seed)[1].examples for seed in (1, 2))
    assert again == validation.examples != other
    for fraction in (0.0, 0.01, 0.99, 1.0):
        with pytest.raises(ValueError, match=f"Both parts need images. Received: fraction={fraction} of 12 images"):
            digits.split(fraction)


def test_two_data_sets_can_have_the_same_class_numbers(digits: DetectionDataset) -> None:
    names = ("new", *reversed(digits.class_names))
    renumbered = digits.with_classes(names)
    assert renumbered.class_names == names
    for ours, theirs in zip(renumbered, digits, strict=True):
        assert [names[label] for label in ours.classes] == [digits.class_names[label] for label in theirs.classes]
    with pytest.raises(DataError, match="it has classes that are not in '0', '1'"):
        digits.with_classes(("0", "1"))


@pytest.mark.parametrize("kind", ["digits", "images"])
def test_pictures_of_one_image_and_of_many(kind: str, request: pytest.FixtureRequest) -> None:
    dataset = request.getfixturevalue(kind)
    picture = dataset.draw(3)
    plain = data.read_image(dataset[3].path)
    assert picture.width % plain.shape[1] == picture.height % plain.shape[0] == 0  # enlarged by a whole factor
    shown = np.asarray(picture.resize((plain.shape[1], plain.shape[0]), resample=0), int)
    assert 0 < (np.abs(shown - plain).max(axis=-1) > 60).mean() < 0.9  # boxes and labels, not another image
    sheet = dataset.sheet(count=6, columns=3)
    assert sheet.width > 3 * 300
    assert sheet._repr_png_()[:4] == b"\x89PNG"  # a notebook shows it
    with pytest.raises(DataError, match="has no images"):
        dataset[:0].sheet()
    for fault in ({"count": 0}, {"columns": 0}):
        with pytest.raises(ValueError, match="Received: "):
            dataset.sheet(**fault)


def all_of(batches: tf.data.Dataset) -> list[tuple]:
    return list(batches.as_numpy_iterator())


def test_batches_for_validation_are_all_images_in_order_with_their_boxes(digits: DetectionDataset) -> None:
    batches = digits.batches(SIZE, 5)
    assert int(batches.cardinality()) == 3
    for _ in range(2):
        found = all_of(batches)
        assert [len(images) for images, _ in found] == [5, 5, 2]
        ids = np.concatenate([targets["image_id"] for _, targets in found])
        assert ids.tolist() == [example.image_id for example in digits]
        boxes = sum(int((targets["classes"] >= 0).sum()) for _, targets in found)
        assert boxes == sum(len(example.boxes) for example in digits)


def test_batches_for_training_are_epochs_which_the_seed_determines(digits: DetectionDataset) -> None:
    def passes(**options) -> list[np.ndarray]:
        batches = digits.batches(SIZE, 5, augment=True, **options)
        assert int(batches.cardinality()) == 2
        return [np.stack([images for images, _ in batches.as_numpy_iterator()]) for _ in range(2)]

    first, again, other = passes(), passes(), passes(seed=1)
    assert first[0].shape == (2, 5, *SIZE, 3)
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first[0], first[1])
    assert not np.array_equal(first[0], other[0])


def test_epochs_are_those_of_the_recipe(digits: DetectionDataset) -> None:
    from spinenet_tf.data.input.pipeline import training_batches

    augment = data.Augment(flip=False, color_jitter=0.4)
    batches = digits.batches(SIZE, 4, augment=augment, seed=3, max_boxes=7)
    ours = [images for _ in range(2) for images, _ in batches.as_numpy_iterator()]
    recipe = training_batches(digits, SIZE, 4, seed=3, augment=augment, max_boxes=7)
    np.testing.assert_array_equal(ours, [images for images, _ in recipe.take(6).as_numpy_iterator()])


def test_batches_of_images_have_labels(images: ClassificationDataset) -> None:
    found = all_of(images.batches(SIZE, 4, center=0.5))
    assert np.concatenate([labels for _, labels in found]).tolist() == [example.label for example in images]
    batches = images.batches(SIZE, 4, augment=data.Augment(area=(0.5, 1.0)))
    assert int(batches.cardinality()) == len(all_of(batches)) == len(images) // 4
    epochs = [np.concatenate([labels for _, labels in all_of(batches)]) for _ in range(2)]
    assert not np.array_equal(*epochs)


def test_options_of_the_other_task_and_other_objects_are_refused(digits, images) -> None:
    with pytest.raises(ValueError, match="`area` has no effect in detection"):
        digits.batches(SIZE, 2, augment=data.Augment(area=(0.5, 1.0)))
    with pytest.raises(ValueError, match="`mosaic` has no effect in classification"):
        images.batches(SIZE, 2, augment=data.Augment(mosaic=0.5))
    for dataset in (digits, images):
        with pytest.raises(ValueError, match=r"must be an Augment, True or None\. Received: augment='flip'"):
            dataset.batches(SIZE, 2, augment="flip")
        with pytest.raises(ValueError, match="`limit` must be at least 0"):
            dataset.batches(SIZE, 2, augment=True, max_bad_images=-1)


def test_fit_needs_no_steps_and_validates(digits: DetectionDataset, three_blocks) -> None:
    detector = spinenet_tf.detector(three_blocks, 10, (*SIZE, 3), max_level=5, endpoint=8, head_depth=1, head_width=8)
    detector.compile(keras.optimizers.SGD(0.001))
    steps = []
    counted = keras.callbacks.LambdaCallback(on_train_batch_end=lambda batch, logs: steps.append(batch))
    training, validation = digits.split(0.25)
    history = detector.fit(
        training.batches(SIZE, 2, augment=True),
        epochs=3,
        validation_data=validation.batches(SIZE, 2),
        callbacks=[counted],
        verbose=0,
        shuffle=False,
    )
    assert steps == [0, 1, 2, 3] * 3
    assert np.isfinite(history.history["loss"]).all()
    assert len(history.history["val_loss"]) == 3
    assert detector.predict(validation.batches(SIZE, 2), verbose=0)["boxes"].shape[0] == len(validation)
    losses = detector.evaluate(validation.batches(SIZE, 2), verbose=0, return_dict=True)
    np.testing.assert_allclose(losses["loss"], history.history["val_loss"][-1], rtol=1e-5)


def test_bad_files_are_skipped_in_training_up_to_a_fraction(tmp_path: Path) -> None:
    dataset = data.digits(tmp_path, scenes=8, classes=1)
    Path(str(dataset[2].path)).write_bytes(b"no image")
    batches = dataset.batches(SIZE, 2, augment=True, max_bad_images=0.2)
    assert len(all_of(batches)) == 4
    with pytest.raises(tf.errors.InvalidArgumentError, match="1 of 8 images are bad"):
        all_of(dataset.batches(SIZE, 2, augment=True))
    with pytest.raises(tf.errors.InvalidArgumentError, match=r"000003\.jpg: not a readable image"):
        all_of(dataset.batches(SIZE, 2))
