"""The config of the data: the sources of the images and their augmentation."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, Tag, model_validator

from spinenet_tf.data.bad_images import BadImages
from spinenet_tf.data.dataset import MAX_PIXELS, PILLOW_MAX_PIXELS, ClassificationDataset, DetectionDataset
from spinenet_tf.data.input.colors import Colors
from spinenet_tf.data.problems import Problems
from spinenet_tf.training.schema import Below1, Count, Fraction, Natural, Positive, PositiveFraction, Strict
from spinenet_tf.training.sources import ImageSource, Source


class _Variation(Strict):
    """The augmentation and image limits that all tasks share."""

    flip: bool = True
    color_jitter: Fraction = 0.0  # of brightness, contrast, saturation and hue
    rand_augment: Natural = 0  # RandAugment operations per image, color operations only
    magnitude: Fraction = 0.5  # of these operations
    cache: bool = False  # keep the decoded images in memory
    max_pixels: int = Field(default=MAX_PIXELS, ge=1, le=PILLOW_MAX_PIXELS)  # larger images count as bad
    max_bad_images: float = Field(default=0.01, ge=0, lt=1)  # largest fraction that training skips

    def colors(self) -> Colors:
        """Return the color augmentation."""
        return Colors(self.color_jitter, self.rand_augment, self.magnitude)

    def options(self) -> dict[str, Any]:
        """Return the arguments for `training_batches`."""
        return {"flip": self.flip, "cache": self.cache, "colors": self.colors()}

    def evaluation_options(self) -> dict[str, Any]:
        """Return the arguments for `evaluation_batches`."""
        return {}

    def loss_options(self) -> dict[str, Any]:
        """Return the arguments for the loss."""
        return {}


class DataConfig(_Variation):
    """The data of a detector: sources and augmentation."""

    train: Source
    val: Source
    scale: tuple[Positive, Positive] = (0.8, 1.2)  # scale jitter, relative to the size that fits the input
    mosaic: Fraction = 0.0  # fraction of inputs that are mosaics of four images
    max_boxes: Count = 100

    def read(self, split: Literal["train", "val"], bad: BadImages | None = None) -> DetectionDataset:
        """Read the data set of a split; with `bad`, leave out bad images and record them there."""
        return getattr(self, split).read(split, Problems(max_pixels=self.max_pixels, bad_images=bad))

    def options(self) -> dict[str, Any]:
        return super().options() | {"scale": self.scale, "mosaics": self.mosaic, "max_boxes": self.max_boxes}


class ImageDataConfig(_Variation):
    """The data of a classifier: sources, augmentation and label smoothing."""

    train: ImageSource
    val: ImageSource
    area: tuple[PositiveFraction, PositiveFraction] = (0.08, 1.0)  # of the random crop, as a fraction of the image
    center: PositiveFraction = 0.875  # side of the central crop in evaluation, as a fraction of the largest square
    label_smoothing: Below1 = 0.0

    @model_validator(mode="before")
    @classmethod
    def _rename(cls, values: Any) -> Any:
        """Accept the British spelling of `center` from runs of earlier versions."""
        if not isinstance(values, dict) or "center" in values:
            return values
        renamed = {"centre": "center"}  # codespell:ignore
        return {renamed.get(key, key): value for key, value in values.items()}

    def read(self, split: Literal["train", "val"], bad: BadImages | None = None) -> ClassificationDataset:
        """Read the data set of a split; bad images are found later, when they are decoded."""
        return replace(getattr(self, split).read(split), max_pixels=self.max_pixels)

    def options(self) -> dict[str, Any]:
        return super().options() | {"area": self.area}

    def evaluation_options(self) -> dict[str, Any]:
        return {"center": self.center}

    def loss_options(self) -> dict[str, Any]:
        return {"label_smoothing": self.label_smoothing}


def _task_of(data: Any) -> str:
    """Return the tag of the task that the data is for, judged by the keys of its sources."""
    if not isinstance(data, dict):
        return "(classification)" if isinstance(data, ImageDataConfig) else "(detection)"
    keys = {key for source in (data.get("train"), data.get("val")) if isinstance(source, dict) for key in source}
    return "(classification)" if keys & {"folder", "digit_images"} else "(detection)"


Data = Annotated[
    Annotated[DataConfig, Tag("(detection)")] | Annotated[ImageDataConfig, Tag("(classification)")],
    Discriminator(_task_of),
]
