"""Run a detector on a data set or on images, and return detections in pixels of the original image."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from spinenet_tf.data.classes import check_known
from spinenet_tf.data.dataset import DetectionDataset
from spinenet_tf.evaluation.pasting import paste_mask

Predict = Callable[[np.ndarray], Mapping[str, Any]]


def detect_in_dataset(
    predict: Predict, dataset: DetectionDataset, image_size: tuple[int, int], batch_size: int = 8, **options: Any
) -> Iterator[dict[str, Any]]:
    """Yield `{"image_id", "boxes" [M, 4], "scores" [M], "classes" [M]}` for each image, and "masks" as `in_file` does.

    Boxes are yxyx in pixels of the original image. `predict` maps normalized images `[B, H, W, 3]` to detections, as
    Keras detectors and TFLite files do. `options` are those of `pipeline.evaluation_batches`.
    """
    from spinenet_tf.data.input.pipeline import evaluation_batches

    for images, targets in evaluation_batches(dataset, image_size, batch_size, **options).as_numpy_iterator():
        found = predict(images)
        for row, (image_id, scale) in enumerate(zip(targets["image_id"], targets["scale"], strict=True)):
            yield {"image_id": int(image_id)} | in_file(found, row, scale, targets["size"][row])


def detect_in_images(
    predict: Predict, images: Sequence[np.ndarray], image_size: tuple[int, int], stretch: bool = False
) -> list[dict[str, Any]]:
    """Detect objects in RGB images `[h, w, 3]` uint8 of any sizes, all in one call of `predict`.

    `stretch` is that of `fitting.preprocess`. Returns boxes `[M, 4]` yxyx in pixels of the image, scores and classes
    `[M]` of each, and "masks" as `in_file` does.
    """
    from spinenet_tf.data.fitting import preprocess_many

    fitted, scales = preprocess_many(images, *image_size, stretch)
    found = predict(fitted)
    return [
        in_file(found, row, scale, image.shape[:2])
        for row, (image, scale) in enumerate(zip(images, scales, strict=True))
    ]


def in_classes_of(
    dataset: DetectionDataset, class_names: Sequence[str], found: Iterable[Mapping[str, Any]]
) -> Iterator[dict[str, Any]]:
    """Map the classes of detections from a model's `class_names` to the data set's; -1 if it lacks a class.

    Raises:
        ValueError: the data set has objects of a class that the model does not have.
    """
    check_known(dataset, class_names)
    known = {name: number for number, name in enumerate(dataset.class_names)}
    numbers = np.array([known.get(name, -1) for name in class_names] + [-1])  # padding, -1, stays -1
    return ({**item, "classes": numbers[item["classes"]]} for item in found)


def in_file(found: Mapping[str, Any], row: int, scale: Any, size: Any) -> dict[str, Any]:
    """Extract one image's detections from a batch, with boxes in original pixels, clipped to `size` (height, width).

    `scale` is that of `fitting.preprocess`, a number or `[2]`. If the model predicts masks, "masks" is a list of `M`
    encoded masks in original pixels; a mask is pasted into its box before the box is clipped.
    """
    count = int(found["num_detections"][row])
    scales = np.tile(np.broadcast_to(scale, 2), 2)
    boxes = np.asarray(found["boxes"][row][:count]) / scales
    own = {name: found[name][row][:count] for name in ("scores", "classes")}
    masks = {}
    if "masks" in found:
        pairs = zip(np.asarray(found["masks"][row][:count]), boxes, strict=True)
        masks = {"masks": [paste_mask(probabilities, box, *map(int, size)) for probabilities, box in pairs]}
    return {"boxes": np.clip(boxes, 0.0, np.tile(size, 2))} | own | masks
