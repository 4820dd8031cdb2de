"""Test the benchmark: it includes every engine, alternates their calls, and reports reproducible numbers."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import tensorflow as tf
from PIL import Image

from spinenet_tf import cli
from spinenet_tf.evaluation.average_precision import evaluate
from spinenet_tf.evaluation.detections import detect_in_dataset
from spinenet_tf.export.check.measurement import benchmark, thread_counts, time_calls
from spinenet_tf.export.check.resident_memory import peak_memory
from spinenet_tf.export.check.tradeoff import draw_tradeoff
from spinenet_tf.inference.artifacts import SAVED_MODEL, TFLITE
from spinenet_tf.inference.engines import FUNCTION, KERAS, Setup
from spinenet_tf.inference.loading import load
from spinenet_tf.training.run import Run


def test_threads_double_up_to_the_most() -> None:
    assert [thread_counts(most) for most in (1, 2, 6, 8)] == [[1], [1, 2], [1, 2, 4, 6], [1, 2, 4, 8]]


def test_calls_take_turns_and_the_first_do_not_count() -> None:
    called: list[str] = []
    titles = []

    def track(items, total, title):
        titles.append((total, title))
        return items

    times = time_calls({name: lambda name=name: called.append(name) for name in "abc"}, repeats=5, track=track)
    rounds = [called[start : start + 3] for start in range(0, len(called), 3)]
    assert [sorted(calls) for calls in rounds] == [list("abc")] * 8
    assert len({tuple(calls) for calls in rounds}) > 1, "each round has an order of its own"
    assert titles == [(8, "Measuring time")]
    assert {name: values.shape for name, values in times.items()} == dict.fromkeys("abc", (5,))


@pytest.mark.slow
def test_memory_is_that_of_the_model_in_a_process_of_its_own(foreign) -> None:
    """The libraries alone take hundreds of megabytes; the mean of 384 bytes takes almost nothing."""
    taken = peak_memory(Setup(TFLITE, foreign[TFLITE], 1, "mean"))
    if Path("/proc/self/clear_refs").exists():
        assert 0 < taken < 30e6
    else:
        assert taken is None


@pytest.mark.slow
def test_the_command_exports_measures_and_draws(tiny_run, succeed, contents, tmp_path, capsys) -> None:
    before = contents(tiny_run)
    options = ("--no-memory", "--threads", 1, "--repeats", 2)
    succeed("benchmark", tiny_run, "--ap", *options, "--json", tmp_path / "b.json", "--plot", tmp_path / "b.png")
    assert contents(tiny_run) == before
    found = json.loads((tmp_path / "b.json").read_text())
    rows = found["measurements"]
    fresh = [f"{tiny_run}: {name}, fresh" for name in ("saved_model", "model.tflite")]
    assert [row["model"] for row in rows] == [str(tiny_run)] * 2 + fresh
    assert [(row["engine"], row["threads"]) for row in rows] == [
        *((engine, None) for engine in (KERAS, FUNCTION, SAVED_MODEL)),
        (TFLITE, 1),
    ]
    assert all(0 < row["median_ms"] <= row["p90_ms"] for row in rows)
    best = max(row["val_AP"] for row in Run(tiny_run).log)
    assert [row["ap"] for row in rows] == pytest.approx([best] * 4, abs=1e-4)
    assert [row["memory_bytes"] for row in rows] == [None] * 4
    assert rows[0]["file_bytes"] == Run(tiny_run).weights_path.stat().st_size
    assert (found["repeats"], found["machine"]["versions"]["tensorflow"]) == (2, tf.__version__)
    printed = capsys.readouterr().out
    assert all(engine in printed for engine in (KERAS, FUNCTION, SAVED_MODEL, TFLITE))
    with Image.open(tmp_path / "b.png") as picture:
        assert picture.size[0] > 1000


def test_exports_that_are_there_are_taken(tiny_run, tiny_tflite, tiny_model, tmp_path) -> None:
    run = shutil.copytree(tiny_run, tmp_path / "run")
    for path in tiny_tflite.parent.iterdir():
        shutil.copy(path, run)
    found = benchmark([run], threads=2, repeats=1, raw=True, memory=False)
    assert [(row.model, row.engine, row.threads, row.detects) for row in found.measurements] == [
        (str(run), FUNCTION, None, False),
        (str(run / "tiny.tflite"), TFLITE, 1, False),
        (str(run / "tiny.tflite"), TFLITE, 2, False),
    ]
    assert found.measurements[1].file_bytes == tiny_tflite.stat().st_size
    assert not any(row.ap for row in found.measurements)


def test_an_artifact_is_evaluated_on_data_that_are_given(tiny_run, tiny_tflite, foreign, tiny_model) -> None:
    """An artifact without class names has no AP and is not in the plot."""
    dataset = Run(tiny_run).config.own_data().val.read("val")
    found = benchmark([tiny_tflite, foreign[TFLITE]], 1, 1, memory=False, ap=True, dataset=dataset).measurements
    predictor = load(tiny_tflite)
    expected = evaluate(dataset, detect_in_dataset(predictor.predict, dataset, predictor.image_size)).AP
    assert found[0].ap == pytest.approx(expected)
    assert found[1].ap is None
    assert draw_tradeoff(found).startswith(b"\x89PNG")
    with pytest.raises(ValueError, match="needs AP"):
        draw_tradeoff(found[1:])


MISTAKES = {
    "nowhere": "There is no model nowhere.",
    "empty": "empty is not a run folder: it has no config.yaml.",
    "broken.tflite notes.txt": "A model to measure must be a run, a SavedModel, or a .tflite, .onnx or .xml file.",
    "broken.tflite --no-memory": "LiteRT cannot load broken.tflite",
    "saved": "TensorFlow cannot load saved as a SavedModel",
    "broken.tflite --ap": "AP needs a run with data, or --annotations and --images.",
    "broken.tflite --quantization int4": "Valid quantizations are",
    "broken.tflite --plot a.png": "--plot requires --ap and a file name that ends in .png.",
    "broken.tflite --ap --plot a.svg": "--plot requires --ap and a file name that ends in .png.",
    "broken.tflite --json nowhere/a.json": "The output folder nowhere does not exist.",
    "broken.tflite --annotations a.json --images empty": "--annotations and --images require --ap.",
    "broken.tflite --repeats 0": "Invalid value for '--repeats'",
    "model.onnx": "model.onnx",  # not an ONNX file, or there is no ONNX Runtime
}


@pytest.mark.parametrize("line", MISTAKES)
def test_a_mistake_is_one_line_and_writes_nothing(line, tmp_path, monkeypatch, capsys, contents) -> None:
    monkeypatch.chdir(tmp_path)
    for folder in ("empty", "saved"):
        (tmp_path / folder).mkdir()
    for name in ("broken.tflite", "notes.txt", "model.onnx", "saved/saved_model.pb"):
        (tmp_path / name).write_text("not a model at all")
    before = contents(tmp_path)
    monkeypatch.setattr("sys.argv", ["spinenet-tf", "benchmark", *line.split()])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    error = capsys.readouterr().err
    assert ended.value.code == 2
    assert MISTAKES[line] in error
    assert error.count("\n") == 1
    assert contents(tmp_path) == before
