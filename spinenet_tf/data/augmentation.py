"""The options of training augmentation, for Python and configs."""

from __future__ import annotations

from dataclasses import dataclass

from spinenet_tf.nets.options import Options, option

_OF_TASK = {"detection": ("scale", "mosaic"), "classification": ("area",)}


@dataclass(frozen=True)
class Augment(Options):
    """How training images change at random: `dataset.batches(..., augment=Augment(flip=False))`.

    A config has the same options, with the same defaults, under `data`. Boxes move with their images.

    `scale` and `mosaic` are for detectors, `area` is for classifiers, and the others are for both. `scale` is a range
    of factors of the size that fits the input: larger images are cropped at random, smaller ones are padded. `area` is
    the range of the random crop, as a fraction of the image.

    Raises:
        ValueError: an option has the wrong type or is out of range, or a range is not (smallest, largest).
    """

    flip: bool = option(True)  # mirror left to right with probability 0.5
    scale: tuple[float, float] = option((0.8, 1.2), above=0, count=2)  # detection: factor of the fitted size
    mosaic: float = option(0.0, 0, 1)  # detection: fraction of inputs that combine four images
    area: tuple[float, float] = option((0.08, 1.0), above=0, high=1, count=2)  # classification: fraction of the image
    color_jitter: float = option(0.0, 0, 1)  # maximum change of brightness, contrast, saturation and hue
    rand_augment: int = option(0, 0)  # RandAugment operations per image, color operations only
    magnitude: float = option(0.5, 0, 1)  # strength of these operations

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("scale", "area"):
            smallest, largest = getattr(self, name)
            if smallest > largest:
                raise ValueError(f"{name} must be (smallest, largest). Received: {name}={getattr(self, name)}")

    @classmethod
    def chosen(cls, given: Augment | bool | None) -> Augment | None:
        """Return the augmentation that an argument selects: True is the default, and None or False is none.

        Raises:
            ValueError: it is something else.
        """
        if given is not None and not isinstance(given, (cls, bool)):
            raise ValueError(f"`augment` must be an Augment, True or None. Received: augment={given!r:.100}")
        return cls() if given is True else given or None

    @property
    def changes_colors(self) -> bool:
        """Return whether the colors change."""
        return bool(self.color_jitter or self.rand_augment)

    def check_task(self, task: str) -> None:
        """Raise ValueError if an option is set that only another task has."""
        for name in (name for other, names in _OF_TASK.items() if other != task for name in names):
            if getattr(self, name) != getattr(Augment, name):
                raise ValueError(f"`{name}` has no effect in {task}. Received: {name}={getattr(self, name)}")
