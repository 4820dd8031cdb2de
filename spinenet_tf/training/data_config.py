"""The config of the data: the sources of the images and their augmentation."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Any, Literal, Self

from pydantic import Discriminator, Field, Tag, model_validator

from spinenet_tf.data.augmentation import Augment
from spinenet_tf.data.bad_images import BadImages
from spinenet_tf.data.dataset import (
    CENTER,
    MAX_PIXELS,
    PILLOW_MAX_PIXELS,
    ClassificationDataset,
    DetectionDataset,
)
from spinenet_tf.data.problems import Problems
from spinenet_tf.training.schema import Below1, Count, Fraction, Natural, Positive, PositiveFraction, Strict
from spinenet_tf.training.sources import ImageSource, Source


class _Variation(Strict):
    """The augmentation and image limits that all tasks share. `Augment` documents the options that it has."""

    flip: bool = Augment.flip
    color_jitter: Fraction = Augment.color_jitter
    rand_augment: Natural = Augment.rand_augment
    magnitude: Fraction = Augment.magnitude
    cache: bool = False  # keep the decoded images in memory
    max_pixels: int = Field(default=MAX_PIXELS, ge=1, le=PILLOW_MAX_PIXELS)  # larger images count as bad
    max_bad_images: float = Field(default=0.01, ge=0, lt=1)  # largest fraction that training skips

    @model_validator(mode="after")
    def _check_augmentation(self) -> Self:
        self.augment()
        return self

    def augment(self) -> Augment:
        """Return the augmentation; raise ValueError if a range is not (smallest, largest)."""
        return Augment.of({name: value for name, value in self if name in Augment.names()})

    def options(self) -> dict[str, Any]:
        """Return the arguments for `training_batches`."""
        return {"augment": self.augment(), "cache": self.cache}

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
    scale: tuple[Positive, Positive] = Augment.scale
    mosaic: Fraction = Augment.mosaic
    max_boxes: Count = 100

    def read(self, split: Literal["train", "val"], bad: BadImages | None = None) -> DetectionDataset:
        """Read the data set of a split; with `bad`, leave out bad images and record them there."""
        return getattr(self, split).read(split, Problems(max_pixels=self.max_pixels, bad_images=bad))

    def options(self) -> dict[str, Any]:
        return super().options() | {"max_boxes": self.max_boxes}


class ImageDataConfig(_Variation):
    """The data of a classifier: sources, augmentation and label smoothing."""

    train: ImageSource
    val: ImageSource
    area: tuple[PositiveFraction, PositiveFraction] = Augment.area
    center: PositiveFraction = CENTER  # side of the central crop in evaluation, as a fraction of the largest square
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
