"""Turn a `ClassificationDataset` into `tf.data` batches for training and evaluation."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

from spinenet_tf.data.augmentation import Augment
from spinenet_tf.data.bad_images import BadImages
from spinenet_tf.data.dataset import CENTER, ClassificationDataset, ClassificationExample
from spinenet_tf.data.fitting import stretched
from spinenet_tf.data.images import normalize, read_image, read_size
from spinenet_tf.data.input.augmenter import recolored
from spinenet_tf.data.input.pipeline import check_all, check_sizes
from spinenet_tf.data.input.reader import Reader
from spinenet_tf.data.input.stream import TrainingInput, endless_batches, ordered_batches

ASPECT = (3 / 4, 4 / 3)  # range of the training crop's width / height


def training_batches(
    dataset: ClassificationDataset,
    image_size: tuple[int, int],
    batch_size: int,
    seed: int,
    start_step: int = 0,
    share: tuple[int, int] = (0, 1),
    **options: Any,
) -> tf.data.Dataset:
    """Yield shuffled, augmented batches: `[B, H, W, 3]` float32 normalized images and `[B]` int32 labels.

    Order, `start_step` and `share` are as in `pipeline.training_batches`; `options` and errors are those of
    `training_input`.
    """
    example = training_input(dataset, image_size, batch_size, seed, **options)
    return endless_batches(example, len(dataset), batch_size, seed, start_step, share)


def training_input(
    dataset: ClassificationDataset,
    image_size: tuple[int, int],
    batch_size: int,
    seed: int,
    augment: Augment = Augment(),
    cache: bool = False,
    bad: BadImages | None = None,
) -> TrainingInput:
    """Return a graph function from `(counter, index)` to an augmented image and its label: see `pipeline`.

    Raises:
        DataError: the data set is empty or, with `cache`, an image cannot be decoded. Without `cache`, iteration raises
            this error: see `pipeline.data_errors`.
        ValueError: an argument is out of range.
    """
    check_sizes(dataset, image_size, batch_size)
    augment.check_task("classification")
    read = _reader(dataset, cache, bad)

    def example(counter: tf.Tensor, index: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        seeds = tf.random.split(tf.stack([tf.constant(seed, tf.int64), counter]), 3)
        image, label = read(index)
        image = random_resized_crop(recolored(image, augment, seeds[0]), *image_size, augment.area, seeds[1])
        if augment.flip:
            image = tf.image.stateless_random_flip_left_right(image, seeds[2])
        return image, label

    return example


def evaluation_batches(
    dataset: ClassificationDataset,
    image_size: tuple[int, int],
    batch_size: int,
    center: float = CENTER,
    cache: bool = False,
    stretch: bool = False,
) -> tf.data.Dataset:
    """Yield the `central_crop` of each image once, in order, with `[B]` labels; the last batch may be smaller.

    Raises as `training_input` does.
    """
    check_sizes(dataset, image_size, batch_size)
    if not 0 < center <= 1:
        raise ValueError(f"`center` must be above 0 and at most 1. Received: {center=}")
    read = _reader(dataset, cache)

    def example(index: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        image, label = read(index)
        return central_crop(image, *image_size, center, stretch), label

    return ordered_batches(example, len(dataset), batch_size)


def check_images(dataset: ClassificationDataset, bad: BadImages | None = None) -> None:
    """Read every image's header, without decoding.

    Raises DataError naming the first file that is missing, unreadable or too large; `bad` is as in
    `pipeline.check_images`.
    """
    check_all(dataset.examples, lambda example: read_size(example.path, dataset.max_pixels), bad)


def random_resized_crop(
    image: tf.Tensor, height: int, width: int, area: tuple[float, float], seed: tf.Tensor
) -> tf.Tensor:
    """Crop a random part of `[h, w, 3]` uint8, resize and normalize it (Szegedy 2015).

    The crop's fraction of the pixels is in the range `area`, and its aspect ratio in `ASPECT`. Returns
    `[height, width, 3]` float32.
    """
    begin, size, _ = tf.image.stateless_sample_distorted_bounding_box(
        tf.shape(image),
        tf.zeros([1, 0, 4]),
        seed,
        min_object_covered=0.0,
        aspect_ratio_range=ASPECT,
        area_range=area,
        use_image_if_no_bounding_boxes=True,
    )
    return _resized(tf.slice(image, begin, size), height, width)


def central_crop(
    image: np.ndarray | tf.Tensor, height: int, width: int, center: float = CENTER, stretch: bool = False
) -> tf.Tensor:
    """Crop the center of `[h, w, 3]` uint8 with the aspect ratio of the network's input, resize and normalize it.

    `center` is the side relative to the largest crop that fits. With `stretch`, the crop is resized by
    `fitting.stretched`. Returns `[height, width, 3]` float32.
    """
    image = tf.convert_to_tensor(image)
    whole = tf.shape(image)[:2]
    target = tf.constant([height, width], tf.float32)
    largest = target * tf.reduce_min(tf.cast(whole, tf.float32) / target)
    size = tf.clip_by_value(tf.cast(tf.round(largest * center), tf.int32), 1, whole)
    begin = (whole - size) // 2
    crop = tf.slice(image, [*tf.unstack(begin), 0], [*tf.unstack(size), 3])
    return normalize(stretched(crop, height, width)) if stretch else _resized(crop, height, width)


def _resized(image: tf.Tensor, height: int, width: int) -> tf.Tensor:
    return tf.ensure_shape(normalize(tf.image.resize(image, [height, width])), [height, width, 3])


def _reader(
    dataset: ClassificationDataset, cache: bool, bad: BadImages | None = None
) -> Callable[[tf.Tensor], tuple[tf.Tensor, tf.Tensor]]:
    """Return a graph operation that maps an index to an image and its label."""

    def decode(example: ClassificationExample) -> np.ndarray:
        return read_image(example.path, dataset.max_pixels)

    read, labels = Reader(dataset.examples, decode, cache, bad), _labels(dataset)

    def labeled(index: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        image, own = read(index)
        return image, labels[own]

    return labeled


def _labels(dataset: ClassificationDataset) -> tf.Tensor:
    return tf.constant([example.label for example in dataset], tf.int32)
