"""Write the built-in data set to disk as COCO: scenes of handwritten digits on photographs, as `digit_scenes` draws."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from spinenet_tf._files.writing import new_folder, write_whole
from spinenet_tf.data.dataset import DataError, DetectionDataset
from spinenet_tf.data.formats.coco import read_coco
from spinenet_tf.data.formats.digit_scenes import SIZES, SMALLEST, Range, Split, draw_scene, outline, read_sources

_VERSION = 1  # increase when the scenes of a seed change


def write_digits(
    folder: str | Path,
    scenes: int,
    seed: int = 0,
    classes: int = 10,
    split: Split = "train",
    size: tuple[int, int] = (128, 160),
    digit_sizes: Range | None = None,
) -> tuple[Path, Path]:
    """Write `scenes` JPEG scenes of about `size` (height, width) and their COCO file; return (image folder, COCO file).

    They are written atomically to a subfolder of `folder`; an existing subfolder with the same contents is reused.
    Pixels depend only on `seed`, `split`, `size` and `digit_sizes`: a longer set begins with the same scenes. The
    one-class set also has the same scenes, but every digit has the class "digit". `digit_sizes` is as in `digits`.

    Raises:
        DataError: the subfolder exists with other contents.
        ImportError: scikit-learn is missing.
        ValueError: an argument is out of range.
    """
    _check_arguments(scenes, seed, classes, split, size, digit_sizes)
    contents: dict[str, Any] = {
        "version": _VERSION,
        "scenes": scenes,
        "seed": seed,
        "classes": classes,
        "split": split,
        "size": [*size],
    }
    name = f"digits{classes}-{split}-{scenes}-{size[0]}x{size[1]}-seed{seed}"
    if digit_sizes is not None:  # the default has neither, as in earlier versions
        contents["digit_sizes"] = [*digit_sizes]
        name += f"-of-{digit_sizes[0]}-{digit_sizes[1]}px"
    home = Path(folder) / name
    if not home.exists():
        _write(home, contents)
    elif (coco := _read(home / "annotations.json"))["info"]["contents"] != contents:
        raise DataError(f"{home} exists with other contents than these digits; delete it or choose another folder")
    elif not any("segmentation" in entry for entry in coco["annotations"]):  # earlier versions wrote no masks
        write_whole(home / "annotations.json", json.dumps(_draw(contents)))
    return home / "images", home / "annotations.json"


def digits(
    folder: str | Path,
    split: Split = "train",
    scenes: int = 1000,
    classes: int = 10,
    seed: int = 0,
    size: tuple[int, int] = (128, 160),
    digit_sizes: Range | None = None,
) -> DetectionDataset:
    """Return handwritten digits on photographs as a detection data set; write them to `folder` if missing.

    This is real data that needs no download, to try a detector in minutes. The splits share no digit and no region of a
    photograph.

    Args:
        folder: The images and annotations are written to a subfolder, which later calls reuse.
        split: "train" or "val".
        scenes: The number of images. A longer set begins with the same images.
        classes: 10, or 1 for a single class "digit".
        seed: Another seed gives other scenes.
        size: Approximate height and width of a scene in px.
        digit_sizes: Range of a digit's longest side in px, but at most 3/4 of a side of the scene. Each octave of the
            range has as many digits. Default: 10 to 80 px, mostly 16 to 64.

    Raises:
        DataError: the subfolder exists with other contents.
        ImportError: scikit-learn is missing (extra `demo`).
        ValueError: an argument is out of range.
    """
    images, annotations = write_digits(folder, scenes, seed, classes, split, size, digit_sizes)
    return read_coco(annotations, images)


def _check_arguments(
    scenes: int, seed: int, classes: int, split: str, size: tuple[int, int], digit_sizes: Range | None
) -> None:
    if scenes < 1 or seed < 0:
        raise ValueError(f"`scenes` must be at least 1, and `seed` at least 0. Received: {scenes=}, {seed=}")
    if classes not in (1, 10):
        raise ValueError(f"`classes` must be 1 or 10. Received: {classes=}")
    if split not in ("train", "val"):
        raise ValueError(f"`split` must be 'train' or 'val'. Received: {split=}")
    smallest, largest = SIZES if digit_sizes is None else digit_sizes
    if not SMALLEST <= smallest < largest:
        raise ValueError(
            f"`digit_sizes` must be two different sizes of at least {SMALLEST} px, the smaller first. "
            f"Received: {digit_sizes=}"
        )
    if min(size) < 2 * smallest:
        raise ValueError(f"Height and width in `size` must be at least {2 * smallest} pixels. Received: {size=}")


def _read(annotations: Path) -> dict:
    """Read an annotation file; without annotations and contents if it is not one of this module."""
    try:
        coco = json.loads(annotations.read_text())
        return {"info": {"contents": coco["info"]["contents"]}, "annotations": list(coco["annotations"])}
    except (OSError, ValueError, KeyError, TypeError):
        return {"info": {"contents": None}, "annotations": []}


def _write(home: Path, contents: dict) -> None:
    with new_folder(home) as workplace:
        (workplace / "images").mkdir()
        coco = _draw(contents, workplace / "images")
        (workplace / "annotations.json").write_text(json.dumps(coco))


def _draw(contents: dict, images: Path | None = None) -> dict:
    """Return the COCO dictionary of the scenes; write their image files to a folder `images`."""
    split, classes = contents["split"], contents["classes"]
    sources, digit_sizes = read_sources(split), contents.get("digit_sizes")
    names = ["digit"] if classes == 1 else [str(digit) for digit in range(10)]
    coco: dict[str, Any] = {
        "info": {"description": "handwritten digits on photographs", "contents": contents},
        "categories": [{"id": i, "name": name} for i, name in enumerate(names, start=1)],
        "images": [],
        "annotations": [],
    }
    for number in range(1, contents["scenes"] + 1):
        rng = np.random.default_rng([contents["seed"], split == "val", number])
        scene, objects = draw_scene(rng, sources, contents["size"], digit_sizes)
        name = f"{number:06d}.jpg"
        if images:
            scene.save(images / name, quality=92)
        coco["images"].append({"id": number, "file_name": name, "height": scene.height, "width": scene.width})
        for label, opacity in objects:
            category = 1 if classes == 1 else int(label) + 1
            coco["annotations"].append(
                {"id": len(coco["annotations"]) + 1, "image_id": number, "category_id": category, "iscrowd": 0}
                | outline(opacity)
            )
    return coco
