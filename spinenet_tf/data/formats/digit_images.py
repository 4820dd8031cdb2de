"""Make a classification data set of single digits by cropping the objects of the built-in scenes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from spinenet_tf._files.writing import new_folder
from spinenet_tf.data.dataset import ClassificationDataset, DetectionDataset, Example
from spinenet_tf.data.formats.digits import Split, digits
from spinenet_tf.data.formats.image_folder import read_image_folder
from spinenet_tf.data.images import read_image

MARGIN = 0.15  # around an object, as a fraction of its longer side


def digit_images(
    folder: str | Path, split: Split = "train", scenes: int = 1000, seed: int = 0
) -> ClassificationDataset:
    """Return handwritten digits, one per image, as a classification data set; write them to `folder` if missing.

    The images are cut out of the scenes of `digits`, three or four of each. The arguments and errors are those of
    `digits`.
    """
    scenes_of = digits(folder, split, scenes, classes=10, seed=seed)
    home = Path(folder) / f"digit-images-{split}-{scenes}-seed{seed}"
    if not home.exists():
        cut_objects(scenes_of, home)
    return read_image_folder(home)


def cut_objects(dataset: DetectionDataset, folder: Path) -> None:
    """Crop each object of a data set to `folder/CLASS/IMAGE-NUMBER.png`, as a square clipped to the image.

    The folder is written atomically.
    """
    with new_folder(folder) as workplace:
        for name in dataset.class_names:
            (workplace / name).mkdir()
        for example in dataset:
            _cut(example, dataset.class_names, workplace)


def _cut(example: Example, class_names: tuple[str, ...], folder: Path) -> None:
    image = read_image(example.path)
    objects = zip(example.boxes[example.trainable], example.classes[example.trainable], strict=True)
    for number, (box, label) in enumerate(objects):
        middle, side = (box[:2] + box[2:]) / 2, (box[2:] - box[:2]).max() * (1 + 2 * MARGIN)
        top, left = np.floor(np.maximum(middle - side / 2, 0)).astype(int)
        bottom, right = np.ceil(middle + side / 2).astype(int)  # slicing clips to the image
        cut = Image.fromarray(image[top:bottom, left:right])
        cut.save(folder / class_names[label] / f"{Path(example.path.name).stem}-{number}.png")
