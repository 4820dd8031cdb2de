"""Models of every format load and find the same in an image, and everything else is refused with advice."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import keras
import numpy as np
import pytest

import spinenet_tf
from spinenet_tf import Detections, export
from spinenet_tf.data.fitting import preprocess
from spinenet_tf.inference import onnxfile, openvinofile
from spinenet_tf.inference.loading import read_task, read_validation
from spinenet_tf.inference.metadata import read_metadata
from spinenet_tf.training.config_file import find_config, make_config, read_config
from spinenet_tf.training.run import Run, build_model

SIZE = (64, 96)
NAMES, IDS = ("cat", "größer dog"), (17, 18)
FOUND = 20  # detections per image
# Forms that round pixels or activations, or whose NMS is that of all classes: of 20 objects, how many they find.
ROUNDED = {"tflite uint8 detections": 18, "tflite int8": 12, "tflite postprocess": 3}
BATCH_SIZES = {"saved_model": 8, "onnx of any batch": 8, "saved_model of pairs": 2, "tflite detections of pairs": 2}
COUNTS = (1, 2, 5)  # images: fewer than a pair, a pair, and pairs of which the last is not full
HEADS = {
    "retinanet": {"head_depth": 1, "head_width": 8, "score_threshold": 0.001, "max_detections": FOUND},
    "centernet": {"head_width": 8, "score_threshold": 0.001, "max_detections": FOUND},
}


@pytest.fixture(scope="module")
def photos() -> list[np.ndarray]:
    random = np.random.default_rng(0)
    return [random.integers(0, 256, (*size, 3), np.uint8) for size in ((50, 90), (64, 64), (200, 120))]


def write_run(folder: Path, spec, head: str, train: Callable) -> Path:
    """Write the folder of a run whose weights `train` sets."""
    overrides = {"max_level": 5, "endpoint": 8, "activation": "relu6"}
    model = {"name": "spinenet_49", "graph": spec.get_config(), "image_size": list(SIZE), "overrides": overrides}
    model["head"] = {"kind": head, **HEADS[head]}
    classes = {"class_names": list(NAMES), "category_ids": list(IDS)}
    config = make_config({"model": model, "batch_size": 1, "epochs": 1, **classes}, "a test")
    keras.utils.set_random_seed(0)
    Run(folder).create(config, model=train(build_model(config)))
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory, three_blocks, randomize) -> Path:
    """Return a folder with runs of each head."""
    folder = tmp_path_factory.mktemp("models")
    for head in HEADS:
        write_run(folder / head, three_blocks, head, randomize)
    return folder


@pytest.fixture(scope="module")
def expected(folder, photos) -> dict[str, list[Detections]]:
    return {head: spinenet_tf.load(folder / head)(photos) for head in HEADS}


OPTIONS = {
    "tflite": {},
    "tflite uint8 detections": {"inputs": "uint8", "outputs": "detections"},
    "tflite detections of pairs": {"outputs": "detections", "batch_size": 2},
    "tflite postprocess": {"outputs": "postprocess"},
    "tflite int8": {"quantization": "int8"},
    "saved_model": {},
    "saved_model of pairs": {"batch_size": 2, "nms": False},
    "onnx": {},
    "onnx of any batch": {"batch_size": None},
}


@pytest.fixture(scope="module")
def artifact(folder, photos) -> Callable[[str, str], Path]:
    """Return `artifact(head, form)`, which returns the path of a form in `OPTIONS`, written once; the path is the
    folder of the run for the form "run"."""

    def get(head: str, form: str) -> Path:
        if form == "run":
            return folder / head
        format, options = form.partition(" ")[0], OPTIONS[form]
        path = folder / f"{head} {form}.{format}"
        if not path.exists():
            if "quantization" in options:
                options = options | {"calibration": [_normalized(photos)]}
            model = Run(folder / head).load()
            getattr(export, format)(model, path, **options)
        return path

    return get


def _normalized(photos: list[np.ndarray]) -> np.ndarray:
    return np.stack([preprocess(photo, *SIZE)[0] for photo in photos])


def check_same(found: Detections, expected: Detections, boxes: float = 1e-2, scores: float = 1e-4) -> None:
    assert len(found) == len(expected) == FOUND
    assert found.names == expected.names
    np.testing.assert_allclose(found.scores, expected.scores, atol=scores)
    np.testing.assert_allclose(found.boxes, expected.boxes, atol=boxes)
    np.testing.assert_array_equal(found.image, expected.image)


PAIRS = [
    *(("retinanet", form) for form in OPTIONS if form not in ROUNDED),
    *(("centernet", form) for form in ("tflite", "tflite detections of pairs", "saved_model", "onnx")),
]


@pytest.mark.parametrize(("head", "form"), PAIRS)
def test_all_forms_of_a_detector_find_the_same(artifact, expected, photos, head: str, form: str) -> None:
    model = spinenet_tf.load(artifact(head, form))
    assert (model.task, model.image_size, model.max_detections) == ("detection", SIZE, FOUND)
    assert (model.class_names, model.category_ids) == (NAMES, IDS)
    assert model.batch_size == BATCH_SIZES.get(form, 1)
    order = [0, 1, 2, 1, 0]
    for count in COUNTS:
        found = model([photos[number] for number in order[:count]])
        for one, number in zip(found, order[:count], strict=True):
            check_same(one, expected[head][number])
    check_same(model(photos[1]), expected[head][1])


@pytest.mark.parametrize("form", ROUNDED)
def test_forms_that_round_find_almost_the_same(artifact, expected, photos, form: str) -> None:
    model = spinenet_tf.load(artifact("retinanet", form))
    for found, there in zip(model(photos), expected["retinanet"], strict=True):
        assert sum(_finds(found, one) for one in there) >= ROUNDED[form]


def _finds(found: Detections, one: Detections) -> bool:
    """Return whether an object is among the detections, with nearly the same box and score."""
    near = (np.abs(found.boxes - one.boxes) < 4).all(axis=1) & (np.abs(found.scores - one.scores) < 0.1)
    return bool((near & (found.classes == one.classes)).any())


def test_a_keras_model_is_taken_as_it_is(folder, expected, photos) -> None:
    predictor = spinenet_tf.load(Run(folder / "retinanet").load())
    for found, there in zip(predictor(photos), expected["retinanet"], strict=True):
        np.testing.assert_allclose(found.boxes, there.boxes, atol=1e-4)
        np.testing.assert_array_equal(found.classes, there.classes)
    with pytest.raises(ValueError, match=r"Set the limit when you build the model\. Received: max_detections=5"):
        spinenet_tf.load(Run(folder / "retinanet").load(), max_detections=5)


def test_objects_that_are_no_path_and_no_model_are_refused(tiny_backbone, three_blocks) -> None:
    for given in (tiny_backbone, None, 3):
        with pytest.raises(TypeError, match=r"`path` must be a path, or a detector or classifier of spinenet_tf"):
            spinenet_tf.load(given)
    model = spinenet_tf.detector(three_blocks, 1, (None, None, 3), max_level=5, endpoint=8)
    with pytest.raises(ValueError, match=r"Build the model with a static input_shape=\(H, W, 3\)"):
        spinenet_tf.load(model)


@pytest.mark.parametrize("form", ["run", "tflite", "saved_model", "onnx of any batch"])
def test_a_detector_returns_as_many_detections_as_asked_for(artifact, expected, photos, form: str) -> None:
    few = spinenet_tf.load(artifact("retinanet", form), max_detections=7)
    assert few.max_detections == 7
    assert len(few(photos[0])) == 7
    np.testing.assert_allclose(few(photos[0]).scores, expected["retinanet"][0].scores[:7], atol=1e-4)


def test_a_limit_that_is_fixed_in_the_file_is_refused(artifact) -> None:
    path = artifact("retinanet", "tflite uint8 detections")
    assert spinenet_tf.load(path, max_detections=FOUND).max_detections == FOUND
    with pytest.raises(ValueError, match="The file has a fixed limit of 20 detections per image"):
        spinenet_tf.load(path, max_detections=7)


@pytest.mark.parametrize("form", ["tflite", "onnx of any batch"])
def test_threads_are_those_of_the_engine(artifact, expected, photos, form: str) -> None:
    check_same(spinenet_tf.load(artifact("retinanet", form), threads=1)(photos[0]), expected["retinanet"][0])


@pytest.mark.parametrize("form", ["run", "saved_model"])
def test_threads_of_tensorflow_are_refused(artifact, form: str) -> None:
    with pytest.raises(ValueError, match=r"TensorFlow's threads belong to the process: .* Received: threads=1"):
        spinenet_tf.load(artifact("retinanet", form), threads=1)


@pytest.mark.parametrize("form", ["saved_model", "onnx"])
def test_validation_data_is_read_from_runs_only(artifact, form: str) -> None:
    assert read_task(artifact("retinanet", form)) == "detection"
    with pytest.raises(ValueError, match="An exported model has no validation data: pass --annotations and --images"):
        read_validation(artifact("retinanet", form))


@pytest.mark.parametrize(("config", "task"), [("digits", "detection"), ("digits-classification", "classification")])
def test_a_run_tells_its_task(config: str, task: str, tmp_path: Path) -> None:
    Run(tmp_path / "run").create(read_config(find_config(config)))
    assert read_task(tmp_path / "run") == task
    with pytest.raises(ValueError, match=r"has no class_names|has no weights yet"):
        spinenet_tf.load(tmp_path / "run")


REFUSED = {
    "nowhere": (FileNotFoundError, r"There is no model .*nowhere\."),
    "empty": (ValueError, r"empty is neither a run folder \(no config.yaml\) nor a SavedModel \(no saved_model.pb\)"),
    "model.keras": (
        ValueError,
        r"model\.keras is a Keras model: load it by keras\.saving\.load_model, and pass the model\.",
    ),
    "best.weights.h5": (ValueError, r"best\.weights\.h5 has weights only: pass the folder of its run"),
    "model.pt": (ValueError, r"A model must be the folder of a run or of a SavedModel, .* Received: .*model\.pt"),
    "model.onnx": (ValueError, r"model\.onnx has no metadata: it was not written by spinenet_tf\.export"),
    "voc.xml": (ValueError, r"voc\.xml has no metadata: it was not written by spinenet_tf\.export"),
    "bomb.xml": (ValueError, r"bomb\.xml has no metadata: it was not written by spinenet_tf\.export"),
    "model.tflite": (ValueError, r"model\.tflite has no metadata: it was not written by spinenet_tf\.export"),
    "saved": (ValueError, r"saved has no metadata: it was not written by spinenet_tf\.export"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_everything_else_is_refused_with_advice(name: str, tmp_path: Path) -> None:
    for folder in ("empty", "saved"):
        (tmp_path / folder).mkdir()
    for file in ("model.keras", "best.weights.h5", "model.pt", "model.onnx", "model.tflite", "saved/saved_model.pb"):
        (tmp_path / file).write_text("no model of this package")
    (tmp_path / "voc.xml").write_text("<annotation><filename>1.jpg</filename></annotation>")
    (tmp_path / "bomb.xml").write_text(
        '<!DOCTYPE a [<!ENTITY b "c">]><net><rt_info><metadata.json value="&b;"/></rt_info></net>'
    )
    error, message = REFUSED[name]
    with pytest.raises(error, match=message):
        spinenet_tf.load(tmp_path / name)


def test_a_backbone_is_refused(tiny_backbone, tmp_path: Path) -> None:
    export.saved_model(tiny_backbone, tmp_path / "backbone")
    with pytest.raises(ValueError, match=r"is not a detector or a classifier\. Received: task='backbone'"):
        spinenet_tf.load(tmp_path / "backbone")


def test_without_onnx_runtime_an_onnx_file_names_the_extra(artifact, monkeypatch) -> None:
    path = artifact("retinanet", "onnx")
    monkeypatch.setattr(onnxfile, "find_spec", lambda name: None)
    assert read_metadata(path).class_names == list(NAMES), "the metadata is read without it"
    with pytest.raises(ImportError, match=r"ONNX files need onnxruntime: pip install spinenet_tf\[onnx\]"):
        spinenet_tf.load(path)


@pytest.fixture(scope="module")
def openvino(folder) -> Path:
    """Return the .xml file of the RetinaNet."""
    pytest.importorskip("openvino")
    path = folder / "retinanet.xml"
    Run(folder / "retinanet").load().export(path, format="openvino", verbose=False)
    return path


def test_an_openvino_file_finds_the_same(openvino, expected, photos) -> None:
    model = spinenet_tf.load(openvino)
    assert (model.task, model.image_size, model.max_detections) == ("detection", SIZE, FOUND)
    assert (model.class_names, model.category_ids) == (NAMES, IDS)
    assert model.batch_size == 8
    for found, there in zip(model(photos), expected["retinanet"], strict=True):
        check_same(found, there)
    few = spinenet_tf.load(openvino, max_detections=7, threads=1)(photos[0])
    np.testing.assert_allclose(few.scores, expected["retinanet"][0].scores[:7], atol=1e-4)


def test_threads_may_share_an_openvino_file(openvino, expected, photos) -> None:
    model = spinenet_tf.load(openvino)
    with ThreadPoolExecutor(4) as pool:
        for found in pool.map(model, [photos[2]] * 12):
            check_same(found, expected["retinanet"][2])


def test_an_openvino_file_without_its_package_or_weights_is_refused(openvino, tmp_path, monkeypatch) -> None:
    alone = tmp_path / "alone.xml"
    alone.write_bytes(openvino.read_bytes())
    with pytest.raises(ValueError, match=r"OpenVINO cannot load .*alone\.xml"):
        spinenet_tf.load(alone)
    monkeypatch.setattr(openvinofile, "find_spec", lambda name: None)
    assert read_metadata(openvino).class_names == list(NAMES), "the metadata is read without it"
    with pytest.raises(ImportError, match=r"OpenVINO files need openvino: pip install spinenet_tf\[openvino\]"):
        spinenet_tf.load(openvino)


def test_a_damaged_onnx_file_is_refused(artifact, tmp_path: Path) -> None:
    whole, random = artifact("retinanet", "onnx").read_bytes(), np.random.default_rng(0)
    cut = tmp_path / "cut.onnx"
    for size in (0, 1, 100, len(whole) - 2000):
        cut.write_bytes(whole[:size])
        with pytest.raises(ValueError, match=r"cut\.onnx has no metadata"):
            spinenet_tf.load(cut)
    for _ in range(300):
        changed = bytearray(whole)
        for place in [*random.integers(0, 200, 2), *random.integers(0, len(whole), 2)]:
            changed[place] = random.integers(256)
        cut.write_bytes(changed)
        with suppress(ValueError):
            read_metadata(cut)
    cut.write_bytes(whole[:-1] + b"\xff" * 20)
    with pytest.raises(ValueError, match=r"cut\.onnx has (no|damaged) metadata|cannot load"):
        spinenet_tf.load(cut)
