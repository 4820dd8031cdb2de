"""Mask R-CNN exports like any detector, with masks, although its net selects the detections itself."""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

import spinenet_tf
from spinenet_tf import export
from spinenet_tf.export.check.selected import selected_difference
from spinenet_tf.export.check.verify import check
from spinenet_tf.export.openvinomodel import openvino
from spinenet_tf.export.serving.mask_crops import masks_within
from spinenet_tf.export.torchprogram import torch_program
from spinenet_tf.heads.mask_rcnn.model import ROW, MaskRCNN
from spinenet_tf.inference.artifacts import open_artifact
from spinenet_tf.inference.engines import Setup, load
from spinenet_tf.inference.inspection import inspect
from spinenet_tf.inference.metadata import read_metadata

SHAPE = (64, 96, 3)  # not square: a swap of the sides shows
DETECTIONS = 5
NAMES = ("cat", "dog", "cow")
TOLERANCE = {"boxes": 1e-2, "scores": 1e-4, "classes": 0, "num_detections": 0, "masks": 1e-4}


@pytest.fixture(scope="module")
def net(three_blocks, stirred) -> MaskRCNN:
    keras.utils.set_random_seed(0)  # the fixture that seeds each test comes later
    small = {"max_level": 5, "endpoint": 8, "max_detections": DETECTIONS, **ROW.smallest}
    return stirred(spinenet_tf.detector(three_blocks, len(NAMES), SHAPE, "mask_rcnn", **small, score_threshold=0.37))


@pytest.fixture(scope="module")
def inputs() -> np.ndarray:
    return np.random.default_rng(2).standard_normal((2, *SHAPE), "float32")


@pytest.fixture(scope="module")
def expected(net, inputs) -> dict[str, np.ndarray]:
    found = net.predict(inputs, verbose=0)
    assert 0 < found["num_detections"].min() < DETECTIONS  # the threshold of the scores shows
    assert found["masks"][0, 0].std() > 0.01
    return found


WRITERS: dict[str, Callable] = {
    "model.tflite": export.tflite,
    "saved_model": export.saved_model,
    "model.onnx": export.onnx,
    "model.xml": openvino,
}


@pytest.fixture(scope="module")
def written(net, tmp_path_factory) -> Callable[[str], Path]:
    """Return `written(name)`: the path of a file, written once."""
    folder, found = tmp_path_factory.mktemp("files"), {}

    def write(name: str) -> Path:
        if name not in found:
            (folder / name).mkdir()  # files of equal names share their metadata
            found[name] = WRITERS[name](net, folder / name / name, class_names=NAMES)
        assert found[name].difference["max"] < 1e-5
        return found[name].path

    return write


def assert_same(found, expected) -> None:
    for name, value in expected.items():
        np.testing.assert_allclose(np.asarray(found[name]), value, atol=TOLERANCE[name])


@pytest.mark.parametrize("name", WRITERS)
def test_a_file_of_each_format_gives_the_detections_of_keras(written, name, inputs, expected) -> None:
    model = open_artifact(written(name))
    assert_same(model.predict(inputs), expected)
    assert model.metadata.task == "instance segmentation"
    assert model.metadata.outputs["masks"]["shape"][1:] == [DETECTIONS, 28, 28]
    assert "of its box" in model.metadata.outputs["masks"]["layout"]


@pytest.mark.parametrize("name", WRITERS)
def test_a_loaded_file_gives_masks_in_pixels_of_the_image(written, net, name) -> None:
    image = np.random.default_rng(4).integers(0, 256, (50, 140, 3), np.uint8)  # ends in padding below
    found, in_keras = spinenet_tf.load(written(name))(image), spinenet_tf.load(net)(image)
    assert len(found) == len(in_keras) > 0
    assert found.names == [NAMES[label] for label in in_keras.classes]
    assert found.masks.shape == (len(found), 50, 140)
    assert (found.masks != in_keras.masks).mean() < 1e-3
    np.testing.assert_allclose(found.boxes, in_keras.boxes, atol=1e-2)


def test_a_tflite_file_has_builtin_operations_and_detections_in_order(written) -> None:
    found = inspect(path := written("model.tflite"))
    assert not [name for name in found.ops if name.startswith(("Flex", "CUSTOM", "WHILE", "TFLite"))]
    assert found.ops["NON_MAX_SUPPRESSION_V5"] == 2  # of the proposals and of the detections
    assert list(found.outputs) == ["boxes", "classes", "scores", "num_detections", "masks"]
    assert read_metadata(path).output_kind == "detections"


def test_dynamic_range_is_near_keras_and_smaller(written, net, inputs, tmp_path) -> None:
    artifact = export.tflite(net, tmp_path / "a.tflite", "dynamic")
    assert 1e-6 < artifact.difference["mean"] < 0.05
    assert artifact.size < 0.9 * written("model.tflite").stat().st_size
    found, expected = (open_artifact(path).predict(inputs) for path in (artifact.path, written("model.tflite")))
    np.testing.assert_allclose(found["scores"], expected["scores"], atol=0.05)


def test_several_images_per_call(net, inputs, expected, tmp_path) -> None:
    path = export.tflite(net, tmp_path / "a.tflite", batch_size=2).path
    assert_same(open_artifact(path).predict(inputs), expected)


@pytest.mark.parametrize("signature", ["serve_image", "serve_bytes"])
def test_a_saved_model_returns_masks_of_boxes_in_the_image(written, net, signature) -> None:
    """A box that ends in the padding is cut where the image ends, and its mask with it."""
    model = tf.saved_model.load(str(written("saved_model")))
    image = np.random.default_rng(4).integers(0, 256, (50, 140, 3), np.uint8)
    file = io.BytesIO()
    Image.fromarray(image).save(file, "PNG")
    given = tf.constant([file.getvalue()]) if signature == "serve_bytes" else image[None]
    found = model.signatures[signature](images=given)
    count, in_keras = int(found["num_detections"][0]), spinenet_tf.load(net)(image)
    assert count == len(in_keras)
    np.testing.assert_allclose(found["boxes"][0, :count], in_keras.boxes, atol=1e-2)
    assert found["masks"].shape == (1, DETECTIONS, 28, 28)
    assert not np.any(found["masks"][0, count:])


def test_the_signature_raw_has_no_score_threshold(written, net, inputs) -> None:
    model = tf.saved_model.load(str(written("saved_model")))
    found = model.signatures["raw"](images=tf.constant(inputs))
    assert_same(found, {name: np.asarray(x) for name, x in net(inputs).items()})
    assert (found["num_detections"].numpy() == DETECTIONS).all()


@pytest.mark.parametrize("name", ["model.onnx", "model.tflite"])
def test_a_limit_beyond_that_of_the_net_is_refused(written, inputs, name) -> None:
    with pytest.raises(ValueError, match=rf"{DETECTIONS} detections per image"):
        spinenet_tf.load(written(name), max_detections=DETECTIONS + 1)


def test_a_smaller_limit_keeps_the_best(written, inputs, expected) -> None:
    found = spinenet_tf.load(written("model.onnx"), max_detections=2).predict(inputs)
    np.testing.assert_allclose(found["scores"], expected["scores"][:, :2], atol=1e-4)
    assert found["masks"].shape == (2, 2, 28, 28)


def test_a_benchmark_runs_files_with_masks(written) -> None:
    runner = load(Setup("TFLite", written("model.tflite"), 1, "masks"))
    assert runner.detects
    assert runner.on_example()()["masks"].shape == (1, DETECTIONS, 28, 28)


def test_masks_are_cut_with_their_boxes() -> None:
    columns = np.arange(28, dtype="float32") / 27
    masks = np.broadcast_to(columns, (1, 3, 28, 28))
    whole = np.float32([[[0, 0, 10, 40], [0, 10, 10, 50], [5, 5, 5, 5]]])
    boxes = np.float32([[[0, 0, 10, 40], [0, 10, 10, 30], [5, 5, 5, 5]]])
    found = masks_within(masks, whole, boxes).numpy()
    np.testing.assert_allclose(found[0, [0, 2]], masks[0, [0, 2]], atol=1e-6)
    # The left half: cell i is centered at (i + 0.5) / 2 cells of the whole mask.
    middle = np.clip((np.arange(28) + 0.5) / 2 - 0.5, 0, 27) / 27
    np.testing.assert_allclose(found[0, 1], np.broadcast_to(middle, (28, 28)), atol=1e-6)


REFUSED = {
    "gpu": (lambda net, path: export.tflite(net, path / "a.tflite", target="gpu"), "no GPU or NPU supports: use the"),
    "npu": (lambda net, path: export.tflite(net, path / "a.tflite", target="npu"), "no GPU or NPU supports: use the"),
    "mediapipe": (
        lambda net, path: export.tflite(net, path / "a.tflite", target="mediapipe"),
        "no detections with masks",
    ),
    "raw": (lambda net, path: export.tflite(net, path / "a.tflite", outputs="raw"), r"Valid outputs .*'detections'"),
    "sensitivity": (lambda net, path: export.find_sensitive(net, [1], np.zeros((1, *SHAPE))), "use the quantization"),
    "int8": (
        lambda net, path: export.tflite(net, path / "a.tflite", "int8", [1]),
        "rounded to 8 or 16 bits: use the quantization dynamic",
    ),
    "without NMS": (lambda net, path: export.saved_model(net, path / "a", nms=False), "inside the net, not after it"),
    "web": (lambda net, path: export.web(net, path / "a"), "draws no masks"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_have_masks_is_refused_in_words(net, tmp_path, case) -> None:
    write, message = REFUSED[case]
    with pytest.raises(ValueError, match=message):
        write(net, tmp_path)
    assert not list(tmp_path.iterdir())


def test_torch_programs_are_refused_in_words(net, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr("spinenet_tf.export.torchprogram.check_backend", lambda needed: None)
    with pytest.raises(ValueError, match=re.escape("its NMS depends on the data: use SavedModel, ONNX or TFLite")):
        torch_program(net, tmp_path / "a.pt2")


class Changed:
    """A runner that gives what Keras gives, changed by a function."""

    def __init__(self, net: MaskRCNN, change: Callable[[dict[str, np.ndarray]], None]):
        self.net, self.change = net, change

    def raw(self, images: np.ndarray) -> dict[str, np.ndarray]:
        found = {name: np.array(x) for name, x in self.net(images).items()}
        self.change(found)
        return found


def swap(found: dict[str, np.ndarray]) -> None:
    """Swap the first two detections, as rounding errors swap those with almost equal scores."""
    for name in ("boxes", "classes", "masks"):
        found[name][:, :2] = found[name][:, 1::-1]


def halve(name: str) -> Callable[[dict[str, np.ndarray]], None]:
    return lambda found: found[name].__setitem__((slice(None), 2), found[name][:, 2] / 2)


def test_the_check_finds_each_wrong_output(net, inputs) -> None:
    for name in ("boxes", "scores", "masks"):
        with pytest.raises(export.ExportError, match="differs from Keras"):
            check(net, Changed(net, halve(name)))
    with pytest.raises(export.ExportError, match="differs from Keras"):
        check(net, Changed(net, lambda found: found["masks"].fill(np.nan)))


def test_the_check_does_not_compare_what_rounding_errors_decide(net, inputs) -> None:
    """Two detections with almost equal scores may come in any order, but each is there."""
    scores = net(inputs)["scores"].numpy()
    found = selected_difference(net, Changed(net, swap).raw, inputs, 1e-4)
    assert found["max"] <= np.abs(scores[:, 0] - scores[:, 1]).max() + 1e-6
