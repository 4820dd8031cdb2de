"""Test that the masks of training inputs stay on their pixels, fit their boxes, and are as reproducible as images."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from PIL import Image, ImageDraw

from spinenet_tf.data.augmentation import Augment
from spinenet_tf.data.dataset import DataError, DetectionDataset, Example
from spinenet_tf.data.formats.mask_images import MaskImage
from spinenet_tf.data.images import to_pixels
from spinenet_tf.data.input.augment import mosaic, padded, random_flip, random_scale_crop
from spinenet_tf.data.input.objects import ObjectTable
from spinenet_tf.data.input.pipeline import data_errors, evaluation_batches, training_batches
from spinenet_tf.data.masks import Mask, RunLengthMask

SIZE = (96, 96)
SIDE = 56  # of the cropped masks
SHAPES = st.lists(st.tuples(st.integers(40, 90), st.integers(40, 90)), min_size=4, max_size=4)


def ellipse(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """Return the mask `[height, width]` of an ellipse with a notch, so that a mirrored one differs."""
    picture = Image.new("1", (width, height))
    top, left = rng.uniform(0, height / 2), rng.uniform(0, width / 2)
    bottom, right = top + rng.uniform(16, height - top - 2), left + rng.uniform(16, width - left - 2)
    pen = ImageDraw.Draw(picture)
    pen.ellipse((left, top, right, bottom), fill=1)
    pen.rectangle((left, top, (left + right) / 2 - 3, (top + bottom) / 2 - 3), fill=0)
    return np.asarray(picture)


def example(number: int, path: Path, masks: list[Mask | None]) -> Example:
    """Return an example with one object of the class 0 per mask."""
    boxes = np.array([(0, 0, 9, 9) if mask is None else mask.box for mask in masks], np.float32).reshape(-1, 4)
    count, shape = len(masks), next(mask for mask in masks if mask)
    columns = (np.zeros(count, np.int32), np.zeros(count, bool), np.ones(count, np.float32))
    return Example(number, path, shape.height, shape.width, boxes, *columns, tuple(masks))


def dataset_of(folder: Path, masks: list[np.ndarray]) -> DetectionDataset:
    """Write images that are white where their only object is; return the data set."""
    examples = []
    for number, pixels in enumerate(masks):
        Image.fromarray(np.repeat(pixels[..., None] * np.uint8(255), 3, axis=2)).save(folder / f"{number}.png")
        examples.append(example(number, folder / f"{number}.png", [RunLengthMask.of(pixels)]))
    return DetectionDataset("ellipses", ("ellipse",), (1,), tuple(examples))


@pytest.fixture
def dataset(tmp_path: Path) -> DetectionDataset:
    rng = np.random.default_rng(0)
    return dataset_of(tmp_path, [ellipse(rng, 60, 80), ellipse(rng, 90, 50), ellipse(rng, 64, 64)])


def assert_on_its_pixels(bright: np.ndarray, box: np.ndarray, mask: np.ndarray, scale: float) -> None:
    """Check a mask against an image `[H, W]` in which its object, resized by `scale`, is 1 and the ground is 0.

    A mask reads the middles of pixels of the file, half a pixel after the box's side: see `Mask.crop`.
    """
    rows, columns = (np.linspace(box[axis], box[axis + 2], SIDE) + scale / 2 for axis in (0, 1))
    inside = [np.clip(at.astype(int), 0, side - 1) for at, side in zip((rows, columns), bright.shape, strict=True)]
    seen, found = bright[np.ix_(*inside)] > 0.5, mask > 0.5
    assert (seen != found).mean() < 0.12
    height, width = (box[2:] - box[:2]).tolist()
    area = float(bright[int(box[0]) : int(np.ceil(box[2])), int(box[1]) : int(np.ceil(box[3]))].sum())
    assert float(mask.mean()) * height * width == pytest.approx(area, abs=0.75 * (height + width) * max(1.0, scale))


def objects_of(pixels: np.ndarray) -> tuple[tf.Tensor, dict[str, tf.Tensor], ObjectTable]:
    mask = RunLengthMask.of(pixels)
    one = DetectionDataset("one", ("ellipse",), (1,), (example(1, Path("1.png"), [mask]),))
    table = ObjectTable(one, SIDE)
    return tf.constant(np.repeat(pixels[..., None] * np.uint8(255), 3, axis=2)), table(tf.constant(0, tf.int64)), table


@settings(max_examples=30, deadline=None, phases=(Phase.generate,))
@given(seed=st.integers(0, 2**31 - 1), jitter=st.tuples(st.floats(0.5, 1.0), st.floats(1.0, 2.0)), shapes=SHAPES)
def test_masks_stay_on_their_pixels_through_flip_scale_and_crop(seed, jitter, shapes) -> None:
    image, objects, table = objects_of(ellipse(np.random.default_rng(seed), *shapes[0]))
    turned, objects = random_flip(image, objects, tf.constant([seed, 1]))
    cut, objects = random_scale_crop(turned, objects, *SIZE, *jitter, tf.constant([seed, 2]))
    targets = table.targets(padded(objects, 2))
    assert targets["masks"].shape == (2, SIDE, SIDE)
    assert (targets["masks"][1] == -1).numpy().all()
    (box, _), (mask, _) = targets["boxes"].numpy(), targets["masks"].numpy()
    if len(objects["boxes"]) and (box[2:] - box[:2]).min() >= 8:
        scale = float((objects["windows"][0, 2] - objects["windows"][0, 0]) / (box[2] - box[0]))
        assert_on_its_pixels(to_pixels(cut.numpy())[..., 0] / 255, box, mask, 1 / scale)


@settings(max_examples=10, deadline=None, phases=(Phase.generate,))
@given(seed=st.integers(0, 2**31 - 1), shapes=SHAPES)
def test_masks_stay_on_their_pixels_in_a_mosaic(seed, shapes) -> None:
    rng, parts, masks = np.random.default_rng(seed), [], []
    for number, shape in enumerate(shapes):
        image, objects, _ = objects_of(pixels := ellipse(rng, *shape))
        masks.append(RunLengthMask.of(pixels))
        objects["numbers"] += number
        parts.append(random_flip(image, objects, tf.constant([seed, number])))
    table = ObjectTable(
        DetectionDataset("four", ("e",), (1,), tuple(example(i, Path(f"{i}"), [m]) for i, m in enumerate(masks))), SIDE
    )
    whole, objects = mosaic(parts, 160, 160, 0.7, 1.3, tf.constant([seed, 9]))
    targets = {key: values.numpy() for key, values in table.targets(padded(objects, 4)).items()}
    count = int((targets["classes"] >= 0).sum())
    for box, mask, window in zip(
        *(targets[key][:count] for key in ("boxes", "masks")), objects["windows"], strict=True
    ):
        if (box[2:] - box[:2]).min() >= 8:
            scale = float((box[2] - box[0]) / (window[2] - window[0]))
            assert_on_its_pixels(to_pixels(whole.numpy())[..., 0] / 255, box, mask, scale)


def test_batches_have_masks_that_resume_exactly(dataset: DetectionDataset) -> None:
    options = {"augment": Augment(mosaic=0.5, scale=(0.7, 1.5)), "max_boxes": 6, "mask_size": SIDE}
    whole = list(training_batches(dataset, SIZE, 2, 3, **options).take(6).as_numpy_iterator())
    rest = list(training_batches(dataset, SIZE, 2, 3, start_step=4, **options).take(2).as_numpy_iterator())
    for (images, targets), (again, same) in zip(whole[4:], rest, strict=True):
        np.testing.assert_array_equal(images, again)
        assert sorted(targets) == ["boxes", "classes", "masks"]
        for key in targets:
            np.testing.assert_array_equal(targets[key], same[key])
    for _, targets in whole:
        assert targets["masks"].shape == (2, 6, SIDE, SIDE)
        real = targets["masks"][targets["classes"] >= 0]
        assert ((real >= 0) & (real <= 1)).all()
        assert (targets["masks"][targets["classes"] < 0] == -1).all()


def test_masks_change_neither_images_nor_boxes(dataset: DetectionDataset) -> None:
    options = {"augment": Augment(mosaic=0.5), "max_boxes": 6}
    plain = training_batches(dataset, SIZE, 2, 3, **options).take(3).as_numpy_iterator()
    masked = training_batches(dataset, SIZE, 2, 3, mask_size=SIDE, **options).take(3).as_numpy_iterator()
    for (images, targets), (again, others) in zip(plain, masked, strict=True):
        np.testing.assert_array_equal(images, again)
        for key in ("boxes", "classes"):
            np.testing.assert_array_equal(targets[key], others[key])


def test_evaluation_batches_have_the_masks_of_the_whole_boxes(dataset: DetectionDataset) -> None:
    for batch in (evaluation_batches(dataset, SIZE, 3, mask_size=SIDE), dataset.batches(SIZE, 3, mask_size=SIDE)):
        ((_, targets),) = batch.as_numpy_iterator()
        for masks, each in zip(targets["masks"], dataset, strict=True):
            np.testing.assert_array_equal(masks[0], each.masks[0].crop(each.boxes[0], SIDE))


def test_objects_without_a_mask_are_left_out_with_a_count(
    dataset: DetectionDataset, caplog: pytest.LogCaptureFixture
) -> None:
    first, *others = dataset
    both = replace(dataset, examples=(example(0, first.path, [None, *first.masks]), *others))
    with caplog.at_level(logging.WARNING):
        ((_, targets),) = evaluation_batches(both, SIZE, 3, mask_size=SIDE).as_numpy_iterator()
    assert [record.getMessage() for record in caplog.records] == [
        "ellipses: 1 of 4 objects have no mask, and are left out"
    ]
    np.testing.assert_array_equal(targets["boxes"][0, 0] / targets["scale"][0], first.boxes[0])
    bare = replace(dataset, examples=tuple(replace(each, masks=None) for each in dataset))
    with pytest.raises(DataError, match="ellipses: there are no masks to train on"):
        training_batches(bare, SIZE, 2, 0, mask_size=SIDE)
    with pytest.raises(ValueError, match="`mask_size` must be at least 2"):
        training_batches(dataset, SIZE, 2, 0, mask_size=1)


def test_a_mask_that_cannot_be_decoded_stops_with_the_file(dataset: DetectionDataset, tmp_path: Path) -> None:
    (tmp_path / "mask.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    first, *others = dataset
    broken = replace(first, masks=(MaskImage(first.height, first.width, tmp_path / "mask.png"),))
    batches = evaluation_batches(replace(dataset, examples=(broken, *others)), SIZE, 3, mask_size=SIDE)
    with pytest.raises(DataError, match=r"^.*mask\.png: not a readable image"), data_errors():
        list(batches)
