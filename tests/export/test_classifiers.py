"""A classifier's run is exported, verified and used like that of a detector."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
import yaml

from spinenet_tf import export
from spinenet_tf.data.dataset import ClassificationDataset
from spinenet_tf.export.check.verify import check, check_verifiable, top1_difference
from spinenet_tf.export.from_run import calibration_batches, export_run
from spinenet_tf.inference.loading import load
from spinenet_tf.inference.measurement import evaluate
from spinenet_tf.inference.metadata import read_metadata
from spinenet_tf.training.config_file import read_config
from spinenet_tf.training.run import Run, build_model

CENTER = 0.8  # not the usual one, so that a format that does not carry it shows


@pytest.fixture(scope="module")
def run(tmp_path_factory, tiny_row, randomize) -> Path:
    """Return the folder of a run whose weights are random. Load it in tests that have `tiny_model`; read only."""
    from spinenet_tf.nets.family import VARIANTS

    folder = tmp_path_factory.mktemp("classifier")
    source = {"digit_images": str(folder / "data"), "scenes": 40}  # of about four digits each
    config = {
        "task": "classification",
        "model": {"name": "tiny", "image_size": [64, 64], "overrides": {"max_level": 5}},
        "data": {"train": source, "val": source, "center": CENTER},
        "class_names": list("0123456789"),
        "optimizer": {"name": "adam", "learning_rate": 0.32},
        "batch_size": 8,
        "epochs": 1,
    }
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(VARIANTS, "tiny", tiny_row)
        resolved = read_config(folder / "config.yaml")
        Run(folder / "run").create(resolved)
        randomize(build_model(resolved)).save_weights(Run(folder / "run").weights_path)
    return folder / "run"


@pytest.fixture
def validation(run: Path, tiny_model) -> ClassificationDataset:
    return Run(run).config.own_images().val.read("val")


BOUNDS = {"none": 1e-5, "fp16": 2e-3, "dynamic": 0.05, "int8": 0.1, "int16x8": 0.05}
CASES = [pytest.param(each, marks=pytest.mark.soak if each in ("fp16", "dynamic") else ()) for each in BOUNDS]


@pytest.mark.parametrize("quantization", CASES)
def test_every_quantization_is_checked_by_top1(run: Path, tiny_model, validation, quantization, tmp_path) -> None:
    path = tmp_path / "model.tflite"
    artifact = export_run(run, "tflite", quantization, path)
    predictor, original = load(path), load(run)
    assert predictor.center == CENTER
    (images,) = calibration_batches(validation, Run(run).config, count=4)
    logits = original.predict(images)
    assert np.abs(predictor.predict(images) - logits).max() < BOUNDS[quantization] * np.abs(logits).max()
    assert artifact.ap is None
    if quantization == "none":
        assert artifact.top1 is None
    else:
        top1 = [evaluate(one, validation).top1 for one in (original, predictor)]
        assert [artifact.top1[name] for name in ("keras", "exported")] == top1


@pytest.mark.parametrize("format", ["saved_model", "onnx"])
def test_other_formats_tell_what_their_images_are(run: Path, tiny_model, format, tmp_path) -> None:
    if format == "onnx":
        pytest.importorskip("tf2onnx")
    artifact = export_run(run, format, path=tmp_path / ("model.onnx" if format == "onnx" else "model"))
    assert artifact.difference["max"] < 1e-4
    beside = tmp_path / "model.metadata.json" if format == "onnx" else artifact.path / "assets" / "metadata.json"
    metadata = json.loads(beside.read_text())
    assert (metadata["task"], metadata["input"]["center"]) == ("classification", CENTER)
    assert metadata["class_names"] == list("0123456789")


def test_the_commands_take_a_classifiers_file(run: Path, succeed, tmp_path, capsys) -> None:
    path = tmp_path / "model.tflite"
    options = ("--quantization", "int8", "--target", "mediapipe", "--keep-float", "head_*", "--output", path)
    succeed("export", run, *options)
    printed = capsys.readouterr().out
    assert re.search(r"Top-1 0\.\d+ in Keras, .*\nTop-1 0\.\d+ with images resized as MediaPipe does it", printed)
    assert read_metadata(path).stretch
    assert read_metadata(path).float_layers[-1] == "head_logits"
    digits = next(run.parent.glob("data/digit-images-val-*"))
    succeed("predict", digits / "3", "--model", path, "--output", tmp_path / "found")
    lines = (tmp_path / "found" / "classes.jsonl").read_text().splitlines()
    assert {json.loads(line)["image"] for line in lines} == {x.name for x in digits.glob("3/*")}
    succeed("evaluate", path, "--images", digits, "--json", tmp_path / "numbers.json")
    assert json.loads((tmp_path / "numbers.json").read_text())["images"] == 144
    capsys.readouterr()
    succeed("export", run, "--quantization", "int8", "--debug")
    assert "head_logits" in capsys.readouterr().out


def test_the_command_writes_an_onnx_file_for_any_batch(run: Path, succeed, tmp_path) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    for options, batch in (([], 1), (["--batch", "dynamic"], None)):
        succeed("export", run, "--format", "onnx", "--output", tmp_path / "model.onnx", "--overwrite", *options)
        metadata = json.loads((tmp_path / "model.metadata.json").read_text())
        assert metadata["input"]["shape"][0] == batch
    session = onnxruntime.InferenceSession(str(tmp_path / "model.onnx"), providers=["CPUExecutionProvider"])
    (logits,) = session.run(None, {"images": np.zeros((3, *metadata["input"]["shape"][1:]), "float32")})
    assert logits.shape == (3, 10)


def test_more_lost_than_allowed_fails_and_writes_nothing(run: Path, tiny_model, validation, tmp_path) -> None:
    model = Run(run).load()

    class Silent:
        raw = staticmethod(lambda images: np.asarray(model(images)))
        predict = staticmethod(lambda images: np.full((len(images), 10), np.nan))

    lost = top1_difference(model, Silent, validation, center=CENTER)
    assert lost["exported"] == 0 < lost["keras"] == lost["loss"]
    with pytest.raises(export.ExportError, match=r"quantization='int8' loses more top1 than max_loss=0\.02"):
        check(model, Silent, "int8", validation, center=CENTER)


def test_data_of_another_task_are_refused(run: Path, tiny_model, detector, validation) -> None:
    with pytest.raises(ValueError, match="The data set and the model must have the same task"):
        check_verifiable(detector, validation)
    with pytest.raises(ValueError, match=r"has the classes .* Received: num_classes=10"):
        check_verifiable(Run(run).load(), validation, class_names=list("abc"))
