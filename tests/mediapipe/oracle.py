"""Run MediaPipe Tasks on a file, in .venv-mediapipe: `oracle.py TASK MODEL IN.npz OUT.npz`."""

import json
import sys

import mediapipe
import numpy as np
from mediapipe.tasks.metadata import metadata_schema_py_generated as tables
from mediapipe.tasks.metadata import schema_py_generated as schema
from mediapipe.tasks.python.components.containers.rect import RectF


def detect(model, photos):
    with vision.ObjectDetector.create_from_model_path(model) as detector:
        found = {name: detector.detect(image(photo)).detections for name, photo in photos.items()}
    for name, rows in found.items():
        yield f"{name} names", [row.categories[0].category_name for row in rows]
        yield f"{name} scores", [row.categories[0].score for row in rows]
        boxes = [row.bounding_box for row in rows]
        yield f"{name} corners", [(box.origin_y, box.origin_x) for box in boxes]
        yield f"{name} sides", [(box.height, box.width) for box in boxes]


def classify(model, photos):
    """Yield the scores by class in the region `NAME region` of each photo: left, top, right and bottom, relative."""
    with vision.ImageClassifier.create_from_model_path(model) as classifier:
        for name in [name for name in photos if not name.endswith("region")]:
            options = vision.ImageProcessingOptions(rectangle(photos.get(f"{name} region")))
            rows = classifier.classify(image(photos[name]), options).classifications[0].categories
            rows = sorted(rows, key=lambda row: row.index)
            yield f"{name} scores", [row.score for row in rows]
            yield f"{name} names", [row.category_name or "" for row in rows]


def rectangle(sides):
    if sides is None:
        return None
    left, top, right, bottom = sides.tolist()
    return RectF(left=left, top=top, right=right, bottom=bottom)  # the bottom is its third field


def describe(model, photos):
    """Yield the TFLite Model Metadata, read by MediaPipe's own classes, as JSON without empty fields."""
    with open(model, "rb") as file:
        content = schema.ModelT.InitFromObj(schema.Model.GetRootAs(file.read(), 0))
    number = next(entry.buffer for entry in content.metadata if entry.name == b"TFLITE_METADATA")
    buffer = bytes(bytearray(content.buffers[number].data))
    assert tables.ModelMetadata.ModelMetadataBufferHasIdentifier(buffer, 0)
    yield "metadata", json.dumps(plain(tables.ModelMetadataT.InitFromObj(tables.ModelMetadata.GetRootAs(buffer, 0))))


def plain(value):
    if isinstance(value, bytes):
        return value.decode()
    if isinstance(value, list):
        return [plain(item) for item in value]
    if isinstance(value, np.ndarray):
        return value.tolist()
    if hasattr(value, "__dict__"):
        return {name: plain(x) for name, x in vars(value).items() if x is not None}
    return value


def image(pixels):
    return mediapipe.Image(image_format=mediapipe.ImageFormat.SRGB, data=pixels)


vision = mediapipe.tasks.vision

if __name__ == "__main__":
    task, model, source, target = sys.argv[1:]
    with np.load(source) as arrays:
        found = dict(globals()[task](model, dict(arrays)))
    np.savez(target, **{name: np.asarray(value) for name, value in found.items()})
