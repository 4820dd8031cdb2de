"""The image sources of a config: a key identifies the format, and `read` returns the data set.

`problems` decides how errors in the data are handled; by default they raise a DataError.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Discriminator, Tag

from spinenet_tf.data.dataset import ClassificationDataset, DetectionDataset
from spinenet_tf.data.problems import Problems
from spinenet_tf.training.schema import Count, Seed, Strict, UserPath


class CocoSource(Strict):
    """A COCO JSON file and the folder of its images."""

    annotations: UserPath
    images: UserPath

    def read(self, split: str, problems: Problems | None = None) -> DetectionDataset:
        """Read the data set; `split` is ignored, since the files are of one split."""
        from spinenet_tf.data.formats.coco import read_coco

        return read_coco(self.annotations, self.images, problems)


class DigitsSource(Strict):
    """The built-in data set of handwritten digits on photographs, written to the folder `digits` if missing."""

    digits: UserPath
    scenes: Count
    classes: Literal[1, 10] = 10
    seed: Seed = 0
    size: tuple[Count, Count] = (128, 160)  # approximate height and width of a scene in px
    digit_sizes: tuple[Count, Count] | None = None  # range of a digit's longest side in px; default: mostly 16 to 64

    def moved(self, folder: Path) -> DigitsSource:
        """Return the same source in another folder."""
        return self.model_copy(update={"digits": folder})

    def read(self, split: Literal["train", "val"], problems: Problems | None = None) -> DetectionDataset:
        """Write the scenes if needed, and read them as COCO files."""
        from spinenet_tf.data.formats.coco import read_coco
        from spinenet_tf.data.formats.digits import write_digits

        sizes = (self.size, self.digit_sizes)
        images, annotations = write_digits(self.digits, self.scenes, self.seed, self.classes, split, *sizes)
        return read_coco(annotations, images, problems)


class TfrecordSource(Strict):
    """TFRecord files in TF Model Garden's schema: a file, folder, pattern, or the prefix of `-00000-of-00010`."""

    tfrecords: UserPath
    categories: UserPath | None = None  # JSON with a list "categories", or a label map; default: see `read_tfrecord`

    def read(self, split: str, problems: Problems | None = None) -> DetectionDataset:
        """Read the data set; `split` is ignored, since the files are of one split."""
        from spinenet_tf.data.formats.tfrecord import read_tfrecord

        return read_tfrecord(self.tfrecords, self.categories, problems)


class YoloSource(Strict):
    """YOLO labels: one split of a data.yaml, an obj.data or a folder, or a whole folder without splits."""

    yolo: UserPath
    split: str | None = None  # default: "train" or "val", the key in the config

    def read(self, split: str, problems: Problems | None = None) -> DetectionDataset:
        """Read the data set."""
        from spinenet_tf.data.formats.yolo import read_yolo
        from spinenet_tf.data.formats.yolo_description import has_parts

        return read_yolo(self.yolo, self.split or (split if has_parts(self.yolo) else None), problems)


class VocSource(Strict):
    """A Pascal VOC folder."""

    voc: UserPath
    split: str | None = None  # a list in ImageSets/Main; default: all images

    def read(self, split: str, problems: Problems | None = None) -> DetectionDataset:
        """Read the split of the field `split`; the argument is ignored."""
        from spinenet_tf.data.formats.voc import read_voc

        return read_voc(self.voc, self.split, problems)


class TfdsSource(Strict):
    """A prepared data set of TensorFlow Datasets."""

    tfds: str
    split: str  # such as "train" or "train[:10%]"
    data_dir: UserPath | None = None

    def read(self, split: str, problems: Problems | None = None) -> DetectionDataset:
        """Read the split of the field `split`; the argument is ignored."""
        from spinenet_tf.data.formats.tfds import read_tfds

        return read_tfds(self.tfds, self.split, self.data_dir, problems)


def _kind_of_source(source: Any) -> str:
    keys = source if isinstance(source, dict) else getattr(type(source), "model_fields", ())
    return next((f"({key})" for key in ("digits", "tfrecords", "yolo", "voc", "tfds") if key in keys), "(coco)")


# A key selects the format: if pydantic tried all formats, it would report the errors of all.
Source = Annotated[
    Annotated[CocoSource, Tag("(coco)")]
    | Annotated[DigitsSource, Tag("(digits)")]
    | Annotated[TfrecordSource, Tag("(tfrecords)")]
    | Annotated[YoloSource, Tag("(yolo)")]
    | Annotated[VocSource, Tag("(voc)")]
    | Annotated[TfdsSource, Tag("(tfds)")],
    Discriminator(_kind_of_source),
]


class FolderSource(Strict):
    """A folder with one subfolder of images per class."""

    folder: UserPath

    def read(self, split: str) -> ClassificationDataset:
        """Read the data set; `split` is ignored, since the folder is of one split."""
        from spinenet_tf.data.formats.image_folder import read_image_folder

        return read_image_folder(self.folder)


class DigitImagesSource(Strict):
    """The digits of the built-in data set, one image per digit, written to the folder `digit_images` if missing."""

    digit_images: UserPath
    scenes: Count  # the digits are cut out of these scenes, three or four per scene
    seed: Seed = 0

    def moved(self, folder: Path) -> DigitImagesSource:
        """Return the same source in another folder."""
        return self.model_copy(update={"digit_images": folder})

    def read(self, split: Literal["train", "val"]) -> ClassificationDataset:
        """Write the images if needed, and read them as an image folder."""
        from spinenet_tf.data.formats.digit_images import digit_images

        return digit_images(self.digit_images, split, self.scenes, self.seed)


def _kind_of_images(source: Any) -> str:
    is_digits = "digit_images" in source if isinstance(source, dict) else isinstance(source, DigitImagesSource)
    return "(digits)" if is_digits else "(folder)"


ImageSource = Annotated[
    Annotated[FolderSource, Tag("(folder)")] | Annotated[DigitImagesSource, Tag("(digits)")],
    Discriminator(_kind_of_images),
]


def in_folder(source: Any, folder: Path) -> Any:
    """Return the source with built-in data in another folder; other sources write nothing and stay the same."""
    return source.moved(folder) if isinstance(source, (DigitsSource, DigitImagesSource)) else source
