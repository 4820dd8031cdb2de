"""The SavedModel has the same outputs in plain TensorFlow as the Keras model."""

from __future__ import annotations

import gc
import json
import math
import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image
from tensorflow.core.protobuf import saved_model_pb2

from spinenet_tf import export
from spinenet_tf.data.fitting import preprocess
from spinenet_tf.data.images import read_image
from spinenet_tf.evaluation.detections import in_file
from spinenet_tf.export.rewrites.unfreezing import LARGE
from spinenet_tf.heads.retinanet import RetinaNet, RetinaNetOptions
from spinenet_tf.inference.metadata import read_metadata
from spinenet_tf.inference.naming import flatten
from spinenet_tf.ops.anchors import anchors, concatenate
from spinenet_tf.ops.boxes import decode

# Loads and runs every signature where spinenet_tf cannot be imported, and hands the outputs back.
PLAIN = """
import sys

class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] == "spinenet_tf":
            raise ImportError(name + " is not installed here")

sys.meta_path.insert(0, Blocker())
import numpy as np
import tensorflow as tf

path, given, results = sys.argv[1:]
given = np.load(given)
model = tf.saved_model.load(path)
outputs = {}
for name, signature in model.signatures.items():
    assert list(signature.structured_input_signature[1]) == ["images"]
    images = given[name if name in given else "serve"]
    images = tf.constant([x.tobytes() for x in given["files"]] if name == "serve_bytes" else images)
    outputs |= {f"{name}/{key}": x.numpy() for key, x in signature(images=images).items()}
np.savez(results, **outputs)
"""


def run_plainly(saved, folder, **given) -> dict[str, np.ndarray]:
    """Run each signature in a process that imports only TensorFlow; return the outputs as `signature/name`."""
    np.savez(folder / "given.npz", **given)
    arguments = [str(saved.path), str(folder / "given.npz"), str(folder / "outputs.npz")]
    done = subprocess.run(
        [sys.executable, "-I", "-c", PLAIN, *arguments], cwd=folder, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "custom gradients" not in done.stderr
    return dict(np.load(folder / "outputs.npz"))


@pytest.fixture(scope="module")
def saved(detector, tmp_path_factory):
    path = tmp_path_factory.mktemp("saved") / "model"
    return export.saved_model(detector, path, class_names=["a", "b", "c"])


@pytest.fixture(scope="module")
def photos() -> np.ndarray:
    """Two smooth portrait images `[2, 90, 75, 3]` uint8; the network's input is landscape."""
    coarse = np.random.default_rng(2).integers(0, 256, (2, 6, 5, 3), np.uint8)
    return np.stack([Image.fromarray(image).resize((75, 90), Image.Resampling.BICUBIC) for image in coarse])


@pytest.fixture(scope="module")
def files(photos, tmp_path_factory):
    """Return the paths of a JPEG, a PNG with alpha of another size, and a portrait JPEG from a phone."""
    folder = tmp_path_factory.mktemp("files")
    Image.fromarray(photos[0]).save(folder / "a.jpg", quality=90)
    Image.fromarray(photos[1][:50]).convert("RGBA").save(folder / "b.png")
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(photos[0]).save(folder / "c.jpg", quality=90, exif=exif)
    return [folder / "a.jpg", folder / "b.png", folder / "c.jpg"]


@pytest.fixture(scope="module")
def outputs(saved, images, photos, files, tmp_path_factory):
    longest = max(len(path.read_bytes()) for path in files)
    # What follows the end of a JPEG or PNG is not read.
    encoded = np.array([path.read_bytes().ljust(longest, b"\1") for path in files])
    folder = tmp_path_factory.mktemp("plain")
    return run_plainly(saved, folder, serve=images, serve_image=photos, files=encoded)


def expected_in(detector, image: np.ndarray) -> dict[str, np.ndarray]:
    """Return the Keras detector's detections in an image of any size, boxes in its pixels."""
    pixels, scale = preprocess(image, *detector.backbone.image_shape[:2])
    return in_file(detector.predict_on_batch(np.asarray(pixels)[None]), 0, float(scale), image.shape[:2])


def assert_finds(outputs, signature: str, row: int, expected) -> None:
    count = int(outputs[f"{signature}/num_detections"][row])
    assert count == len(expected["scores"]) > 0
    for name, x in expected.items():
        np.testing.assert_allclose(outputs[f"{signature}/{name}"][row][:count], x, rtol=1e-4, atol=1e-3)


def test_a_detector_has_these_signatures(outputs) -> None:
    names = {name.partition("/")[0] for name in outputs}
    assert names == {"serve", "serve_image", "serve_bytes", "raw", "serving_default"}


def test_raw_outputs_equal_keras_in_plain_tensorflow(detector, images, outputs) -> None:
    expected = flatten(detector(images, training=False))
    assert {name for name in outputs if name.startswith("raw/")} == {f"raw/{name}" for name in expected}
    for name, x in expected.items():
        np.testing.assert_allclose(outputs[f"raw/{name}"], x, atol=1e-4)


@pytest.mark.parametrize("signature", ["serve", "serving_default"])
def test_detections_equal_keras_in_plain_tensorflow(detector, images, outputs, signature) -> None:
    expected = detector.predict(images, verbose=0)
    assert expected["num_detections"].min() > 0
    assert {name for name in outputs if name.startswith(f"{signature}/")} == {
        f"{signature}/{name}" for name in expected
    }
    for name, x in expected.items():
        np.testing.assert_allclose(outputs[f"{signature}/{name}"], x, atol=1e-3)


def test_serve_image_detects_in_images_of_any_size_in_their_pixels(detector, photos, outputs) -> None:
    for row, image in enumerate(photos):
        assert_finds(outputs, "serve_image", row, expected_in(detector, image))


def test_serve_bytes_detects_in_jpeg_and_png_of_different_sizes(detector, files, outputs) -> None:
    for row, path in enumerate(files):
        assert_finds(outputs, "serve_bytes", row, expected_in(detector, read_image(path)))


@pytest.mark.parametrize("plus_one", [False, True])
def test_without_nms_every_anchor_is_decoded_and_clipped(tiny_backbone, tmp_path, plus_one) -> None:
    detector = RetinaNet(tiny_backbone, 2, RetinaNetOptions(head_depth=1, head_width=8, plus_one=plus_one))
    images = np.random.default_rng(3).standard_normal((2, 64, 64, 3), "float32")
    saved = export.saved_model(detector, tmp_path / "model", batch_size=2, nms=False)
    loaded = tf.saved_model.load(saved.path)
    assert set(loaded.signatures) == {"raw", "decoded", "serving_default"}
    logits, deltas = detector.flatten(detector(images, training=False))
    ends = np.array([0, 0, plus_one, plus_one], "float32")
    every = keras.ops.convert_to_numpy(concatenate(anchors(*images.shape[1:3], detector.anchor_spec)))
    boxes = np.asarray(decode(deltas, every + ends)) - ends
    clipped = boxes.clip(0, 64 - int(plus_one))
    assert (boxes != clipped).any(), "some reach out of the input"
    for signature in ("decoded", "serving_default"):
        outputs = loaded.signatures[signature](images=tf.constant(images))
        np.testing.assert_allclose(outputs["boxes"], clipped, rtol=1e-4, atol=1e-3)
        np.testing.assert_allclose(outputs["scores"], keras.ops.sigmoid(logits), atol=1e-4)


def test_the_report_and_the_metadata_describe_the_folder(saved) -> None:
    assert saved.difference["max"] < 1e-4
    assert saved.size == sum(file.stat().st_size for file in saved.path.rglob("*") if file.is_file())
    metadata = read_metadata(saved.path)
    assert metadata.class_names == ["a", "b", "c"]
    assert metadata.input["shape"] == [None, 64, 128, 3]
    assert (saved.path / "assets" / "labels.txt").read_text() == "a\nb\nc\n"


def test_the_config_rebuilds_the_model(saved, detector) -> None:
    config = json.loads((saved.path / "assets" / "config.json").read_text())
    assert keras.saving.deserialize_keras_object(config).architecture() == detector.architecture()


def test_the_weights_are_stored_once(saved, detector) -> None:
    assert saved.size < 1.5 * 4 * detector.count_params()


@pytest.fixture(scope="module")
def lean(detector, tmp_path_factory):
    return export.saved_model(detector, tmp_path_factory.mktemp("lean") / "model", nms=False, variables=True)


def test_large_variables_are_stored_once_and_are_no_constants(lean, detector) -> None:
    """A constant of a loaded graph takes many times its size in memory."""
    stored = tf.train.load_checkpoint(str(lean.path / "variables" / "variables")).get_variable_to_shape_map()
    sizes = [math.prod(shape) for name, shape in stored.items() if name != "_CHECKPOINTABLE_OBJECT_GRAPH"]
    large = [math.prod(weight.shape) for weight in detector.weights if math.prod(weight.shape) >= LARGE]
    assert sorted(sizes) == sorted(large) != []
    content = saved_model_pb2.SavedModel.FromString((lean.path / "saved_model.pb").read_bytes())
    functions = content.meta_graphs[0].graph_def.library.function
    shapes = [x.attr["value"].tensor.tensor_shape.dim for f in functions for x in f.node_def if x.op == "Const"]
    assert 1000 < max(math.prod(side.size for side in shape) for shape in shapes) < LARGE


def test_a_signature_keeps_its_variables(lean, detector, images) -> None:
    """A signature alone would fail if only the loaded model kept its variables."""
    signature = tf.saved_model.load(str(lean.path)).signatures["raw"]
    gc.collect()
    found = signature(images=tf.constant(images))
    for name, x in flatten(detector(images, training=False)).items():
        np.testing.assert_allclose(found[name], x, atol=1e-4)


def test_an_existing_path_is_refused_before_any_work(saved, detector, monkeypatch) -> None:
    monkeypatch.setattr("spinenet_tf.export.savedmodel.raw_function", None)
    with pytest.raises(FileExistsError, match="overwrite=True"):
        export.saved_model(detector, saved.path)


def test_a_classifier_serves_logits_for_its_batch(classifier, images, tmp_path) -> None:
    export.saved_model(classifier, tmp_path / "classifier", batch_size=2)
    signatures = tf.saved_model.load(str(tmp_path / "classifier")).signatures
    assert set(signatures) == {"serve", "raw", "serving_default"}
    logits = signatures["serving_default"](images=tf.constant(images))
    np.testing.assert_allclose(logits["logits"], keras.ops.convert_to_numpy(classifier(images)), atol=1e-4)


def test_only_a_detector_has_nms_to_leave_out(classifier, tmp_path) -> None:
    with pytest.raises(ValueError, match="Only a detector supports nms=False"):
        export.saved_model(classifier, tmp_path / "classifier", nms=False)
    assert not list(tmp_path.iterdir())


def test_no_sum_is_fused_with_a_conv_for_threads_share_the_model(tiny_saved_model) -> None:
    content = (tiny_saved_model / "saved_model.pb").read_bytes()
    (graph,) = (meta.graph_def for meta in saved_model_pb2.SavedModel.FromString(content).meta_graphs)
    fused = []
    for function in graph.library.function:
        operations = {node.name: node.op for node in function.node_def}
        sums = (node for node in function.node_def if node.op in ("Add", "AddV2", "AddN"))
        fused += [node.name for node in sums if "BiasAdd" in {operations.get(x.split(":")[0]) for x in node.input}]
    assert not fused
