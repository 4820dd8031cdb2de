"""A model card states the facts of its run, is valid for model hubs, and its code runs."""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

import spinenet_tf
from spinenet_tf import export
from spinenet_tf.export.card import sections
from spinenet_tf.export.card.facts import Facts, describe_file
from spinenet_tf.training.config_file import read_config
from spinenet_tf.training.run import Run, RunError

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def run(tiny_run, tmp_path_factory, succeed) -> Path:
    """A run with an int8 file, a benchmark and a card."""
    folder = tmp_path_factory.mktemp("card") / "my run"
    shutil.copytree(tiny_run, folder)
    machine = {"platform": "Linux-x86_64", "cores": 2, "devices": ["CPU"], "versions": {"tensorflow": "2.21.0"}}
    row = {"model": "somewhere/model-int8.tflite", "engine": "TFLite", "threads": 1, "median_ms": 1.5, "p90_ms": 2.5}
    row["input_shape"] = [1, 64, 64, 3]
    (folder.parent / "latencies.json").write_text(json.dumps({"measurements": [row], "machine": machine}))
    options = ("--quantization", "int8", "--license", "apache-2.0", "--benchmark", folder.parent / "latencies.json")
    succeed("export", folder, "--card", *options)
    return folder


@pytest.fixture(scope="module")
def card(run) -> str:
    return (run / "README.md").read_text()


def front_matter(text: str) -> dict:
    return yaml.safe_load(text.split("---\n")[1])


def test_the_front_matter_has_the_fields_of_model_hubs(run, card) -> None:
    fields = front_matter(card)
    (index,) = fields.pop("model-index")
    assert fields == {
        "license": "apache-2.0",
        "library_name": "spinenet_tf",
        "pipeline_tag": "object-detection",
        "tags": ["object-detection", "spinenet", "keras", "tflite"],
        "metrics": ["mAP"],
    }
    (result,) = index["results"]
    assert index["name"] == "my run"
    assert result["task"] == {"type": "object-detection", "name": "Object detection"}
    value = max(row["val_AP"] for row in Run(run).log)
    assert result["metrics"][0]["value"] == pytest.approx(value, abs=1e-4)


def test_hugging_faces_library_reads_it(card) -> None:
    hub = pytest.importorskip("huggingface_hub")
    data = hub.ModelCard(card).data
    assert (data.license, data.library_name, data.pipeline_tag) == ("apache-2.0", "spinenet_tf", "object-detection")
    (result,) = data.eval_results
    assert (result.task_type, result.metric_type) == ("object-detection", "mAP")


def test_it_states_what_the_run_knows(run, card, tiny_model) -> None:
    config = Run(run).config
    assert f"`{config.model.name}` backbone and a retinanet head, for images of 64 x 64 px" in card
    assert "## What it detects\n\n`digit`." in card
    assert re.search(r"- Training: `digits: data, scenes: 8, classes: 1, seed: 0, .+`\.\n", card)
    assert "- 2 of 2 epochs, 4 steps of 4 images." in card
    assert re.search(r"Measured in Keras on the 4 images of `digits` on \d{4}-\d\d-\d\d, with spinenet_tf \d", card)
    assert re.search(
        r"\| `model-int8\.tflite` \| \d\.\d\d \| int8 \| float32, 64 x 64 \| raw maps \| 0\.\d{3} \|", card
    )
    assert "| `model-int8.tflite` | TFLite | 1 | 1 | 1.5 | 2.5 |" in card
    assert "Measured on Linux-x86_64 with 2 cores (CPU), tensorflow 2.21.0." in card
    assert "These images also selected the epoch" in card
    assert "apache-2.0, as stated by the person who exported the model." in card


def test_it_names_no_folder_of_the_machine(run, card, tiny_model) -> None:
    assert str(run.parent) not in card
    assert str(Run(run).config.own_data().train.digits.parent) not in card


def test_its_code_runs(run, card, tmp_path, monkeypatch, capsys, tiny_model) -> None:
    shutil.copytree(run, tmp_path / "run")
    monkeypatch.chdir(tmp_path / "run")
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (90, 70, 3), np.uint8)).save("photo.jpg")
    blocks = re.findall(r"```python\n(.*?)```", card, re.DOTALL)
    assert len(blocks) == 2
    for block in blocks:
        exec(block, {})
    assert "class_logits_P3" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("format", "name"), [("tf_saved_model", "model"), ("onnx", "model.onnx"), ("openvino", "model.xml")]
)
def test_the_code_for_other_formats_runs(run, tmp_path, monkeypatch, capsys, tiny_model, format, name) -> None:
    if format == "openvino":
        pytest.importorskip("openvino")
    Run(run).load().export(tmp_path / name, format=format, verbose=False)
    path = export.model_card(run, files=[tmp_path / name])
    monkeypatch.chdir(tmp_path)
    Image.new("RGB", (90, 70)).save("photo.jpg")
    for block in re.findall(r"```python\n(.*?)```", path.read_text(), re.DOTALL):
        exec(block, {})
    assert capsys.readouterr().out


def test_a_classifier_has_a_card_whose_code_runs(three_blocks, tmp_path, monkeypatch, capsys) -> None:
    model = spinenet_tf.classifier(three_blocks, 10, (64, 64, 3), max_level=5, endpoint=8)
    path = export.onnx(model, tmp_path / "model.onnx", center=0.5, batch_size=2).path
    config = read_config(ROOT / "configs" / "digits-classification.yaml").model_copy(
        update={"class_names": tuple("0123456789")}
    )
    log = [{"epoch": 1, "step": 7, "val_top1": 0.25, "val_top5": 0.5}]
    facts = Facts("digits", "mit", config, log, [describe_file(path)], None, None)
    text = "\n\n".join("\n".join(section(facts)) for section in sections.SECTIONS)
    assert "| top-1 accuracy | 0.250 |" in text
    assert "| `model.onnx` | 0." in text
    assert "| float32, 64 x 64, 2 images per call | logits | as in Keras |" in text
    assert "An image classifier for 10 classes" in text
    monkeypatch.chdir(tmp_path)
    Image.new("RGB", (90, 70)).save("photo.jpg")
    for block in re.findall(r"```python\n(.*?)```", text, re.DOTALL):
        exec(block, {})
    assert "{'logits': (2, 10)}" in capsys.readouterr().out


def test_what_is_unknown_is_called_unknown(run, tmp_path, tiny_model) -> None:
    copy = tmp_path / "run"
    shutil.copytree(run, copy)
    for name in ("README.md", "log.jsonl"):
        (copy / name).unlink()
    config = yaml.safe_load((copy / "config.yaml").read_text()) | {"data": None}
    (copy / "config.yaml").write_text(yaml.safe_dump(config))
    text = export.model_card(copy).read_text()
    assert front_matter(text)["license"] == "unknown"
    assert "model-index" not in front_matter(text)
    for line in ("Unknown: the run has no data", "Unknown: the run has no log", "Not measured.", "none was stated"):
        assert line in text


def test_other_data_than_the_runs_own_selected_no_epoch(run, tmp_path, tiny_model) -> None:
    copy = tmp_path / "run"
    shutil.copytree(run, copy)
    other = replace(Run(run).config.own_data().read("val"), name="street photos")
    text = export.model_card(copy, data=other, overwrite=True).read_text()
    assert re.search(r"Measured in Keras on the 4 images of `street photos` on ", text)
    assert "also selected the epoch" not in text


def test_class_names_of_any_origin_stay_text(run, tiny_model) -> None:
    config = Run(run).config.model_copy(update={"class_names": ("a`|<b>\n# x", "[click](javascript:x)")})
    facts = Facts("<run>", "unknown", config, [], [], None, None)
    assert "\n".join(sections.classes(facts)).endswith("`a <b> # x`, `[click](javascript:x)`.")
    assert next(sections.title(facts)) == "# run"


def test_a_readme_of_the_user_is_never_replaced(run, tmp_path, tiny_model, succeed) -> None:
    copy = tmp_path / "run"
    shutil.copytree(run, copy)
    with pytest.raises(FileExistsError, match="Pass overwrite=True"):
        export.model_card(copy)
    export.model_card(copy, license="mit", overwrite=True)
    assert front_matter((copy / "README.md").read_text())["license"] == "mit"
    (copy / "README.md").write_text("# My project\n")
    with pytest.raises(FileExistsError, match="is not a model card of spinenet_tf"):
        export.model_card(copy, overwrite=True)
    assert (copy / "README.md").read_text() == "# My project\n"


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"license": "My License"}, ValueError, "identifier such as apache-2.0"),
        ({"benchmark": "config.yaml"}, ValueError, "`spinenet-tf benchmark --json` wrote"),
        ({"files": []}, RunError, "has no exported files"),
        ({"files": ["a/b.tflite", "c/d.tflite"]}, ValueError, "must be in one folder"),
        ({"files": ["best.weights.h5"]}, ValueError, "exported files with metadata"),
    ],
)
def test_mistakes_are_one_line(run, tmp_path, tiny_model, options, error, message) -> None:
    copy = tmp_path / "run"
    shutil.copytree(run, copy)
    (copy / "README.md").unlink()
    paths = {"benchmark": copy, "files": copy}
    given = {
        name: [copy / x for x in value] if name == "files" else str(copy / value) if name in paths else value
        for name, value in options.items()
    }
    with pytest.raises(error, match=message) as caught:
        export.model_card(copy, **given)
    assert "\n" not in str(caught.value)
    assert not (copy / "README.md").exists()
