"""A run with masks, from its export on the command line to measured and drawn masks."""

from __future__ import annotations

import json
from pathlib import Path

import keras
import pytest

from spinenet_tf.data.formats.digits import digits
from spinenet_tf.export.card.page import model_card
from spinenet_tf.export.check.measurement import benchmark
from spinenet_tf.heads.mask_rcnn.model import ROW
from spinenet_tf.training.config_file import make_config
from spinenet_tf.training.run import Run, build_model

DETECTIONS = 5


@pytest.fixture(scope="module")
def run(three_blocks, stirred, tmp_path_factory) -> Path:
    head = {"kind": "mask_rcnn", **ROW.smallest, "score_threshold": 0.0, "max_detections": DETECTIONS}
    model = {"name": "spinenet_49", "graph": three_blocks.get_config(), "image_size": [64, 64], "head": head}
    model["overrides"] = {"max_level": 5, "endpoint": 8}
    given = {"model": model, "task": "instance segmentation", "class_names": ["digit"], "batch_size": 1, "epochs": 1}
    config = make_config(given, "a test")
    keras.utils.set_random_seed(0)
    folder = tmp_path_factory.mktemp("masks") / "run"
    Run(folder).create(config, model=stirred(build_model(config)))
    return folder


@pytest.fixture(scope="module")
def file(run, succeed) -> Path:
    succeed("export", run, "--format", "tflite", "--quantization", "dynamic", "--output", path := run / "model.tflite")
    return path


@pytest.fixture(scope="module")
def annotations(tmp_path_factory) -> tuple[object, ...]:
    """Return the options that name four pictures of digits."""
    digits(folder := tmp_path_factory.mktemp("scenes"), "val", scenes=4, classes=1)
    (listed,) = folder.glob("*/annotations.json")
    return "--annotations", listed, "--images", listed.parent / "images"


def test_evaluate_measures_boxes_and_masks_of_a_file(file, annotations, succeed, tmp_path) -> None:
    succeed("evaluate", file, *annotations, "--json", tmp_path / "a.json")
    found = json.loads((tmp_path / "a.json").read_text())
    assert 0 <= found["mask_AP"] <= 1
    assert 0 <= found["AP"] <= 1


def test_predict_writes_masks_in_pixels_of_the_image(file, annotations, succeed, tmp_path) -> None:
    succeed("predict", annotations[-1], "--model", file, "--output", tmp_path / "found", "--draw", "--threshold", "0")
    rows = [json.loads(line) for line in (tmp_path / "found" / "detections.jsonl").read_text().splitlines()]
    assert all("counts" in one["mask"] for row in rows for one in row["detections"])
    assert len(rows) == len(list((tmp_path / "found").glob("*.png"))) == 4


def test_inspect_shows_the_operations(file, succeed, capsys) -> None:
    succeed("inspect", file, "--json")
    found = json.loads(capsys.readouterr().out)
    assert found["ops"]["NON_MAX_SUPPRESSION_V5"] == 2
    assert list(found["outputs"]) == ["boxes", "classes", "scores", "num_detections", "masks"]


def test_a_benchmark_compares_the_run_and_its_file(run, file) -> None:
    rows = benchmark([run], threads=1, repeats=1, memory=False).measurements
    assert [row.engine for row in rows] == ["Keras predict", "Keras tf.function", "TFLite"]
    assert all(row.detects and row.median_ms > 0 for row in rows)


def test_the_card_names_masks(run, file) -> None:
    card = model_card(run, overwrite=True).read_text()
    assert "An object detector with masks for 1 class" in card
    assert "pipeline_tag: image-segmentation" in card
    assert "found.boxes, found.scores, found.names, found.masks" in card
    assert "| detections |" in card


@pytest.mark.parametrize("options", [("--quantization", "int8"), ("--target", "gpu"), ("--format", "web")])
def test_what_cannot_have_masks_is_a_mistake_of_one_line(run, options, tmp_path, capsys) -> None:
    from spinenet_tf import cli

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.argv", ["spinenet-tf", "export", str(run), "--output", str(tmp_path / "a.tflite"), *options])
        with pytest.raises(SystemExit) as ended:
            cli.main()
    assert ended.value.code == 2
    assert "Traceback" not in capsys.readouterr().err
