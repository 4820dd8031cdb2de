"""Files that an earlier commit wrote load and give the same results.

`written_before/files.zip` was written by fbc9a72: models, weights, a run and a .tflite of one small graph, with coarse
weights that compress well. `expected.json` has their results.
"""

from __future__ import annotations

import json
import subprocess
import sys
import zipfile
from pathlib import Path

import keras
import numpy as np
import pytest

from spinenet_tf import ArchitectureSpec, BlockSpec, classifier, detector

HERE = Path(__file__).parent / "written_before"
EXPECTED = json.loads((HERE / "expected.json").read_text())
SPEC = ArchitectureSpec("tiny", (2, 2), (BlockSpec(3, "residual", (0, 1), is_output=True),), {2: 32, 3: 32})
SMALL = {"max_level": 3, "endpoint": 8, "width": 0.125}
HEAD = {"head_depth": 1, "head_width": 8, "score_threshold": 0.001}
LOAD = "import sys, keras, spinenet_tf; [keras.saving.load_model(path) for path in sys.argv[1:]]"

pytestmark = pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="TensorFlow computed the numbers")


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("written before")
    with zipfile.ZipFile(HERE / "files.zip") as archive:
        archive.extractall(folder)
    return folder


def noise() -> tuple[np.ndarray, np.ndarray]:
    """Return the input of the results: a normalized image `[1, 32, 32, 3]` and a photograph `[40, 48, 3]`."""
    random = np.random.default_rng(2)
    return random.normal(size=(1, 32, 32, 3)).astype("float32"), random.integers(0, 256, (40, 48, 3), dtype=np.uint8)


def check_outputs(model: keras.Model) -> None:
    given = model(noise()[0], training=False)
    if isinstance(given, dict):
        found = {name: np.asarray(levels["P3"])[0, 1, 2] for name, levels in given.items()}
        assert found.keys() == EXPECTED["detector"].keys()
        for name, values in EXPECTED["detector"].items():
            np.testing.assert_allclose(found[name], values, rtol=1e-4, atol=1e-5)
    else:
        np.testing.assert_allclose(np.asarray(given)[0], EXPECTED["classifier"], rtol=1e-4, atol=1e-5)


def next_loss(model: keras.Model) -> float:
    """Train one more step on the model's training data, and return its loss."""
    images = np.random.default_rng(1).normal(size=(4, 32, 32, 3)).astype("float32")
    boxes = np.array([[[2, 2, 20, 20]], [[8, 4, 30, 24]], [[0, 0, 16, 8]], [[-1, -1, -1, -1]]], "float32")
    truth = {"boxes": boxes, "classes": np.array([[0], [2], [1], [-1]], "int32")}
    targets = np.array([0, 1, 2, 1]) if isinstance(model.output, keras.KerasTensor) else truth
    return model.fit(images, targets, batch_size=4, shuffle=False, verbose=0).history["loss"][0]


@pytest.mark.parametrize("kind", ["detector", "classifier"])
def test_a_keras_file_with_our_optimizer_and_schedule(folder, kind) -> None:
    model = keras.saving.load_model(folder / f"{kind}.keras")
    check_outputs(model)
    assert (model.class_names, model.category_ids) == (None, None)
    assert type(model.optimizer).__name__ == {"detector": "SGD", "classifier": "Adam"}[kind]
    assert type(model.optimizer).__module__.startswith("spinenet_tf.")
    assert int(model.optimizer.iterations) == 3
    np.testing.assert_allclose(next_loss(model), EXPECTED["next_loss"][kind], rtol=1e-3)


def test_keras_files_load_after_import_spinenet_tf(folder) -> None:
    subprocess.run([sys.executable, "-c", LOAD, folder / "detector.keras", folder / "classifier.keras"], check=True)


@pytest.mark.parametrize("kind", ["detector", "classifier"])
def test_weights(folder, kind) -> None:
    head = HEAD if kind == "detector" else {}
    model = {"detector": detector, "classifier": classifier}[kind](SPEC, 3, (32, 32, 3), **SMALL, **head)
    model.load_weights(folder / f"{kind}.weights.h5")
    check_outputs(model)


def test_a_named_model_keeps_its_names_with_weights_without_names(folder) -> None:
    model = detector(SPEC, class_names=["a", "b", "c"], input_shape=(32, 32, 3), **SMALL, **HEAD)
    model.load_weights(folder / "detector.weights.h5")
    check_outputs(model)
    assert (model.class_names, model.category_ids) == (("a", "b", "c"), None)


@pytest.mark.parametrize("name", ["run", "detector.tflite"])
def test_a_run_and_a_tflite_file(folder, monkeypatch, name) -> None:
    from spinenet_tf.inference.loading import load
    from spinenet_tf.nets.family import VARIANTS, Variant

    heads = {"retinanet": {"head_depth": 1, "head_width": 8}}
    row = Variant(SPEC, 32, {"endpoint": 8}, heads)
    monkeypatch.setitem(VARIANTS, "tiny", row)
    predictor = load(folder / name)
    found = predictor(noise()[1])
    assert list(predictor.class_names) == ["a", "b", "c"]
    for key, values in EXPECTED[name].items():
        np.testing.assert_allclose(getattr(found, key)[:5], values, rtol=1e-3, atol=1e-3)


def test_metadata_of_format_2(folder) -> None:
    from spinenet_tf.inference.metadata import read_metadata

    metadata = read_metadata(folder / "detector.tflite")
    assert (metadata.format, metadata.task, metadata.model, metadata.image_size) == (5, "detection", "tiny", (32, 32))
    assert metadata.class_names == ["a", "b", "c"]
    head, options = metadata.known_head()
    assert (head.name, options.score_threshold) == ("retinanet", HEAD["score_threshold"])
    assert (options.num_scales, options.aspect_ratios, options.anchor_size) == (3, (0.5, 1.0, 2.0), 3.0)
