"""The SavedModel does what Keras does, in plain TensorFlow."""

from __future__ import annotations

import os
import subprocess
import sys

import keras
import numpy as np
import pytest

from spinenet_tf import export
from spinenet_tf.export.metadata import read_metadata
from spinenet_tf.export.signatures import flatten

# Loads and runs every signature with no package but TensorFlow, and hands the outputs back.
PLAIN = """
import sys
import numpy as np
import tensorflow as tf

path, images, results = sys.argv[1:]
images = tf.constant(np.load(images))
model = tf.saved_model.load(path)
outputs = {}
for name, signature in model.signatures.items():
    assert list(signature.structured_input_signature[1]) == ["images"]
    outputs |= {f"{name}/{key}": x.numpy() for key, x in signature(images=images).items()}
assert "spinenet_tf" not in sys.modules
np.savez(results, **outputs)
"""


@pytest.fixture(scope="module")
def saved(detector, tmp_path_factory):
    path = tmp_path_factory.mktemp("saved") / "model"
    return export.saved_model(detector, path, class_names=["a", "b", "c"], batch_size=None)


@pytest.fixture(scope="module")
def outputs(saved, images, tmp_path_factory):
    folder = tmp_path_factory.mktemp("plain")
    np.save(folder / "images.npy", images)
    arguments = [str(saved.path), str(folder / "images.npy"), str(folder / "outputs.npz")]
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        [sys.executable, "-c", PLAIN, *arguments], cwd=folder, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert "custom gradients" not in done.stderr
    return np.load(folder / "outputs.npz")


def test_raw_outputs_equal_keras_in_plain_tensorflow(detector, images, outputs) -> None:
    expected = flatten(detector(images, training=False))
    assert {name for name in outputs if name.startswith("raw/")} == {f"raw/{name}" for name in expected}
    for name, x in expected.items():
        np.testing.assert_allclose(outputs[f"raw/{name}"], x, atol=1e-4)


@pytest.mark.parametrize("signature", ["detect", "serving_default"])
def test_detections_equal_keras_in_plain_tensorflow(detector, images, outputs, signature) -> None:
    expected = detector.predict(images, verbose=0)
    assert expected["num_detections"].min() > 0
    assert {name for name in outputs if name.startswith(signature)} == {f"{signature}/{name}" for name in expected}
    for name, x in expected.items():
        np.testing.assert_allclose(outputs[f"{signature}/{name}"], x, atol=1e-3)


def test_the_report_and_the_metadata_describe_the_folder(saved) -> None:
    assert saved.difference["max"] < 1e-4
    assert saved.size == sum(file.stat().st_size for file in saved.path.rglob("*") if file.is_file())
    metadata = read_metadata(saved.path)
    assert metadata.class_names == ["a", "b", "c"]
    assert metadata.input["shape"] == [None, 64, 128, 3]
    assert (saved.path / "assets.extra" / "labels.txt").read_text() == "a\nb\nc\n"


def test_the_weights_are_stored_once(saved, detector) -> None:
    assert saved.size < 1.5 * 4 * detector.count_params()


def test_an_existing_path_is_refused_before_any_work(saved, detector, monkeypatch) -> None:
    monkeypatch.setattr("spinenet_tf.export.savedmodel.raw_function", None)
    with pytest.raises(FileExistsError, match="overwrite=True"):
        export.saved_model(detector, saved.path)


def test_a_classifier_serves_logits_for_its_batch(classifier, images, tmp_path) -> None:
    import tensorflow as tf

    export.saved_model(classifier, tmp_path / "classifier", batch_size=2)
    signatures = tf.saved_model.load(str(tmp_path / "classifier")).signatures
    assert set(signatures) == {"raw", "serving_default"}
    logits = signatures["serving_default"](images=tf.constant(images))
    np.testing.assert_allclose(logits["logits"], keras.ops.convert_to_numpy(classifier(images)), atol=1e-4)
