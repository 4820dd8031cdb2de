"""Keras's `Model.export` writes what the model computes, and honors or refuses each of its arguments."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import keras
import numpy as np
import onnx as onnx_format
import onnxruntime
import pytest
import tensorflow as tf
from ai_edge_litert.interpreter import Interpreter

import spinenet_tf
from spinenet_tf.export import formats, openvinomodel, saved_model
from spinenet_tf.export.check.verify import TOLERANCES, Artifact, ExportError
from spinenet_tf.export.formats import FORMATS
from spinenet_tf.export.input_signature import batch_size_in
from spinenet_tf.export.litert.keras_options import without_converter_options
from spinenet_tf.inference.metadata import read_metadata
from spinenet_tf.inference.naming import flatten
from spinenet_tf.training.quantization import QuantizationAware

SIDE = 64
PATHS = {"tf_saved_model": "model", "litert": "model.tflite", "onnx": "model.onnx", "openvino": "model.xml"}
SMALL = {"max_level": 5, "endpoint": 8}
KINDS = ("backbone", "classifier", "retinanet", "centernet")
TESTED = {("centernet", "tf_saved_model"), ("centernet", "litert")}  # in test_centernet.py


@pytest.fixture(scope="module")
def make(three_blocks, randomize):
    """Return `make(kind)`: a model of a kind after a step of training; shared, so read only."""
    made: dict[str, Any] = {}

    def get(kind: str) -> Any:
        if kind not in made:
            made[kind] = trained(randomize(build(kind, three_blocks)), kind)
        return made[kind]

    return get


def build(kind: str, spec: Any) -> Any:
    if kind == "backbone":
        return spinenet_tf.backbone(spec, (SIDE, SIDE, 3), **SMALL)
    if kind == "classifier":
        return spinenet_tf.classifier(spec, 3, (SIDE, SIDE, 3), **SMALL)
    depth = {"head_depth": 1} if kind == "retinanet" else {}
    return spinenet_tf.detector(spec, 3, (SIDE, SIDE, 3), kind, **SMALL, **depth, head_width=8)


def trained(model: Any, kind: str) -> Any:
    optimizer, images = keras.optimizers.SGD(1e-4), noise(2)
    if kind == "backbone":
        return model
    if kind == "classifier":
        model.compile_for_labels(optimizer)
        truth: Any = np.array([0, 2])
    else:
        model.compile(optimizer)
        truth = {"boxes": np.full((2, 1, 4), [8, 8, 40, 40], "float32"), "classes": np.ones((2, 1), "int32")}
    model.run_eagerly = True  # a trace would take longer
    model.fit(images, truth, verbose=0)
    return model


def noise(batch: int) -> np.ndarray:
    return np.random.default_rng(4).standard_normal((batch, SIDE, SIDE, 3), "float32")


def run(format: str, path: Path, images: np.ndarray) -> dict[str, np.ndarray]:
    """Run the raw outputs of an artifact with its engine alone."""
    if format == "tf_saved_model":
        found = tf.saved_model.load(str(path)).signatures["raw"](images=tf.constant(images))
        return {name: x.numpy() for name, x in found.items()}
    if format == "litert":
        return Interpreter(str(path)).get_signature_runner()(images=images)
    if format == "onnx":
        session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
        names = [output.name for output in session.get_outputs()]
        return dict(zip(names, session.run(names, {"images": images}), strict=True))
    import openvino

    compiled = openvino.Core().compile_model(str(path), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    return {output.any_name: x for output, x in compiled({"images": images}).items()}


@pytest.fixture(scope="module")
def exported(make, tmp_path_factory):
    """Return `exported(kind, format)`: the path of an artifact, written once."""
    folder = tmp_path_factory.mktemp("exported")

    def get(kind: str, format: str) -> Path:
        if format == "openvino":
            pytest.importorskip("openvino")
        path = folder / kind / format / PATHS[format]
        if not path.exists():
            path.parent.mkdir(parents=True)
            assert make(kind).export(path, format=format) is None
        return path

    return get


@pytest.mark.parametrize(
    ("kind", "format"), [(kind, format) for kind in KINDS for format in PATHS if (kind, format) not in TESTED]
)
def test_a_trained_model_computes_the_same_in_every_engine(make, exported, kind, format) -> None:
    path, images = exported(kind, format), noise(5)
    expected = flatten(make(kind)(images, training=False))
    largest = max(np.abs(x).max() for x in expected.values())
    for count in (1,) if format == "litert" else (1, 2, 5):
        actual = run(format, path, images[:count])
        assert actual.keys() == expected.keys()
        for name, x in expected.items():
            np.testing.assert_allclose(actual[name], x[:count], atol=1e-4 * largest)
    folder = path / "assets" if path.is_dir() else path.parent
    metadata = json.loads((folder / f"{'' if path.is_dir() else 'model.'}metadata.json").read_text())
    batch = 1 if format == "litert" else None
    assert metadata["input"]["shape"] == [batch, SIDE, SIDE, 3]
    assert {name: x["shape"][0] for name, x in metadata["outputs"].items()} == dict.fromkeys(expected, batch)


def test_a_saved_model_is_called_as_keras_documents(make, exported) -> None:
    loaded = tf.saved_model.load(str(exported("retinanet", "tf_saved_model")))
    found, expected = loaded.serve(tf.constant(noise(2))), make("retinanet").predict(noise(2), verbose=0)
    assert found.keys() == expected.keys()
    for name, x in expected.items():
        np.testing.assert_allclose(found[name], x, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize(("verbose", "interactive"), [(None, True), (True, True), (True, False), (False, True)])
def test_verbose_is_honored(make, tmp_path, capsys, monkeypatch, verbose, interactive) -> None:
    written = Artifact(tmp_path / "a.onnx", 1_500_000, {"max": 2e-6, "mean": 1e-7})
    monkeypatch.setattr(formats, "_writer", lambda format: lambda *given, **options: written)
    if not interactive:
        keras.config.disable_interactive_logging()
    try:
        make("backbone").export(tmp_path / "a.onnx", "onnx", verbose)
    finally:
        keras.config.enable_interactive_logging()
    said = (
        f"Saved artifact at '{written.path}', 1.50 MB; it differs from Keras by at most 2e-06 of the largest output.\n"
    )
    assert capsys.readouterr().out == (said if verbose is not False and interactive else "")


SHAPE = (SIDE, SIDE, 3)
SIGNATURES = [
    (None, 7),
    (keras.InputSpec(shape=(2, *SHAPE), dtype="float32"), 2),
    ([keras.InputSpec(shape=(None, *SHAPE), dtype="float32", name="images")], None),
    ([tf.TensorSpec((4, *SHAPE), tf.float32)], 4),
    ((tf.TensorSpec((None, *SHAPE), tf.float32, name="images"),), None),
    ([keras.KerasTensor((5, *SHAPE))], None),
    ([tf.zeros((5, *SHAPE))], None),
    ({"images": keras.InputSpec(shape=(2, *SHAPE), dtype="float32")}, 2),
]


@pytest.mark.parametrize(("signature", "batch"), SIGNATURES, ids=range(len(SIGNATURES)))
def test_an_input_signature_sets_the_batch(signature, batch) -> None:
    assert batch_size_in(signature, SHAPE, 7) == batch


@pytest.mark.parametrize(
    "signature",
    [
        keras.InputSpec(shape=(None, 32, 32, 3), dtype="float32"),
        keras.InputSpec(shape=(None, None, None, 3), dtype="float32"),
        keras.InputSpec(shape=(None, *SHAPE), dtype="uint8"),
        keras.InputSpec(shape=(None, *SHAPE), dtype="float32", name="picture"),
        keras.InputSpec(shape=(None, *SHAPE)),
        keras.InputSpec(ndim=4),
        tf.TensorSpec(None, tf.float32),
        [tf.TensorSpec((4, *SHAPE), tf.float32)] * 2,
        [],
        (1, *SHAPE),
        "images",
    ],
    ids=str,
)
def test_another_input_signature_is_refused(signature) -> None:
    with pytest.raises(ValueError, match=r"The input of this model is keras\.InputSpec\(.*Received: input_signature="):
        batch_size_in(signature, SHAPE, None)


def test_the_input_signature_of_a_model_that_takes_pixels_is_uint8() -> None:
    signature = keras.InputSpec(shape=(2, *SHAPE), dtype="uint8")
    assert batch_size_in(signature, SHAPE, None, "uint8") == 2
    with pytest.raises(ValueError, match="dtype='uint8'"):
        batch_size_in(keras.InputSpec(shape=(2, *SHAPE), dtype="float32"), SHAPE, None, "uint8")


def test_a_fixed_batch_is_written(make, tmp_path) -> None:
    signature = [keras.InputSpec(shape=(2, *SHAPE), dtype="float32")]
    make("backbone").export(tmp_path / "model.onnx", format="onnx", input_signature=signature)
    session = onnxruntime.InferenceSession(str(tmp_path / "model.onnx"))
    assert session.get_inputs()[0].shape == [2, *SHAPE]
    make("backbone").export(tmp_path / "model.tflite", format="litert", input_signature=signature)
    (given,) = Interpreter(str(tmp_path / "model.tflite")).get_input_details()
    assert given["shape"].tolist() == [2, *SHAPE]
    assert read_metadata(tmp_path / "model.tflite").input["shape"] == [2, *SHAPE]
    signature = [keras.InputSpec(shape=(None, *SHAPE), dtype="float32")]
    with pytest.raises(ValueError, match=r"takes a fixed number of images per call\. Received: batch_size=None"):
        make("backbone").export(tmp_path / "model.tflite", format="litert", input_signature=signature)


def test_the_opset_of_onnx_is_honored(make, tmp_path) -> None:
    make("backbone").export(tmp_path / "model.onnx", format="onnx", opset_version=13)
    opsets = onnx_format.load(str(tmp_path / "model.onnx")).opset_import
    assert [opset.version for opset in opsets if not opset.domain] == [13]


def test_the_options_of_the_converter_become_a_quantization(make, tmp_path) -> None:
    optimizations = [tf.lite.Optimize.DEFAULT]
    assert without_converter_options({"optimizations": optimizations}) == {"quantization": "dynamic"}
    options = {"optimizations": optimizations, "representative_dataset": lambda: ([noise(1)] for _ in range(2))}
    make("backbone").export(tmp_path / "model.tflite", format="litert", **options)
    assert read_metadata(tmp_path / "model.tflite").quantization == "int8"


def test_options_of_the_exporters_are_passed_on(make, tmp_path, monkeypatch) -> None:
    given = {}

    def write(model, path, class_names=None, overwrite=False, outputs=None, batch_size=None) -> Artifact:
        given.update(class_names=class_names, outputs=outputs)
        return Artifact(path, 1, {"max": 0.0, "mean": 0.0})

    monkeypatch.setattr(formats, "_writer", lambda format: write)
    options = {"class_names": ["a", "b", "c"], "outputs": "detections"}
    make("retinanet").export(tmp_path / "model.tflite", format="litert", **options)
    assert given == options


DATASET = {"representative_dataset": lambda: iter(())}
REFUSED = [
    ("coreml", {}, r"Valid formats are \('tf_saved_model', 'onnx', .*Received: format='coreml'"),
    ("torch", {}, r"needs Keras's torch backend: set KERAS_BACKEND=torch.*Received: backend='tensorflow'"),
    ("tf_saved_model", {"is_static": True}, r"The format tf_saved_model has the options .*Received: \['is_static'\]"),
    ("tf_saved_model", {"jax2tf_kwargs": None}, r"Received: \['jax2tf_kwargs'\]"),
    ("tf_saved_model", {"batch_size": 2}, r"Received: \['batch_size'\]"),
    ("litert", {"opset_version": 17}, r"Received: \['opset_version'\]"),
    ("litert", {"allow_custom_ops": True}, r"\['quantization', .*Received: \['allow_custom_ops'\]"),
    ("litert", DATASET, r"Pass either optimizations.*Received: \['representative_dataset'\]"),
    ("litert", {"optimizations": ["DEFAULT"], "quantization": "fp16"}, "Pass either optimizations"),
    ("onnx", {"strict": True}, r"\['class_names', .*'opset_version'\]. Received: \['strict'\]"),
    ("openvino", {"verify": True}, r"Received: \['verify'\]"),
]


@pytest.mark.parametrize(("format", "options", "message"), REFUSED)
def test_other_options_are_refused_in_one_line(make, tmp_path, format, options, message) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        make("backbone").export(tmp_path / PATHS.get(format, "model.pt2"), format=format, **options)
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("format", PATHS)
def test_a_dynamic_image_size_is_refused_in_one_line(three_blocks, tmp_path, format) -> None:
    model = spinenet_tf.detector(three_blocks, 3, (None, None, 3), **SMALL, head_depth=1, head_width=8)
    with pytest.raises(ValueError, match="An exported model needs a static image size") as caught:
        model.export(tmp_path / PATHS[format], format=format)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("format", ["litert", "onnx", "openvino"])
def test_the_suffix_of_a_file_is_its_formats(make, tmp_path, format) -> None:
    if format == "openvino":
        pytest.importorskip("openvino")
    with pytest.raises(ValueError, match=rf"must end in \{Path(PATHS[format]).suffix}\. Received: path="):
        make("backbone").export(tmp_path / "model.bin", format=format)


@pytest.mark.parametrize("format", PATHS)
def test_an_earlier_export_is_replaced_as_in_keras(make, exported, tmp_path, contents, format) -> None:
    shutil.copytree(exported("classifier", format).parent, tmp_path, dirs_exist_ok=True)
    before, path = contents(tmp_path), tmp_path / PATHS[format]
    with pytest.raises(FileExistsError, match="Pass overwrite=True"):
        make("backbone").export(path, format=format, overwrite=False)
    assert contents(tmp_path) == before
    make("backbone").export(path, format=format)
    after = contents(tmp_path)
    assert all(after[name] != before[name] for name in after if name.endswith((".json", PATHS[format])))


MINE = [
    ("tf_saved_model", "model"),  # a file where the folder should be
    ("tf_saved_model", "model/notes.txt"),
    ("tf_saved_model", "model/saved_model.pb"),
    ("litert", "model.tflite"),
    ("litert", "model.labels.txt"),
    ("onnx", "model.onnx"),
    ("onnx", "model.metadata.json"),
    ("openvino", "model.xml"),
    ("openvino", "model.bin"),
]


@pytest.mark.parametrize(("format", "mine"), MINE)
def test_no_other_file_is_replaced(make, tmp_path, contents, format, mine) -> None:
    if format == "openvino":
        pytest.importorskip("openvino")
    (tmp_path / mine).parent.mkdir(exist_ok=True)
    (tmp_path / mine).write_text("mine")
    with pytest.raises(FileExistsError, match="exists"):
        make("classifier").export(tmp_path / PATHS[format], format=format)
    assert contents(tmp_path) == {mine: b"mine"}


def test_weights_of_another_file_beside_an_earlier_export_are_not_replaced(make, exported, tmp_path) -> None:
    pytest.importorskip("openvino")
    shutil.copytree(exported("backbone", "onnx").parent, tmp_path, dirs_exist_ok=True)
    (tmp_path / "model.bin").write_text("mine")
    with pytest.raises(FileExistsError, match=r"model\.bin exists without model\.xml"):
        make("backbone").export(tmp_path / "model.xml", format="openvino")
    assert (tmp_path / "model.bin").read_text() == "mine"


def test_a_result_that_differs_is_not_left(make, tmp_path, monkeypatch) -> None:
    pytest.importorskip("openvino")
    monkeypatch.setitem(TOLERANCES, "none", -1.0)
    with pytest.raises(ExportError, match="differs from Keras"):
        make("backbone").export(tmp_path / "model.xml", format="openvino")
    assert not list(tmp_path.iterdir())


def test_openvino_keeps_the_constant_of_gates(tiny_mobile_spec, randomize, tmp_path) -> None:
    """It takes 0.16667 for 1 / 6 where it sees a hard sigmoid: the outputs of this net differed by 5e-5."""
    pytest.importorskip("openvino")
    model = randomize(spinenet_tf.backbone(tiny_mobile_spec, (SIDE, SIDE, 3), **SMALL, activation="relu6"))
    assert any(layer.name.endswith("se_excite") for layer in model.layers)
    assert openvinomodel.openvino(model, tmp_path / "model.xml").difference["max"] < 3e-6


def test_every_format_of_keras_is_there() -> None:
    documented = keras.Model.export.__doc__
    assert all(f'`"{format}"`' in documented for format in FORMATS)


def test_a_quantization_aware_model_exports_its_detector(make, tmp_path) -> None:
    detector = make("retinanet")
    aware = QuantizationAware(detector)
    with pytest.raises(ValueError, match="Export the `detector` of a quantization-aware model"):
        saved_model(aware, tmp_path / "model")
    options = {"format": "litert", "quantization": "int8", "verbose": False}
    aware.export(tmp_path / "a.tflite", calibration=[noise(2)], **options)
    detector.export(tmp_path / "b.tflite", calibration=[noise(2)], **options)
    assert (tmp_path / "a.tflite").read_bytes() == (tmp_path / "b.tflite").read_bytes()
