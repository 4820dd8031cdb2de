"""Turn a `DetectionDataset` into `tf.data` batches for training and evaluation."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from typing import Any

import tensorflow as tf

from spinenet_tf.data.augmentation import Augment
from spinenet_tf.data.bad_images import BadImages
from spinenet_tf.data.collection import Collection
from spinenet_tf.data.dataset import DataError, DetectionDataset, Example, ImageError
from spinenet_tf.data.fitting import preprocess
from spinenet_tf.data.images import MAX_PIXELS, read_size
from spinenet_tf.data.input.augment import Part, padded
from spinenet_tf.data.input.augmenter import Augmenter
from spinenet_tf.data.input.objects import ObjectTable
from spinenet_tf.data.input.reader import Reader, check_size, read_example
from spinenet_tf.data.input.stream import TrainingInput, endless_batches, ordered_batches

logger = logging.getLogger(__name__)


def training_batches(
    dataset: DetectionDataset,
    image_size: tuple[int, int],
    batch_size: int,
    seed: int,
    start_step: int = 0,
    share: tuple[int, int] = (0, 1),
    **options: Any,
) -> tf.data.Dataset:
    """Yield shuffled, augmented batches `(images, {"boxes": boxes, "classes": classes})`, as an endless stream.

    Images are `[B, H, W, 3]` float32 normalized; boxes `[B, max_boxes, 4]` yxyx pixels of the input, without crowds;
    classes `[B, max_boxes]` int32, -1 for padding. The stream depends only on the arguments, so skipping `start_step`
    batches resumes exactly, and iterating again yields the same batches. Call `fit` with `steps_per_epoch`.

    `share` (number, count) yields only one of `count` equal parts of each batch, `[batch_size / count, ...]`, for
    data-parallel training in several processes. `options` and errors are those of `training_input`.
    """
    example = training_input(dataset, image_size, batch_size, seed, **options)
    return endless_batches(example, len(dataset), batch_size, seed, start_step, share)


def training_input(
    dataset: DetectionDataset,
    image_size: tuple[int, int],
    batch_size: int,
    seed: int,
    augment: Augment = Augment(),
    max_boxes: int = 100,
    cache: bool = False,
    bad: BadImages | None = None,
    mask_size: int | None = None,
) -> TrainingInput:
    """Return a graph function from `(counter, index)` to an augmented image and its targets, one row of a batch.

    `cache` decodes all images now and keeps them in memory, 3 bytes per pixel. With `bad`, the next image of the data
    set replaces a bad one, until too many are bad. With `mask_size`, the targets also have "masks"
    `[max_boxes, mask_size, mask_size]` float32 in 0..1, cropped to the boxes and resized (see `Mask.crop`), -1 for
    padding; objects without a mask are left out, with a warning.

    Raises:
        DataError: as `check_trainable` and `check_masks` do, or the data set is empty or, with `cache`, an image cannot
            be decoded. Without `cache`, iteration raises this error: see `data_errors`.
        ValueError: an argument is out of range.
    """
    check_sizes(dataset, image_size, batch_size, max_boxes)
    augment.check_task("detection")
    check_trainable(dataset)
    _warn_of_cut_boxes(dataset, max_boxes)
    objects = ObjectTable(dataset, mask_size)
    read = _reader(dataset, objects, cache, bad)
    return Augmenter(read, len(dataset), image_size, seed, augment, max_boxes, objects.targets).example


def evaluation_batches(
    dataset: DetectionDataset,
    image_size: tuple[int, int],
    batch_size: int,
    cache: bool = False,
    stretch: bool = False,
    mask_size: int | None = None,
) -> tf.data.Dataset:
    """Yield the images once, in order, preprocessed by `preprocess`; the last batch may be smaller.

    Yields `[B, H, W, 3]` images and a dict: `boxes` `[B, N, 4]` yxyx pixels of the input, `classes` `[B, N]` and, with
    `mask_size`, `masks` as in training (N is the largest number in the data set), `image_id` `[B]` int64, `scale` as
    `preprocess` returns it, `[B]` or `[B, 2]`, and `size` `[B, 2]` int32, height and width of the file. Raises as
    `training_batches` does.
    """
    check_sizes(dataset, image_size, batch_size)
    objects = ObjectTable(dataset, mask_size)
    read, rows = _reader(dataset, objects, cache), max(1, objects.most)
    ids = tf.constant([example.image_id for example in dataset], tf.int64)
    sizes = tf.constant([(example.height, example.width) for example in dataset], tf.int32)

    def example(index: tf.Tensor) -> tuple[tf.Tensor, dict[str, tf.Tensor]]:
        image, found = read(index)
        image, scale = preprocess(image, *image_size, stretch)
        found["boxes"] *= tf.tile(tf.broadcast_to(scale, [2]), [2])
        targets = objects.targets(padded(found, rows))
        return image, targets | {"image_id": ids[index], "scale": scale, "size": sizes[index]}

    return ordered_batches(example, len(dataset), batch_size)


def check_trainable(dataset: DetectionDataset) -> None:
    """Raise DataError if a data set has no objects except crowds, or if its boxes are fractions instead of pixels.

    Typical causes are labels in an unexpected folder, and relative coordinates in a format that uses pixels.
    """
    boxes = [example.boxes[example.trainable] for example in dataset]
    if not any(map(len, boxes)):
        raise DataError(f"{dataset.name}: there are no objects to train on")
    if all((own <= 1).all() for own in boxes):
        raise DataError(
            f"{dataset.name}: all boxes lie within the first pixel of their images; they seem to be fractions of the "
            "image size, but must be in pixels"
        )


def check_sizes(dataset: Collection, image_size: Sequence[int], batch_size: int, max_boxes: int = 1) -> None:
    """Raise DataError if a data set has no images, and ValueError if one of the sizes is invalid."""
    if not len(dataset):
        raise DataError(f"{dataset.name}: the data set has no images")
    if not isinstance(image_size, Sequence) or len(image_size) != 2:
        raise ValueError(f"`image_size` must be (height, width). Received: {image_size=}")
    if batch_size < 1 or max_boxes < 1 or min(image_size) < 1:
        raise ValueError(f"Sizes must be positive. Received: {image_size=}, {batch_size=}, {max_boxes=}")


def check_images(dataset: DetectionDataset, bad: BadImages | None = None) -> None:
    """Compare the size in every image's header with the annotations, without decoding.

    Raises DataError for the first file that is missing, unreadable, too large, or of another size. With `bad`, these
    files are recorded there, and only too many of them raise DataError.
    """
    check_all(dataset.examples, partial(check_image, max_pixels=dataset.max_pixels), bad)


def check_all(examples: Sequence[Any], check: Callable[[Any], object], bad: BadImages | None) -> None:
    """Call `check` with every example, in parallel; with `bad`, record images that fail."""
    if bad is not None:
        bad.count_among(example.path for example in examples)
    with ThreadPoolExecutor() as threads:
        checks = [threads.submit(check, example) for example in examples]
        for example, done in zip(examples, checks, strict=True):
            try:
                done.result()
            except ImageError as error:
                if bad is None:
                    threads.shutdown(cancel_futures=True)
                    raise
                bad.add(example.path, error)
    if bad is not None:
        bad.log_count()


def check_image(example: Example, decode: bool = False, max_pixels: int = MAX_PIXELS) -> None:
    """Compare the size of one image with its annotations, and optionally decode it; raises as `check_images`."""
    if decode:
        read_example(example, max_pixels)
    else:
        check_size(example, read_size(example.path, max_pixels))


@contextmanager
def data_errors() -> Iterator[None]:
    """Convert a DataError that `tf.data` wrapped in its own error back to a DataError."""
    try:
        yield
    except tf.errors.InvalidArgumentError as error:
        found = re.search(r"^.*?(?:Data|Image)Error: (.*)$", str(error), re.MULTILINE)
        if found is None:
            raise
        raise DataError(found[1]) from None


def _reader(
    dataset: DetectionDataset, objects: ObjectTable, cache: bool, bad: BadImages | None = None
) -> Callable[[tf.Tensor], Part]:
    """Return a graph operation that maps an index to an image and its objects."""
    read = Reader(dataset.examples, partial(read_example, max_pixels=dataset.max_pixels), cache, bad)

    def part(index: tf.Tensor) -> Part:
        image, own = read(index)
        return image, objects(own)

    return part


def _warn_of_cut_boxes(dataset: DetectionDataset, max_boxes: int) -> None:
    crowded = sum(int(example.trainable.sum()) > max_boxes for example in dataset)
    if crowded:
        logger.warning("%s: %d images have more than max_boxes=%d boxes", dataset.name, crowded, max_boxes)
