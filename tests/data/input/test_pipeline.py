"""Test that detection batches suit `fit`, depend only on their arguments, and report bad files in one line."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from spinenet_tf.data.augmentation import Augment
from spinenet_tf.data.dataset import DataError, DetectionDataset, Example
from spinenet_tf.data.fitting import preprocess
from spinenet_tf.data.images import read_image
from spinenet_tf.data.input.pipeline import check_images, data_errors, evaluation_batches, training_batches

SIZE = (48, 64)
PLAIN = Augment(flip=False, scale=(1.0, 1.0))
VARIED = Augment(color_jitter=0.3, rand_augment=2, mosaic=0.5)


@pytest.fixture
def dataset(tmp_path: Path) -> DetectionDataset:
    """Return five noise images of different sizes with 0, 1, 2, 3 and 4 boxes; the last box of each is a crowd."""
    rng = np.random.default_rng(0)
    return DetectionDataset("noise", ("a", "b"), (1, 5), tuple(_example(rng, tmp_path, i) for i in range(5)))


def _example(rng: np.random.Generator, folder: Path, number: int) -> Example:
    height, width = (int(side) for side in rng.integers(30, 90, 2))
    path = folder / f"{number}.png"
    Image.fromarray(rng.integers(0, 256, (height, width, 3), np.uint8)).save(path)
    corners = np.sort(rng.uniform(0, 1, (number, 2, 2)), axis=1).reshape(number, 4)
    boxes = (corners * [height, width, height, width]).astype(np.float32)
    classes = np.arange(number, dtype=np.int32) % 2
    crowd = np.arange(number) == number - 1
    return Example(2**40 + number, path, height, width, boxes, classes, crowd, np.ones(number, np.float32))


def take(batches: tf.data.Dataset, count: int) -> list[tuple]:
    return list(batches.take(count).as_numpy_iterator())


def assert_same(a: list[tuple], b: list[tuple]) -> None:
    assert len(a) == len(b) > 0
    for (images, targets), (other_images, other_targets) in zip(a, b, strict=True):
        np.testing.assert_array_equal(images, other_images)
        assert targets.keys() == other_targets.keys()
        for name in targets:
            np.testing.assert_array_equal(targets[name], other_targets[name])


def test_training_batches_have_static_shapes_and_contract_types(dataset: DetectionDataset) -> None:
    images, targets = training_batches(dataset, SIZE, 3, seed=0, max_boxes=7).element_spec
    assert (images.shape, images.dtype) == ((3, *SIZE, 3), tf.float32)
    assert {name: (spec.shape, spec.dtype) for name, spec in targets.items()} == {
        "boxes": ((3, 7, 4), tf.float32),
        "classes": ((3, 7), tf.int32),
    }


def test_training_is_a_function_of_its_seed(dataset: DetectionDataset) -> None:
    first = take(training_batches(dataset, SIZE, 2, seed=3), 6)
    assert_same(first, take(training_batches(dataset, SIZE, 2, seed=3), 6))
    assert_same(first, take(training_batches(dataset, SIZE, 2, seed=3, cache=True), 6))
    other = take(training_batches(dataset, SIZE, 2, seed=4), 6)
    assert any(not np.array_equal(a[0], b[0]) for a, b in zip(first, other, strict=True))


def test_a_resumed_stream_goes_on_where_the_first_one_stopped(dataset: DetectionDataset) -> None:
    whole = take(training_batches(dataset, SIZE, 2, seed=0), 8)
    assert_same(whole[5:], take(training_batches(dataset, SIZE, 2, seed=0, start_step=5), 3))


def test_shares_of_a_batch_make_up_the_batch(dataset: DetectionDataset) -> None:
    whole = take(training_batches(dataset, SIZE, 4, seed=0, start_step=1), 3)
    parts = [take(training_batches(dataset, SIZE, 4, seed=0, start_step=1, share=(i, 2)), 3) for i in (0, 1)]
    joined = [
        (np.concatenate([a[0], b[0]]), {name: np.concatenate([a[1][name], b[1][name]]) for name in a[1]})
        for a, b in zip(*parts, strict=True)
    ]
    assert_same(whole, joined)
    with pytest.raises(ValueError, match="must be divisible by the number of parts"):
        training_batches(dataset, SIZE, 4, seed=0, share=(0, 3))


def test_all_variation_together_is_a_function_of_seed_and_step(dataset: DetectionDataset) -> None:
    whole = take(training_batches(dataset, SIZE, 2, seed=3, augment=VARIED), 8)
    rest = training_batches(dataset, SIZE, 2, seed=3, start_step=5, cache=True, augment=VARIED)
    assert_same(whole[5:], take(rest, 3))
    for images, targets in whole:
        assert np.isfinite(images).all()
        assert np.isfinite(targets["boxes"]).all()
        boxes, real = targets["boxes"], targets["classes"] >= 0
        assert (boxes[real][:, 2:] > boxes[real][:, :2]).all()
        assert not boxes[~real].any()


def test_colors_vary_by_as_much_as_is_asked_and_boxes_stay(dataset: DetectionDataset) -> None:
    plain = take(training_batches(dataset, SIZE, 2, seed=3), 3)
    colored = take(training_batches(dataset, SIZE, 2, seed=3, augment=Augment(color_jitter=0.3)), 3)
    assert_same([({}, targets) for _, targets in plain], [({}, targets) for _, targets in colored])
    assert any(np.abs(a[0] - b[0]).max() > 0.1 for a, b in zip(plain, colored, strict=True))
    weak = Augment(magnitude=1.0)  # without an operation
    assert_same(plain, take(training_batches(dataset, SIZE, 2, seed=3, augment=weak), 3))


def test_mosaics_show_the_boxes_of_four_images(dataset: DetectionDataset) -> None:
    """The data set has two images with one box each: a single image yields one box, a mosaic four."""
    picked = tuple(dataclasses.replace(e, boxes=e.boxes[:1], crowd=np.zeros(1, bool)) for e in dataset.examples[3:])
    examples = tuple(dataclasses.replace(e, classes=np.array([i], np.int32)) for i, e in enumerate(picked))
    two = dataclasses.replace(dataset, examples=examples)
    for fraction, counts in ((0.0, {1}), (1.0, {4}), (0.5, {1, 4})):
        augment = dataclasses.replace(PLAIN, mosaic=fraction)
        batches = take(training_batches(two, SIZE, 1, seed=0, augment=augment), 12)
        assert {int((targets["classes"] >= 0).sum()) for _, targets in batches} == counts
        assert {int(label) for _, targets in batches for label in targets["classes"].ravel()} == {-1, 0, 1}


def test_an_image_of_a_mosaic_that_does_not_decode_surfaces_in_one_line(dataset: DetectionDataset) -> None:
    path = dataset.examples[2].path
    path.write_bytes(path.read_bytes()[:500])
    with pytest.raises(DataError, match=r"2\.png: the image cannot be decoded"), data_errors():
        take(training_batches(dataset, SIZE, 2, 0, augment=Augment(mosaic=1.0)), 5)


def test_every_epoch_shows_every_image_once_in_another_order(dataset: DetectionDataset) -> None:
    seen = [image for images, _ in take(training_batches(dataset, SIZE, 1, 0, augment=PLAIN), 20) for image in images]
    known = [preprocess(read_image(e.path), *SIZE)[0].numpy() for e in dataset]
    order = [int(np.argmin([np.abs(image - k).sum() for k in known])) for image in seen]
    epochs = [order[i : i + 5] for i in range(0, 20, 5)]
    assert all(sorted(epoch) == [0, 1, 2, 3, 4] for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) > 1


def test_epochs_are_augmented_differently(dataset: DetectionDataset) -> None:
    one = dataclasses.replace(dataset, examples=dataset.examples[2:3])
    a, b = take(training_batches(one, SIZE, 1, seed=0), 2)
    assert not np.array_equal(a[0], b[0])


def test_unaugmented_training_boxes_are_the_trainable_ones_scaled(dataset: DetectionDataset) -> None:
    one = dataclasses.replace(dataset, examples=dataset.examples[4:])
    ((_, targets),) = take(training_batches(one, SIZE, 1, 0, augment=PLAIN, max_boxes=6), 1)
    example = one.examples[0]
    scale = min(SIZE[0] / example.height, SIZE[1] / example.width)
    np.testing.assert_allclose(targets["boxes"][0, :3], example.boxes[:3] * scale, rtol=1e-5)
    assert targets["classes"][0].tolist() == [0, 1, 0, -1, -1, -1]


def test_more_boxes_than_rows_are_cut_with_a_warning(
    dataset: DetectionDataset, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        training_batches(dataset, SIZE, 1, 0, max_boxes=2)
    assert [record.getMessage() for record in caplog.records] == ["noise: 1 images have more than max_boxes=2 boxes"]


def test_evaluation_goes_through_the_images_in_order_with_a_partial_last_batch(dataset: DetectionDataset) -> None:
    batches = take(evaluation_batches(dataset, SIZE, 2), 9)
    assert [len(images) for images, _ in batches] == [2, 2, 1]
    joined = {name: np.concatenate([targets[name] for _, targets in batches]) for name in batches[0][1]}
    assert joined["image_id"].tolist() == [e.image_id for e in dataset]
    assert joined["size"].tolist() == [[e.height, e.width] for e in dataset]
    for row, example in enumerate(dataset):
        count = example.trainable.sum()
        boxes = joined["boxes"][row] / joined["scale"][row]
        np.testing.assert_allclose(boxes[:count], example.boxes[:count], rtol=1e-4, atol=1e-3)
        assert joined["classes"][row].tolist() == [*example.classes[:count], *[-1] * (3 - count)]


def test_boxes_of_stretched_images_have_a_scale_for_each_axis(dataset: DetectionDataset) -> None:
    batches = take(evaluation_batches(dataset, SIZE, 1, stretch=True), 5)
    for (image, targets), example in zip(batches, dataset, strict=True):
        pixels, scale = preprocess(read_image(example.path), *SIZE, stretch=True)
        np.testing.assert_allclose(image[0], pixels, atol=1e-6)
        np.testing.assert_array_equal(targets["scale"], scale[None])
        boxes, count = targets["boxes"][0] / np.tile(scale, 2), example.trainable.sum()
        np.testing.assert_allclose(boxes[:count], example.boxes[example.trainable], rtol=1e-4, atol=1e-3)


def test_evaluation_images_are_preprocess_and_cache_changes_nothing(dataset: DetectionDataset) -> None:
    plain = take(evaluation_batches(dataset, SIZE, 3), 9)
    assert_same(plain, take(evaluation_batches(dataset, SIZE, 3, cache=True), 9))
    for image, example in zip(np.concatenate([images for images, _ in plain]), dataset, strict=True):
        np.testing.assert_allclose(image, preprocess(read_image(example.path), *SIZE)[0], atol=1e-6)


def test_images_without_any_box_make_batches(dataset: DetectionDataset) -> None:
    few = dataclasses.replace(dataset, examples=dataset.examples[:3])  # no box, one crowd, and a box beside a crowd
    ((_, targets),) = take(training_batches(few, SIZE, 3, 0, max_boxes=3), 1)
    assert sorted((targets["classes"] >= 0).sum(axis=1)) == [0, 0, 1]
    empty = dataclasses.replace(dataset, examples=dataset.examples[:2])
    ((_, targets),) = take(evaluation_batches(empty, SIZE, 2), 1)
    assert (targets["classes"] == -1).all()


def test_an_image_that_does_not_decode_surfaces_in_one_line(dataset: DetectionDataset) -> None:
    path = dataset.examples[2].path
    path.write_bytes(path.read_bytes()[:500])
    with pytest.raises(DataError, match=r"2\.png: the image cannot be decoded") as caught, data_errors():
        list(evaluation_batches(dataset, SIZE, 2))
    assert "\n" not in str(caught.value)
    with pytest.raises(DataError, match=r"2\.png"):
        training_batches(dataset, SIZE, 2, 0, cache=True)


def test_other_errors_pass_through_unchanged() -> None:
    with pytest.raises(tf.errors.InvalidArgumentError, match="mine"), data_errors():
        raise tf.errors.InvalidArgumentError(None, None, "mine")


def test_sizes_that_differ_from_the_annotations_are_refused(dataset: DetectionDataset) -> None:
    check_images(dataset)
    wrong = dataclasses.replace(dataset.examples[0], height=dataset.examples[0].height + 1)
    broken = dataclasses.replace(dataset, examples=(wrong, *dataset.examples[1:]))
    with pytest.raises(DataError, match=r"0\.png: the image is \d+ x \d+ pixels .* annotations say"):
        check_images(broken)
    with pytest.raises(DataError, match="annotations say"), data_errors():
        list(evaluation_batches(broken, SIZE, 2))


@pytest.mark.parametrize(
    "arguments",
    [
        {"batch_size": 0},
        {"image_size": (0, 64)},
        {"image_size": 64},
        {"image_size": (64, 64, 3)},
        {"max_boxes": 0},
        {"augment": Augment(area=(0.5, 1.0))},
    ],
)
def test_arguments_out_of_range_are_refused(dataset: DetectionDataset, arguments: dict) -> None:
    with pytest.raises(ValueError, match="Received: "):
        training_batches(dataset, **({"image_size": SIZE, "batch_size": 1, "seed": 0} | arguments))


def test_an_empty_data_set_is_refused() -> None:
    nothing = DetectionDataset("nothing", ("a",), (1,), ())
    with pytest.raises(DataError, match="nothing: the data set has no images"):
        evaluation_batches(nothing, SIZE, 1)


def _only(dataset: DetectionDataset, change: Callable[[Example], Example]) -> DetectionDataset:
    return dataclasses.replace(dataset, examples=tuple(map(change, dataset)))


def test_what_no_detector_can_learn_from_is_refused(dataset: DetectionDataset) -> None:
    crowds = _only(dataset, lambda example: dataclasses.replace(example, crowd=np.ones_like(example.crowd)))
    fractions = _only(dataset, lambda example: dataclasses.replace(example, boxes=example.boxes / 100))
    bare = dataclasses.replace(dataset, examples=dataset.examples[:1])
    for unfit, message in (
        (crowds, "noise: there are no objects to train on"),
        (bare, "noise: there are no objects to train on"),
        (fractions, "noise: all boxes lie within the first pixel of their images"),
    ):
        with pytest.raises(DataError, match=message):
            training_batches(unfit, SIZE, 2, seed=0)
        take(evaluation_batches(unfit, SIZE, 2), 1)
