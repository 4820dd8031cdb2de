"""Write the code that runs an exported file, with this package and without it."""

from __future__ import annotations

from collections.abc import Callable

from spinenet_tf.export.card.facts import ModelFile
from spinenet_tf.inference.artifacts import ONNX, OPENVINO, SAVED_MODEL, TFLITE

PHOTO = "photo.jpg"


def with_package(file: ModelFile) -> str:
    """Return Python code that runs a file with `spinenet_tf.load`."""
    detects = file.metadata.detects
    masks = ", found.masks" if "masks" in file.metadata.outputs else ""
    shown = f"found.boxes, found.scores, found.names{masks}" if detects else "found"
    lines = ["import spinenet_tf", "", f'model = spinenet_tf.load("{file.path.name}")']
    return "\n".join([*lines, f'found = model("{PHOTO}")', f"print({shown})"])


def without_package(file: ModelFile) -> str:
    """Return Python code that runs a file with its engine alone."""
    if file.engine == SAVED_MODEL and b"serve_bytes" in (file.path / "saved_model.pb").read_bytes():
        return _from_bytes(file)
    if file.metadata.stretch:
        return _with_mediapipe(file)
    imports, calls = _CALLS[file.engine](file.path.name)
    lines = ["import numpy as np", *imports, "from PIL import Image, ImageOps", "", *_images(file), *calls]
    return "\n".join([*lines, "print({name: x.shape for name, x in outputs.items()})"])


def _from_bytes(file: ModelFile) -> str:
    names = ("boxes", "scores", "classes") + (("masks",) if "masks" in file.metadata.outputs else ())
    return "\n".join(
        [
            "import tensorflow as tf",
            "",
            f'model = tf.saved_model.load("{file.path.name}")',
            f'photos = tf.stack([tf.io.read_file("{PHOTO}")]{_times(file)})',
            "found = model.serve_bytes(photos)",
            'count = int(found["num_detections"][0])  # boxes are yxyx in pixels of the photo',
            f"print({{name: found[name][0, :count] for name in {names}}})".replace("'", '"'),
        ]
    )


def _with_mediapipe(file: ModelFile) -> str:
    detects = file.metadata.detects
    rectangle = "from mediapipe.tasks.python.components.containers.rect import RectF"
    imports = ["import mediapipe as mp", "import numpy as np"] + ([] if detects else [rectangle])
    imports += ["from PIL import Image, ImageOps"]
    read = [
        f'photo = ImageOps.exif_transpose(Image.open("{PHOTO}")).convert("RGB")',
        "image = mp.Image(image_format=mp.ImageFormat.SRGB, data=np.asarray(photo))",
    ]
    run = _detector(file) if detects else _classifier(file)
    return "\n".join([*imports, "", *read, *run])


def _detector(file: ModelFile) -> list[str]:
    return [
        f'with mp.tasks.vision.ObjectDetector.create_from_model_path("{file.path.name}") as detector:',
        "    found = detector.detect(image).detections",
        "for one in found:",
        "    print(one.categories[0].category_name, one.categories[0].score, one.bounding_box)",
    ]


def _classifier(file: ModelFile) -> list[str]:
    """Return lines that classify the central crop."""
    height, width = file.metadata.image_size
    return [
        f"scale = {file.metadata.center} * min(photo.width / {width}, photo.height / {height})",
        f"x, y = {width} * scale / photo.width / 2, {height} * scale / photo.height / 2",
        "region = RectF(left=0.5 - x, top=0.5 - y, right=0.5 + x, bottom=0.5 + y)",
        "options = mp.tasks.vision.ImageProcessingOptions(region_of_interest=region)",
        f'with mp.tasks.vision.ImageClassifier.create_from_model_path("{file.path.name}") as classifier:',
        "    found = classifier.classify(image, options).classifications[0].categories",
        "print({one.category_name: one.score for one in found})",
    ]


def _images(file: ModelFile) -> list[str]:
    """Return the lines that read a photo as the file's input."""
    given = file.metadata.input
    height, width = file.metadata.image_size
    mean, std = given["mean"], given["std"]
    color = tuple(round(255 * value) for value in mean)
    fitted = f"ImageOps.pad(photo, ({width}, {height}), Image.Resampling.BILINEAR, {color}, centering=(0, 0))"
    if "center" in given:
        bleed = round((1 - given["center"]) / 2, 4)
        fitted = f"ImageOps.fit(photo, ({width}, {height}), Image.Resampling.BILINEAR, bleed={bleed})"
    lines = [f'photo = ImageOps.exif_transpose(Image.open("{PHOTO}")).convert("RGB")']
    if given["dtype"] == "uint8":
        return [*lines, f"images = np.stack([np.asarray({fitted})]{_times(file)})"]
    lines += [f"pixels = np.asarray({fitted}) / 255", f"image = ((pixels - {mean}) / {std}).astype(np.float32)"]
    return [*lines, f"images = np.stack([image]{_times(file)})"]


def _times(file: ModelFile) -> str:
    """Return the code that repeats a list with one image as often as a call of the file takes images."""
    return f" * {file.batch_size}" if file.batch_size > 1 else ""


def _tflite(name: str) -> tuple[list[str], list[str]]:
    imports = ["from ai_edge_litert.interpreter import Interpreter"]
    return imports, [f'outputs = Interpreter("{name}").get_signature_runner()(images=images)']


def _saved_model(name: str) -> tuple[list[str], list[str]]:
    calls = [f'model = tf.saved_model.load("{name}")']
    return ["import tensorflow as tf"], [*calls, 'outputs = model.signatures["serve"](images=tf.constant(images))']


def _onnx(name: str) -> tuple[list[str], list[str]]:
    calls = [
        f'session = onnxruntime.InferenceSession("{name}")',
        "names = [output.name for output in session.get_outputs()]",
        'outputs = dict(zip(names, session.run(names, {"images": images})))',
    ]
    return ["import onnxruntime"], calls


def _openvino(name: str) -> tuple[list[str], list[str]]:
    calls = [
        f'model = openvino.Core().compile_model("{name}", "CPU")',
        'outputs = {output.any_name: x for output, x in model({"images": images}).items()}',
    ]
    return ["import openvino"], calls


_CALLS: dict[str, Callable[[str], tuple[list[str], list[str]]]]
_CALLS = {TFLITE: _tflite, SAVED_MODEL: _saved_model, ONNX: _onnx, OPENVINO: _openvino}
