"""Test every command of the command line, and the one-line message of every user error."""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import yaml
from PIL import Image
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from spinenet_tf import cli, list_models
from spinenet_tf.cli.program import with_home
from spinenet_tf.evaluation.metrics import METRICS
from spinenet_tf.training import recipe
from spinenet_tf.training.preemption import Preempted
from spinenet_tf.training.run import Run

COMMANDS = (
    *("convert", "convert-config", "list", "summary", "train", "evaluate", "predict", "export", "inspect", "benchmark"),
    *("ladder", "search", "search-compare", "search-correlate", "demo"),
)


class Outcome(NamedTuple):
    """The exit code and output of a command."""

    code: int
    out: str
    err: str


@pytest.fixture
def command(monkeypatch, capsys, tiny_model, tmp_path) -> Callable[..., Outcome]:
    """Return `command(*arguments)`, which runs the command line in this process, in a temporary folder."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments: object) -> Outcome:
        monkeypatch.setattr(sys, "argv", ["spinenet-tf", *map(str, arguments)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            cli.main()
        return Outcome(ended.value.code or 0, *capsys.readouterr())

    return run


def val_scenes(run: Path) -> tuple[Path, Path]:
    """Return the annotations and images that `run` was evaluated on."""
    annotations = next(run.parent.glob("data/digits1-val-*/annotations.json"))
    return annotations, annotations.parent / "images"


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help_with_an_example(command, name: str) -> None:
    code, out, err = command(name, "--help")
    assert (code, err) == (0, "")
    assert f"Example: spinenet-tf {name}" in out


def test_no_command_is_left_out_here() -> None:
    assert sorted(COMMANDS) == sorted(
        info.name or info.callback.__name__.replace("_", "-") for info in cli.app.registered_commands
    )


def test_without_arguments_all_commands_are_shown(command) -> None:
    code, out, _ = command()
    assert code == 0
    assert all(name in out for name in COMMANDS)


def test_list_prints_names_only(command) -> None:
    assert command("list").out.split() == list_models()
    assert command("list", "mobile").out.split() == list_models("mobile")


def test_summary_prints_json(command) -> None:
    code, out, _ = command("summary", "spinenet_mobile_49xs", "--json")
    (row,) = json.loads(out)
    assert (code, row["name"], row["input"]) == (0, "spinenet_mobile_49xs", 256)
    assert row.keys() == {
        *("name", "input", "backbone_params", "detector_params", "classifier_params"),
        *("macs_published_order", "macs", "published"),
    }


def test_summary_prints_a_table_that_is_not_cut(command) -> None:
    code, out, _ = command("summary", "spinenet_mobile_49xs")
    assert code == 0
    assert "published order B" in out
    assert "…" not in out


def test_evaluate_prints_and_writes_the_numbers_of_the_best_weights(command, tiny_run: Path, tmp_path: Path) -> None:
    code, out, _ = command("evaluate", tiny_run, "--json", tmp_path / "ap.json")
    numbers = json.loads((tmp_path / "ap.json").read_text())
    assert code == 0
    assert all(name in out for name in (*METRICS, "digit"))
    assert numbers.keys() == {*METRICS, "per_class"}
    best = max(row["val_AP"] for row in Run(tiny_run).log)
    assert numbers["AP"] == pytest.approx(best, abs=1e-4)


def test_more_than_100_detections_are_labeled_as_not_those_of_coco(command, tiny_run: Path, tmp_path: Path) -> None:
    code, out, _ = command("evaluate", tiny_run, "--json", tmp_path / "ap.json", "--max-detections", 300)
    numbers = json.loads((tmp_path / "ap.json").read_text())
    assert code == 0
    assert all(text in out for text in ("non-COCO metrics", "AP@300", "AR10 ", "AR300"))
    assert (numbers["max_detections"], "AP" in numbers) == (300, False)
    usual = max(row["val_AP"] for row in Run(tiny_run).log)
    assert numbers["AP@300"] >= usual - 1e-4


def test_a_tflite_file_is_evaluated_on_data_that_are_given(command, tiny_run: Path, tiny_tflite: Path) -> None:
    annotations, images = val_scenes(tiny_run)
    code, out, _ = command("evaluate", tiny_tflite, "--annotations", annotations, "--images", images)
    assert code == 0
    assert all(name in out for name in (*METRICS, "digit"))


@pytest.mark.parametrize("kind", ["run", "tflite", "saved_model", "onnx"])
def test_predict_writes_pictures_and_json(command, tiny_run: Path, tmp_path: Path, kind: str, request) -> None:
    _, images = val_scenes(tiny_run)
    model = request.getfixturevalue(f"tiny_{kind}")
    code, out, _ = command("predict", images, "--model", model, "--output", "found", "--draw", "--threshold", 0)
    names = sorted(path.name for path in images.iterdir())
    assert code == 0
    assert re.search(r"Wrote the results of 4 images to found/detections\.jsonl \(\d+\.\d images/s\)\.", out)
    written = sorted(path.name for path in (tmp_path / "found").iterdir())
    assert written == sorted([*(f"{name}.png" for name in names), "detections.jsonl", "settings.json"])
    found = [json.loads(line) for line in (tmp_path / "found" / "detections.jsonl").read_text().splitlines()]
    assert [image["image"] for image in found] == names
    for image in found:
        height, width = image["size"]
        for detection in image["detections"]:
            top, left, bottom, right = detection["box"]
            assert (detection["class"], 0 < detection["score"] <= 1) == ("digit", True)
            assert 0 <= top <= bottom <= height
            assert 0 <= left <= right <= width


def test_predict_leaves_out_bad_images_and_continues(command, tiny_tflite, here, tmp_path: Path, monkeypatch) -> None:
    good = next((here / "images").iterdir())
    monkeypatch.setattr("sys.stdin", io.StringIO(f"{good}\nbad/a.jpg\n\n"))
    code, out, _ = command("predict", "-", "cut", "--model", tiny_tflite, "--output", "found")
    assert code == 1
    assert "Wrote the results of 1 images to found/detections.jsonl" in out
    assert "Left out 2 images that cannot be read, see bad_images.jsonl:" in out
    assert "bad/a.jpg: not a readable image" in out
    code, out, _ = command("predict", "cut", good, "bad", "--model", tiny_tflite, "--output", "found", "--resume")
    assert (code, "Wrote the results of 0 images" in out) == (1, True)
    assert "exists. Pass --resume" in command("predict", good, "--model", tiny_tflite, "--output", "found").err


def test_predict_writes_coco_results_with_the_ids_of_a_file(command, tiny_run: Path, tmp_path: Path) -> None:
    annotations, images = val_scenes(tiny_run)
    given = ("--format", "coco", "--annotations", annotations)
    code, out, _ = command("predict", images, "--model", tiny_run, "--output", "found", *given)
    assert (code, "the results of 4 images to found/coco_results.json" in out) == (0, True)
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO(str(annotations))
        found = COCOeval(truth, truth.loadRes("found/coco_results.json"), "bbox")
        found.evaluate()
        found.accumulate()
        found.summarize()
    assert found.stats[0] == pytest.approx(max(row["val_AP"] for row in Run(tiny_run).log), abs=1e-4)


def test_export_writes_the_file_and_its_metadata_whole(tiny_tflite: Path) -> None:
    assert sorted(path.name for path in tiny_tflite.parent.iterdir()) == [
        *("tiny.labels.txt", "tiny.metadata.json", "tiny.tflite")
    ]
    assert tiny_tflite.with_suffix(".labels.txt").read_text() == "digit\n"


@pytest.fixture
def here(tmp_path: Path, tiny_run: Path, write_config) -> Path:
    """Return a folder with files that a user might pass by mistake."""
    config = yaml.safe_load(write_config(tmp_path).read_text())
    bad = {"annotations": "cats.json", "images": "bad"}
    (tmp_path / "cats.yaml").write_text(yaml.safe_dump(config | {"data": {"train": bad, "val": bad}}))
    for folder in ("empty", "thesis", "images", "bad", "cut"):
        (tmp_path / folder).mkdir()
    (tmp_path / "thesis" / "config.yaml").write_text("precious: true")
    (tmp_path / "broken.json").write_text("{")
    (tmp_path / "list.json").write_text("[]")
    (tmp_path / "fake.tflite").write_text("no model")
    Image.fromarray(np.full((64, 64, 3), 99, np.uint8)).save(tmp_path / "images" / "a.jpg")
    (tmp_path / "bad" / "a.jpg").write_text("no image")
    whole = (tmp_path / "images" / "a.jpg").read_bytes()
    (tmp_path / "cut" / "a.jpg").write_bytes(whole[: len(whole) - 60])
    coco = {
        "images": [{"id": 1, "file_name": "a.jpg", "height": 64, "width": 64}],
        "annotations": [{"id": 1, "image_id": 1, "category_id": 1, "bbox": [8, 8, 30, 30]}],
        "categories": [{"id": 1, "name": "cat"}],
    }
    (tmp_path / "cats.json").write_text(json.dumps(coco))
    shutil.copytree(tiny_run, tmp_path / "two")
    two_classes = tmp_path / "two" / "config.yaml"
    text = two_classes.read_text().replace("- digit", "- digit\n- cat")
    two_classes.write_text(text.replace("category_ids:\n- 1\n", "category_ids:\n- 1\n- 2\n"))
    return tmp_path


MISTAKES = {
    # What is asked for does not exist.
    "trian": "No such command 'trian'",
    "train": "Missing argument 'config'",
    "train tiny.yaml --speed": "No such option: --speed",
    "list phone": "Valid kinds are ('backbone', 'mobile', 'efficient', 'ladder', 'rival'). Received: kind='phone'",
    "summary spinenet": "Unknown model 'spinenet'. Did you mean",
    "train nowhere.yaml": "There is no config nowhere.yaml. The package has:",
    "train nowhere": "There is no config nowhere. The package has:",
    "evaluate nowhere": "There is no model nowhere.",
    "evaluate empty": "empty is neither a run folder (no config.yaml) nor a SavedModel (no saved_model.pb).",
    "evaluate tiny.yaml": "A model must be the folder of a run or of a SavedModel, or a .tflite, .onnx or .xml file.",
    "evaluate fake.tflite": "fake.tflite has no metadata",
    "export empty": "empty is neither a run folder",
    "predict nowhere.jpg --model {run}": "There is no image or folder nowhere.jpg.",
    "predict empty --model {run}": "empty has no images or videos",
    "predict images": "Missing option '--model'",
    "predict images --model {run} --format coco": "Pass --format coco and --annotations together.",
    "predict images --model {run} --format coco --annotations list.json": "list.json: not a COCO file",
    "predict images --model {run} --format coco --annotations cats.json": "cats.json has none of the model's classes",
    # Configs.
    "train tiny.yaml epoch=3": "Unknown key 'epoch'. Did you mean 'epochs'?",
    "train tiny.yaml epochs": "An override is key=value. Received: 'epochs'",
    "train tiny.yaml model.name=spinenet": "model.name: Unknown model 'spinenet'",
    "train tiny.yaml model.image_size=[31,64]": "model.image_size.0: Input should be greater than or equal to 32",
    # Data.
    "train tiny.yaml 'data.train={{annotations: no.json, images: images}}'": "no.json: cannot be read",
    "train tiny.yaml 'data.train={{annotations: broken.json, images: images}}'": "broken.json: not a JSON file",
    "train tiny.yaml 'data.train={{annotations: list.json, images: images}}'": "list.json: not a COCO file",
    "train tiny.yaml 'data.train={{annotations: cats.json, images: nowhere}}'": "The image folder does not exist",
    "train cats.yaml": "a.jpg: not a readable image",
    "predict images --model {run} --resume --overwrite": "Pass only one of --resume and --overwrite.",
    "predict images --model {run} --output new --resume": "There is nothing to continue in new",
    # Things that do not fit each other.
    "evaluate two": "contains weights of another architecture: classes: 1 in the file, 2 in",
    "evaluate {run} --annotations cats.json --images images": "does not have the classes 'cat', only 'digit'. ",
    "evaluate {run} --classes digit,cat": "The model does not have these classes, only 'digit'. Received: 'cat'",
    "evaluate {run} --classes digit,": "--classes must be comma-separated names. Received: --classes 'digit,'",
    "evaluate {run} --classes digit,digit": "A class occurs twice. Received: 'digit', 'digit'",
    "evaluate {run} --classes digit --annotations cats.json --images images": "cats has none of these classes.",
    "train cats.yaml --classes cat,dog": "class_names: the training data lacks some of them; it has 'cat'.",
    "evaluate {run} --annotations cats.json": "Pass --annotations and --images together.",
    "evaluate {tflite}": "An exported model has no validation data",
    "export {run} --format saved_model --quantization int8": "A SavedModel cannot be quantized",
    "export {run} --format saved_model --target gpu": "saved_model has the options ('nms', 'variables', 'batch')",
    "export {run} --target gpu --outputs detections": "Valid outputs for the target gpu are ('raw',)",
    "export {run} --format onnx --quantization int8": "An ONNX file cannot be quantized",
    "export {run} --format web --batch 2": "The format web has the options ('keep_float',). Received: ['batch']",
    "export {run} --batch dynamic": "A .tflite file takes a fixed number of images per call.",
    "export {run} --batch 0": "--batch must be a number of images, or 'dynamic'. Received: --batch 0",
    "export {run} --quantization int8 --debug --batch 2 --outputs decoded": "leave out --outputs, --batch.",
    "export {run} --target mediapipe --batch 2": "postprocess take one image per call. Received: batch_size=2",
    "export {run} --no-nms": "'inputs', 'outputs', 'keep_float', 'batch'). Received: ['nms']",
    "export {run} --license mit": "--license and --benchmark require --card.",
    "export {run} --card --format web": "--card requires a tflite, saved_model or onnx file",
    "export {run} --card --license 'My own'": "A license is an identifier such as apache-2.0 or cc-by-4.0.",
    "export {run} --quantization int4": "'int4' is not one of 'none', 'fp16', 'dynamic', 'int8', 'int16x8'",
    "predict images --model {run} --threshold 2": "Invalid value for '--threshold'",
    # What is in the way, or missing.
    "train tiny.yaml --run two": "two exists. Pass --resume to continue, or --overwrite to start over.",
    "train tiny.yaml --run two --resume --overwrite": "--resume and --overwrite cannot be combined.",
    "train tiny.yaml --run empty --resume": "empty is not a run folder",
    "train tiny.yaml --run thesis --overwrite": "thesis is not a run folder, so it is not overwritten.",
    "demo --run two": "two exists.",
    "predict images --model {run} --output empty": "empty exists. Pass --resume to continue it, or --overwrite",
    "export {run} --output nowhere/a.tflite": "The output folder nowhere does not exist.",
    "evaluate {run} --max-detections 5": "Input should be greater than or equal to 11",
    "evaluate {run} --json nowhere/a.json": "The output folder nowhere does not exist.",
    "evaluate {run} --detections nowhere/a.json": "The output folder nowhere does not exist.",
    "evaluate {run} --detections list.json": "list.json exists. Pass --overwrite to replace it.",
    "evaluate {run} --report nowhere/report": "The output folder nowhere does not exist.",
    "evaluate {run} --report thesis": "thesis is not an earlier report. Pass --overwrite to write into it.",
    "evaluate {run} --report cats.json --overwrite": "cats.json is a file, but a report is written to a folder.",
}


@pytest.mark.parametrize("line", MISTAKES)
def test_a_mistake_is_one_line_and_changes_nothing(
    command, here: Path, tiny_run: Path, tiny_tflite: Path, contents, line: str
) -> None:
    before = contents(here), contents(tiny_run), contents(tiny_tflite.parent)
    code, _, err = command(*shlex.split(line.format(run=tiny_run, tflite=tiny_tflite)))
    assert code == 2
    assert err.startswith("spinenet-tf: ")
    assert MISTAKES[line] in err
    assert (err.count("\n"), err.endswith("\n")) == (1, True)
    assert (contents(here), contents(tiny_run), contents(tiny_tflite.parent)) == before


def test_a_traceback_is_there_for_those_who_ask(monkeypatch, tiny_model) -> None:
    monkeypatch.setenv("SPINENET_TF_DEBUG", "1")
    monkeypatch.setattr(sys, "argv", ["spinenet-tf", "summary", "spinenet"])
    with pytest.raises(ValueError, match="Unknown model 'spinenet'"):
        cli.main()


@pytest.mark.parametrize(
    ("arguments", "code", "out", "err"),
    [
        (["list", "mobile"], 0, "\n".join([*list_models("mobile"), ""]), ""),
        (["evaluate", "nowhere"], 2, "", "spinenet-tf: There is no model nowhere.\n"),
    ],
)
def test_the_installed_command_prints_nothing_but_its_own_words(tmp_path: Path, arguments, code, out, err) -> None:
    """Without precautions, TensorFlow would print several more lines."""
    env = {name: value for name, value in os.environ.items() if name != "TF_CPP_MIN_LOG_LEVEL"}
    program = Path(sys.executable).with_name("spinenet-tf")
    done = subprocess.run([program, *arguments], cwd=tmp_path, env=env, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (code, out, err)
    assert not list(tmp_path.iterdir())


def test_a_training_that_sigterm_stopped_exits_with_0(command, monkeypatch, write_config, tmp_path) -> None:
    def stop(*args, **options):
        raise Preempted("Stopped by SIGTERM after step 7. Continue with --resume.")

    monkeypatch.setattr(recipe, "train", stop)
    outcome = command("train", write_config(tmp_path), "--run", "run")
    assert outcome.code == 0
    assert outcome.out == "Stopped by SIGTERM after step 7. Continue with --resume.\n"


def test_predict_names_what_it_leaves_out(command, tmp_path: Path) -> None:
    (tmp_path / "photos" / "2024").mkdir(parents=True)
    Image.new("RGB", (64, 64)).save(tmp_path / "photos" / "a.png")
    (tmp_path / "photos" / "b.heic").write_bytes(b"")
    _, out, err = command("predict", "photos", "--model", "nowhere")
    assert (out, err) == (
        "Skipped, since they are not images: b.heic.\n",
        "spinenet-tf: There is no model nowhere.\n",
    )
    assert command("predict", "photos/a.png", "--model", "nowhere").out == ""


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("inspect", "~/a.tflite"), "There is no file {home}/a.tflite."),
        (("evaluate", "run", "--json", "~/none/a.json"), "The output folder {home}/none does not exist."),
        (("evaluate", "run", "--json=~/none/a.json"), "The output folder {home}/none does not exist."),
        (("dataset", "check", "~/set"), "{home}/set: there is no such file or folder"),
        (("predict", "~/photo.jpg", "--model=~/run"), "There is no image or folder {home}/photo.jpg."),
    ],
)
def test_a_tilde_is_the_home_folder(command, tmp_path: Path, monkeypatch, words: tuple[str, ...], expected) -> None:
    """No shell expands it in quotes or after `--output=`, and Windows shells never do."""
    for name in ("HOME", "USERPROFILE"):
        monkeypatch.setenv(name, str(tmp_path / "home"))
    code, _, err = command(*words)
    assert (code, err) == (2, f"spinenet-tf: {expected.format(home=tmp_path / 'home')}\n")


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("~", "HOME"),
        ("~/a b", "HOME/a b"),
        ("--run=~/a", "--run=HOME/a"),
        *((word, word) for word in ("a~/b", "~b.txt", "-x~/a", "a=~/b", "--a=b=~/c", "--plain", "")),
    ],
)
def test_only_a_tilde_that_begins_a_path_is_expanded(monkeypatch, tmp_path: Path, word: str, expected: str) -> None:
    """The config expands the paths in overrides itself."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    assert with_home(word) == expected.replace("HOME", str(tmp_path))


@pytest.mark.parametrize(
    ("message", "out"),
    [
        (
            "Stopped by Ctrl-C after step 7. Continue with --resume.",
            "Stopped by Ctrl-C after step 7. Continue with --resume.\n",
        ),
        ("", "Interrupted. The run's saved files are kept.\n"),
    ],
)
def test_a_training_that_ctrl_c_stopped_exits_with_130(command, monkeypatch, write_config, tmp_path, message, out):
    def stop(*args, **options):
        raise KeyboardInterrupt(*[message] if message else [])

    monkeypatch.setattr(recipe, "train", stop)
    outcome = command("train", write_config(tmp_path), "--run", "run")
    assert (outcome.code, outcome.out) == (130, out)


@pytest.mark.parametrize(
    "words", ["--help", "train --help", "dataset check --help", "list", "train", "dataset show --no"]
)
def test_neither_help_nor_the_list_nor_a_mistake_waits_for_keras(words: str) -> None:
    code = f"import sys; sys.argv[:] = 'spinenet-tf {words}'.split(); from spinenet_tf import cli\ntry: cli.main()\n"
    code += "except SystemExit: assert not {'keras', 'tensorflow', 'jax'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


def test_convert_takes_class_names_as_editors_on_windows_save_them(
    command, tmp_path: Path, monkeypatch, tiny_backbone
) -> None:
    taken = {}

    def convert(*_, **options):
        taken.update(options)
        return tiny_backbone

    monkeypatch.setattr("spinenet_tf.training.from_checkpoint.convert_detector", convert)
    (tmp_path / "names.txt").write_bytes(b"\xef\xbb\xbfbackground\r\ncar \r\n\r\n")
    assert command("convert", "ckpt", "run", "--model", "spinenet_49", "--class-names", "names.txt").code == 0
    assert taken["class_names"] == ["background", "car"]
    outcome = command("convert", "ckpt", "run", "--model", "spinenet_49", "--class-names", "none.txt")
    assert (outcome.code, outcome.err) == (2, "spinenet-tf: none.txt: cannot be read (No such file or directory)\n")


def test_summary_counts_and_draws_ones_own_graph(command, tiny_spec, tmp_path):
    tiny_spec.save("tiny.yaml")
    counted = command("summary", "tiny.yaml", "--plot", "tiny.svg")
    assert (counted.code, "Wrote tiny.svg." in counted.out) == (0, True)
    assert "tiny" in counted.out
    assert (tmp_path / "tiny.svg").read_text().startswith("<?xml")
    for words, message in {
        ("--plot", "all.svg"): "--plot draws the models that you name",
        ("tiny.yaml", "--plot", "tiny.gif"): "one of .svg, .png, .pdf",
        ("absent.yaml",): "Graph file not found",
    }.items():
        refused = command("summary", *words)
        assert refused.code == 2
        assert message in refused.err
