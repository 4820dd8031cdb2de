"""Test classification batches: valid crops of images of any size, determined by the seed, and fixed in evaluation."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from spinenet_tf.data.augmentation import Augment
from spinenet_tf.data.dataset import ClassificationDataset, ClassificationExample, DataError
from spinenet_tf.data.formats.digit_images import cut_objects
from spinenet_tf.data.formats.digits import digits
from spinenet_tf.data.formats.image_folder import read_image_folder
from spinenet_tf.data.images import normalize, read_size
from spinenet_tf.data.input.class_pipeline import (
    central_crop,
    check_images,
    evaluation_batches,
    random_resized_crop,
    training_batches,
)
from spinenet_tf.data.input.pipeline import data_errors

SIZE = (24, 32)


@pytest.fixture
def dataset(tmp_path: Path) -> ClassificationDataset:
    """Return five images of three classes, each with a different gray level."""
    examples = []
    for number in range(5):
        path = tmp_path / f"{number}.png"
        Image.fromarray(np.full((20 + 9 * number, 50, 3), 50 * number, np.uint8)).save(path)
        examples.append(ClassificationExample(path, number % 3))
    return ClassificationDataset("grays", ("a", "b", "c"), tuple(examples))


def take(batches: tf.data.Dataset, count: int) -> list[tuple[np.ndarray, np.ndarray]]:
    return list(batches.take(count).as_numpy_iterator())


def gray(number: int) -> np.ndarray:
    return normalize(np.full(3, 50 * number)).numpy()


def numbers_of(images: np.ndarray) -> list[int]:
    """Return the numbers of a batch's images, identified by the gray level of their centers."""
    levels = np.stack([gray(number) for number in range(5)])
    return [int(np.abs(levels - image[12, 16]).sum(axis=1).argmin()) for image in images]


def test_labels_stay_with_their_images_and_every_epoch_shows_all(dataset) -> None:
    batches = take(training_batches(dataset, SIZE, 5, seed=0), 4)
    assert training_batches(dataset, SIZE, 5, seed=0).element_spec[0].shape == (5, *SIZE, 3)
    for images, labels in batches:
        assert images.dtype == np.float32
        numbers = numbers_of(images)
        assert sorted(numbers) == [0, 1, 2, 3, 4]
        assert labels.tolist() == [number % 3 for number in numbers]
    assert len({tuple(labels) for _, labels in batches}) > 1


def test_the_stream_is_a_function_of_seed_and_step(dataset) -> None:
    varied = {"augment": Augment(color_jitter=0.4, rand_augment=1)}
    whole = take(training_batches(dataset, SIZE, 2, seed=3, **varied), 6)
    for other in (
        training_batches(dataset, SIZE, 2, seed=3, cache=True, **varied),
        training_batches(dataset, SIZE, 2, seed=3, start_step=4, **varied),
    ):
        rest = take(other, 2)
        for mine, theirs in zip(rest, whole[:2] if np.array_equal(rest[0][0], whole[0][0]) else whole[4:], strict=True):
            np.testing.assert_array_equal(mine[0], theirs[0])
            np.testing.assert_array_equal(mine[1], theirs[1])
    other = take(training_batches(dataset, SIZE, 2, seed=4, **varied), 6)
    assert any(not np.array_equal(a[0], b[0]) for a, b in zip(whole, other, strict=True))


def test_evaluation_goes_through_the_images_in_order_with_a_partial_last_batch(dataset) -> None:
    batches = take(evaluation_batches(dataset, SIZE, 2), 9)
    assert [len(labels) for _, labels in batches] == [2, 2, 1]
    images, labels = (np.concatenate(parts) for parts in zip(*batches, strict=True))
    assert labels.tolist() == [0, 1, 2, 0, 1]
    for number, image in enumerate(images):
        np.testing.assert_allclose(image, np.broadcast_to(gray(number), (*SIZE, 3)), atol=1e-5)


@settings(max_examples=60)
@given(
    height=st.integers(1, 90),
    width=st.integers(1, 90),
    low=st.floats(0.01, 1.0),
    seed=st.integers(0, 2**31),
    center=st.floats(0.05, 1.0),
)
def test_any_image_gives_a_finite_crop_of_the_networks_size(height, width, low, seed, center) -> None:
    image = np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)
    bounds = normalize(np.array([[image.min()] * 3, [image.max()] * 3])).numpy()
    for crop in (
        random_resized_crop(tf.constant(image), *SIZE, (low, 1.0), tf.constant([seed, 1])),
        central_crop(image, *SIZE, center),
    ):
        assert crop.shape == (*SIZE, 3)
        assert ((crop >= bounds[0] - 1e-4) & (crop <= bounds[1] + 1e-4)).numpy().all()


def test_a_random_crop_has_an_area_in_the_range_and_moves() -> None:
    """The image encodes row and column as red and green, so a crop shows its position."""
    rows, columns = np.mgrid[0:200, 0:200].astype(np.uint8)
    image = tf.constant(np.stack([rows, columns, rows], axis=-1))
    places = []
    for seed in range(30):
        crop = random_resized_crop(image, 32, 32, (0.2, 0.5), tf.constant([seed, 0])).numpy()
        pixels = crop * (255 * np.array([0.229, 0.224, 0.225])) + 255 * np.array([0.485, 0.456, 0.406])
        height, width = np.ptp(pixels[:, 0, 0]) * 32 / 31, np.ptp(pixels[0, :, 1]) * 32 / 31
        assert 0.18 < height * width / 200**2 < 0.54
        assert 0.7 < width / height < 1.45
        places.append((pixels[0, 0, 0], pixels[0, 0, 1]))
    assert np.ptp(places, axis=0).min() > 50


def test_the_central_crop_keeps_the_shape_of_things() -> None:
    image = np.zeros((100, 200, 3), np.uint8)
    image[40:60, 90:110] = 255
    crop = central_crop(image, 64, 64, 0.8).numpy()[..., 0] > 0
    rows, columns = np.flatnonzero(crop.any(axis=1)), np.flatnonzero(crop.any(axis=0))
    assert len(rows) == len(columns) == 16, "20 px of the middle 80 at 64 px"
    assert rows[0] == columns[0] == 24


def test_faults_are_told_in_one_line(dataset, tmp_path: Path) -> None:
    check_images(dataset)
    path = dataset.examples[2].path
    path.write_bytes(path.read_bytes()[:60])
    with pytest.raises(DataError, match=r"2\.png: the image cannot be decoded"), data_errors():
        take(evaluation_batches(dataset, SIZE, 2), 3)
    path.unlink()
    with pytest.raises(DataError, match=r"2\.png: no such image file"):
        check_images(dataset)
    with pytest.raises(DataError, match="nothing: the data set has no images"):
        training_batches(ClassificationDataset("nothing", ("a",), ()), SIZE, 1, 0)


@pytest.mark.parametrize(
    "fault", [{"batch_size": 0}, {"image_size": (0, 9)}, {"image_size": 9}, {"augment": Augment(mosaic=0.5)}]
)
def test_arguments_out_of_range_are_refused(dataset, fault: dict) -> None:
    with pytest.raises(ValueError, match="Received: "):
        training_batches(dataset, **({"image_size": SIZE, "batch_size": 1, "seed": 0} | fault))


def test_objects_are_cut_out_with_their_surroundings(tmp_path: Path) -> None:
    scenes = digits(tmp_path, "val", scenes=6)
    cut_objects(scenes, tmp_path / "cut")
    images = read_image_folder(tmp_path / "cut")
    labels = np.concatenate([example.classes for example in scenes])
    assert images.class_names == scenes.class_names
    assert sorted(example.label for example in images) == sorted(labels)
    sides = sorted(max(read_size(example.path)) for example in images)
    boxes = np.concatenate([example.boxes for example in scenes])
    longest = sorted((boxes[:, 2:] - boxes[:, :2]).max(axis=1) * 1.3)
    np.testing.assert_allclose(sides, longest, atol=2.1)
