"""Read data sets of any format into one structure, and make training and evaluation batches from it."""

from typing import TYPE_CHECKING

from spinenet_tf._lazy import lazy_names

if TYPE_CHECKING:
    from spinenet_tf.data.augmentation import Augment
    from spinenet_tf.data.checking import Findings, check
    from spinenet_tf.data.dataset import (
        ClassificationDataset,
        ClassificationExample,
        DataError,
        DetectionDataset,
        Example,
    )
    from spinenet_tf.data.fitting import preprocess
    from spinenet_tf.data.formats.digit_images import digit_images
    from spinenet_tf.data.formats.digits import digits
    from spinenet_tf.data.images import read_image
    from spinenet_tf.data.reading import read

__all__ = [
    "Augment",
    "ClassificationDataset",
    "ClassificationExample",
    "DataError",
    "DetectionDataset",
    "Example",
    "Findings",
    "check",
    "digit_images",
    "digits",
    "preprocess",
    "read",
    "read_image",
]

_HOMES = {
    "Augment": ".augmentation",
    "ClassificationDataset": ".dataset",
    "ClassificationExample": ".dataset",
    "DataError": ".dataset",
    "DetectionDataset": ".dataset",
    "Example": ".dataset",
    "Findings": ".checking",
    "check": ".checking",
    "digit_images": ".formats.digit_images",
    "digits": ".formats.digits",
    "preprocess": ".fitting",
    "read": ".reading",
    "read_image": ".images",
}

if not TYPE_CHECKING:  # for a type checker, a module with `__getattr__` has every name
    __getattr__, __dir__ = lazy_names(__name__, _HOMES)
