"""MediaPipe Tasks find in a photo what `spinenet_tf.load` finds, with the same file."""

from __future__ import annotations

import json
import re
import shutil
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from small_detector import stir

import spinenet_tf
from spinenet_tf import export
from spinenet_tf._files.progress import untracked
from spinenet_tf.data import DetectionDataset, digits, read_image
from spinenet_tf.data.fitting import stretched
from spinenet_tf.data.input.pipeline import evaluation_batches
from spinenet_tf.export.card.code import without_package
from spinenet_tf.export.card.facts import describe_file
from spinenet_tf.export.check.subjects import Subject
from spinenet_tf.export.litert import model_metadata as tables

SHAPE = (96, 128, 3)  # not square: a swap of the sides shows
SIZES = {"landscape": (120, 180), "portrait": (180, 120), "square": (150, 150)}
STEPS = 60  # as many as the detector needs to find all digits of three scenes
NAMES = {"retinanet": ("digit",), "centernet": ("ü",), "classifier": ("a", "digit", "ç")}
CENTER = 0.8


@pytest.fixture(scope="module")
def scenes(tmp_path_factory) -> DetectionDataset:
    """Return a photograph with digits of each of `SIZES`."""
    folder = tmp_path_factory.mktemp("scenes")
    sets = [digits(folder, scenes=1, classes=1, size=size) for size in SIZES.values()]
    return replace(sets[0], examples=tuple(replace(data[0], image_id=i) for i, data in enumerate(sets)))


@pytest.fixture(scope="module")
def photos(scenes) -> dict[str, np.ndarray]:
    return {name: read_image(scene.path) for name, scene in zip(SIZES, scenes, strict=True)}


@pytest.fixture(scope="module")
def retinanet(tiny_spec, scenes) -> keras.Model:
    """Return a detector that has learned the scenes by heart."""
    keras.utils.set_random_seed(0)  # the fixture that seeds each test comes later
    options = {"head_depth": 1, "head_width": 16, "anchor_size": 2.0, "score_threshold": 0.3, "max_detections": 20}
    style = {"max_level": 5, "endpoint": 16, "width": 4.0, "activation": "relu6", "norm_momentum": 0.9}
    model = spinenet_tf.detector(tiny_spec, 1, SHAPE, **style, **options)
    images, targets = next(iter(evaluation_batches(scenes, SHAPE[:2], len(scenes), stretch=True)))
    truth = {"boxes": targets["boxes"], "classes": targets["classes"]}
    rate = keras.optimizers.schedules.CosineDecay(1e-2, STEPS)
    model.compile(keras.optimizers.Adam(rate, global_clipnorm=10.0), jit_compile=False)
    model.fit(images, truth, batch_size=len(scenes), epochs=STEPS, verbose=0)
    return model


@pytest.fixture(scope="module")
def centernet(tiny_mobile_spec) -> keras.Model:
    keras.utils.set_random_seed(0)
    style = {"max_level": 5, "endpoint": 8, "activation": "relu6", "se_ratio": 0}
    options = {"head_width": 16, "score_threshold": 0.2, "max_detections": 20}
    return stir(spinenet_tf.detector(tiny_mobile_spec, 1, SHAPE, "centernet", **style, **options))


@pytest.fixture(scope="module")
def classifier(tiny_spec) -> keras.Model:
    keras.utils.set_random_seed(0)
    return stir(spinenet_tf.classifier(tiny_spec, 3, SHAPE, endpoint=8, activation="relu6"))


@pytest.fixture(scope="module")
def file(tmp_path_factory, request) -> Callable[[str], Path]:
    """Return `file(kind)`, which returns the file for MediaPipe of a model named in `NAMES`, written once."""
    folder = tmp_path_factory.mktemp("files")

    def get(kind: str) -> Path:
        path, model = folder / f"{kind}.tflite", request.getfixturevalue(kind)
        if not path.exists():
            export.tflite(model, path, target="mediapipe", class_names=NAMES[kind], center=CENTER)
        return path

    return get


@pytest.mark.parametrize("head", ["retinanet", "centernet"])
def test_a_detector_finds_the_same(mediapipe, photos, file, head: str) -> None:
    path = file(head)
    found, predictor = mediapipe("detect", path, **photos), spinenet_tf.load(path)
    for name, photo in photos.items():
        ours = predictor(photo)
        assert 0 < len(ours) == len(found[f"{name} scores"])
        assert found[f"{name} names"].tolist() == ours.names
        np.testing.assert_allclose(found[f"{name} scores"], ours.scores, atol=0.01)
        corners, ends = np.split(ours.boxes, 2, axis=1)
        for part, expected in (("corners", corners), ("sides", ends - corners)):  # MediaPipe truncates each to pixels
            np.testing.assert_allclose(found[f"{name} {part}"], expected, atol=1.0)


def test_evaluation_and_benchmarks_stretch_the_images(file, scenes, tmp_path: Path) -> None:
    found, subject = spinenet_tf.evaluate(file("retinanet"), scenes), Subject(file("retinanet"))
    assert found.AP50 > 0.9
    (setup,) = subject.setups([1], False, [], tmp_path, untracked)
    assert subject.average_precision(setup, scenes) == pytest.approx(found.AP)


def test_mediapipe_reads_what_the_tables_say(mediapipe, file) -> None:
    found = json.loads(str(mediapipe("describe", file("centernet"))["metadata"]))
    (graph,) = found["subgraphMetadata"]
    (given,), outputs = graph["inputTensorMetadata"], graph["outputTensorMetadata"]
    assert given["content"]["contentProperties"] == {"colorSpace": tables.RGB}
    assert given["processUnits"][0]["options"] == {"mean": [0.0], "std": [1.0]}
    assert [output["name"] for output in outputs] == ["location", "category", "score", "number of detections"]
    box = {"index": [1, 0, 3, 2], "type": tables.BOUNDARIES, "coordinateType": tables.RATIO}
    assert outputs[0]["content"]["contentProperties"] == box
    assert outputs[1]["associatedFiles"] == [{"name": "labels.txt", "type": tables.VALUE_LABELS}]
    with zipfile.ZipFile(file("centernet")) as archive:
        assert archive.namelist() == ["metadata.json", "labels.txt"]


def test_a_classifier_scores_the_same_in_the_central_crop(mediapipe, photos, file) -> None:
    regions = {f"{name} region": region(photo) for name, photo in photos.items()}
    found = mediapipe("classify", file("classifier"), **photos, **regions)
    predictor = spinenet_tf.load(file("classifier"))
    for name, photo in photos.items():
        ours = predictor(photo)
        assert found[f"{name} names"].tolist() == list(NAMES["classifier"])
        np.testing.assert_allclose(found[f"{name} scores"], ours.probabilities, atol=0.01)
        assert np.ptp(ours.probabilities) > 0.1


def region(photo: np.ndarray) -> np.ndarray:
    """Return the central crop as left, top, right and bottom, relative to the photo."""
    whole, target = np.array(photo.shape[1::-1]), np.array(SHAPE[1::-1])
    size = np.round(CENTER * target * (whole / target).min())
    begin = (whole - size) // 2
    return np.concatenate([begin, begin + size]) / np.tile(whole, 2)


@pytest.mark.parametrize("size", [*SIZES.values(), (427, 640), (50, 33)])  # the last one is enlarged
def test_pixels_are_those_of_mediapipe(mediapipe, tmp_path: Path, size: tuple[int, int]) -> None:
    """A classifier whose scores are its pixels shows them."""
    photo = np.random.default_rng(0).integers(0, 256, (*size, 3), np.uint8)

    @tf.function(input_signature=[tf.TensorSpec((1, *SHAPE), tf.uint8)])
    def show(images):
        return (tf.reshape(tf.cast(images, tf.float32), (1, -1)) + 1.0) / 256.0

    path = tmp_path / "pixels.tflite"
    path.write_bytes(tf.lite.TFLiteConverter.from_concrete_functions([show.get_concrete_function()]).convert())
    found = 256.0 * mediapipe("classify", path, photo=photo)["photo scores"].reshape(SHAPE) - 1.0
    np.testing.assert_array_equal(found, stretched(photo, *SHAPE[:2]))


SECTION = (Path(__file__).parents[2] / "docs" / "phones.md").read_text(encoding="utf-8").partition("## MediaPipe")[2]
SAMPLES = re.findall(r"```python\n(.*?)```", SECTION.partition("\n## ")[0], re.DOTALL)


@pytest.mark.parametrize("kind", ["retinanet", "classifier"])
def test_the_samples_of_the_docs_and_of_model_cards_run(run_python, file, scenes, tmp_path: Path, kind: str) -> None:
    path = tmp_path / "model-mediapipe.tflite"
    for suffix in (".tflite", ".metadata.json"):
        shutil.copy(file(kind).with_suffix(suffix), path.with_suffix(suffix))
    shutil.copy(scenes[0].path, tmp_path / "photo.jpg")
    for code in (SAMPLES[kind == "classifier"], without_package(describe_file(path))):
        assert "digit" in run_python("-c", code, folder=tmp_path)
