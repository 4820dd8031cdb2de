"""Define the data set structures that all formats are read into."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Protocol

import numpy as np

from spinenet_tf._lazy import needs_tensorflow
from spinenet_tf.data.augmentation import Augment
from spinenet_tf.data.collection import Collection

if TYPE_CHECKING:
    import tensorflow as tf

    from spinenet_tf.data.masks import Mask

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".gif", ".webp")
MAX_PIXELS = 64_000_000  # default limit of an image
PILLOW_MAX_PIXELS = 89_478_485  # upper limit: for larger images, Pillow warns, then raises
CENTER = 0.875  # side of a classifier's evaluation crop, as a fraction of the largest crop that fits


class DataError(ValueError):
    """An error in images or annotations, with a one-line message that names the file."""


class ImageError(DataError):
    """An error in one image file, which training can skip."""


class ImageFile(Protocol):
    """An encoded image: a `Path`, or a part of another file. `str` returns its location."""

    @property
    def name(self) -> str:
        """Return the file name without folders."""

    def read_bytes(self) -> bytes:
        """Return the encoded image."""


@dataclass(frozen=True, eq=False)
class Example:
    """One image and its objects; size and boxes are in pixels of the upright image (EXIF orientation applied)."""

    image_id: int
    path: ImageFile
    height: int
    width: int
    boxes: np.ndarray  # [N, 4] float32, yxyx, inside the image
    classes: np.ndarray  # [N] int32, 0..C-1
    crowd: np.ndarray  # [N] bool: the box covers a group; not trained on, and not counted as missed
    area: np.ndarray  # [N] float32, square pixels of the object's mask if known, otherwise of its box
    masks: tuple[Mask | None, ...] | None = None  # one per box, None if it has none; None if no object of the set has

    @property
    def trainable(self) -> np.ndarray:
        """Return `[N]` bool: whether an object is used in training."""
        return ~self.crowd


@dataclass(frozen=True)
class ClassificationExample:
    """One image and its class."""

    path: Path
    label: int  # 0..C-1


@dataclass(frozen=True, eq=False, repr=False)
class DetectionDataset(Collection[Example]):
    """Images with boxes of `len(class_names)` classes: a sequence of `Example`.

    `spinenet_tf.data.read` reads one from files.
    """

    tasks: ClassVar = ("detection", "instance segmentation")
    name: str
    class_names: tuple[str, ...]
    category_ids: tuple[int, ...]  # the ids in the file, in class order
    examples: tuple[Example, ...]
    max_pixels: int = MAX_PIXELS  # of an image; larger ones are rejected before decoding

    @property
    def has_masks(self) -> bool:
        """Return whether objects have masks."""
        return any(example.masks is not None for example in self.examples)

    @needs_tensorflow("`batches`")
    def batches(
        self,
        image_size: tuple[int, int],
        batch_size: int,
        augment: Augment | bool | None = None,
        seed: int = 0,
        *,
        max_boxes: int = 100,
        cache: bool = False,
        max_bad_images: float = 0.01,
        mask_size: int | None = None,
    ) -> tf.data.Dataset:
        """Return a `tf.data.Dataset` of batches for `fit`, `evaluate` or `predict` of a detector.

        A batch is `(images, targets)`: images `[B, H, W, 3]` float32, normalized; `targets["boxes"]` `[B, N, 4]` yxyx
        in pixels of the network's input; `targets["classes"]` `[B, N]`, -1 for padding. Crowds are left out. With
        `mask_size`, `targets["masks"]` `[B, N, mask_size, mask_size]` are the objects' masks in 0..1, cropped to the
        boxes; -1 for padding.

        Without `augment`, an iteration yields all images in order, fitted into the input (see `preprocess`), with all
        of their boxes; the last batch may be smaller. Its targets also have "image_id" `[B]`, "size" `[B, 2]` (height
        and width of the file) and "scale" `[B]`: divide boxes by it to get pixels of the file. Use it for validation.

        With `augment` (True is `Augment()`), each iteration is an epoch in a new order with new changes, so
        `fit(batches, epochs=3)` needs no `steps_per_epoch`. It has `len(dataset) // batch_size` full batches; other
        images are left out in each epoch. The first iteration, the second one and so on depend only on the arguments.
        `train` also resumes exactly.

        The attribute `class_names` has the names in the order of the class numbers, `category_ids` their ids in the
        file. `fit` compares the names with the model's; a model without names or ids takes them. Methods such as `map`
        and `prefetch` drop both attributes.

        Args:
            image_size: Height and width of the network's input.
            batch_size: Images per batch.
            augment: The augmentation of training images, or None for validation.
            seed: Determines the order and the augmentation.
            max_boxes: Boxes per training image; further ones are left out, with a warning.
            cache: Decode all images now and keep them in memory, 3 bytes per pixel.
            max_bad_images: The largest fraction of unreadable files that training replaces by other images.
            mask_size: Side of the cropped masks, 112 for Mask R-CNN; None for no masks. Objects without a mask are left
                out, with a warning.

        Raises:
            DataError: there are no images, nothing to train on, no masks with `mask_size`, or, with `cache`, an image
                is bad. Without `cache`, Keras reports a bad image while it reads the batches.
            ValueError: an argument is out of range, or `augment` has options of a classifier.
        """
        from spinenet_tf.data.bad_images import BadImages
        from spinenet_tf.data.input import pipeline, stream

        chosen = Augment.chosen(augment)
        if chosen is None:
            return _named(pipeline.evaluation_batches(self, image_size, batch_size, cache, mask_size=mask_size), self)
        bad = BadImages(max_bad_images)
        example = pipeline.training_input(self, image_size, batch_size, seed, chosen, max_boxes, cache, bad, mask_size)
        return _named(stream.epoch_batches(example, len(self), batch_size, seed), self)

    def coco(self, masks: bool = True) -> dict:
        """Return the ground truth as a COCO dictionary with the image and category ids of the file.

        With `masks`, objects that have a mask have a "segmentation", in compressed run lengths.
        """
        annotations = [annotation for example in self for annotation in self._annotations(example, masks)]
        return {
            "info": {"description": self.name},
            "images": [
                {"id": e.image_id, "file_name": e.path.name, "height": e.height, "width": e.width} for e in self
            ],
            "categories": [
                {"id": i, "name": name} for i, name in zip(self.category_ids, self.class_names, strict=True)
            ],
            # Ids start at 1, since COCO's matching treats id 0 as "no match".
            "annotations": [{"id": i, **annotation} for i, annotation in enumerate(annotations, start=1)],
        }

    def _annotations(self, example: Example, masks: bool) -> Iterator[dict]:
        encoded = (masks and example.masks) or [None] * len(example.boxes)
        rows = zip(example.boxes.tolist(), example.classes, example.crowd, example.area, encoded, strict=True)
        for (top, left, bottom, right), label, crowd, area, mask in rows:
            yield {
                "image_id": example.image_id,
                "category_id": self.category_ids[label],
                "bbox": [left, top, right - left, bottom - top],
                "area": float(area),
                "iscrowd": int(crowd),
            } | ({} if mask is None else {"segmentation": mask.rle()})

    def _counts(self) -> str:
        return f"{len(self)} images, {sum(len(example.boxes) for example in self)} boxes"


@dataclass(frozen=True, eq=False, repr=False)
class ClassificationDataset(Collection[ClassificationExample]):
    """Images of `len(class_names)` classes, one class each: a sequence of `ClassificationExample`.

    `spinenet_tf.data.read` reads one from a folder of class folders.
    """

    tasks: ClassVar = ("classification",)
    name: str
    class_names: tuple[str, ...]
    examples: tuple[ClassificationExample, ...]
    max_pixels: int = MAX_PIXELS  # as in DetectionDataset

    @needs_tensorflow("`batches`")
    def batches(
        self,
        image_size: tuple[int, int],
        batch_size: int,
        augment: Augment | bool | None = None,
        seed: int = 0,
        *,
        center: float = CENTER,
        cache: bool = False,
        max_bad_images: float = 0.01,
    ) -> tf.data.Dataset:
        """Return a `tf.data.Dataset` of batches for `fit`, `evaluate` or `predict` of a classifier.

        A batch is `(images, labels)`: images `[B, H, W, 3]` float32, normalized; labels `[B]` int32. Without
        `augment`, images are central crops, whose side is `center` of the largest crop that fits. Everything else is
        as in `DetectionDataset.batches`.
        """
        from spinenet_tf.data.bad_images import BadImages
        from spinenet_tf.data.input import class_pipeline, stream

        chosen = Augment.chosen(augment)
        if chosen is None:
            return _named(class_pipeline.evaluation_batches(self, image_size, batch_size, center, cache), self)
        bad = BadImages(max_bad_images)
        example = class_pipeline.training_input(self, image_size, batch_size, seed, chosen, cache, bad)
        return _named(stream.epoch_batches(example, len(self), batch_size, seed), self)


def _named(batches: tf.data.Dataset, dataset: DetectionDataset | ClassificationDataset) -> tf.data.Dataset:
    """Attach the class names to batches, as Keras's `image_dataset_from_directory` does, and the category ids."""
    batches.class_names = list(dataset.class_names)
    batches.category_ids = getattr(dataset, "category_ids", None)
    return batches
