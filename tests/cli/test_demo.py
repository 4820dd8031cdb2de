"""Test all steps of the demo, and its summary file, with a small net and little data."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
from PIL import Image
from rich.console import Console

from spinenet_tf.cli.demonstration import run_demo
from spinenet_tf.cli.tables import demo_table
from spinenet_tf.training import config_file

FORMATS = {"keras_weights", "saved_model", "tflite", "tflite_int8"}


@pytest.mark.slow
def test_the_demo_trains_exports_measures_and_draws(tmp_path: Path, tiny_model, write_config, monkeypatch) -> None:
    path = write_config(tmp_path)
    monkeypatch.setattr(config_file, "find_config", lambda name: path)
    folder, told = tmp_path / "demo", []
    summary = run_demo(folder, overwrite=False, announce=told.append)
    assert [title.split()[0] for title in told] == ["Training", "Exporting,"]
    assert json.loads((folder / "summary.json").read_text()) == summary
    assert 0 <= summary["ap_float"] <= 1
    assert summary["ap_int8"] >= summary["ap_float"] - 0.02
    for key in ("sizes_bytes", "latencies_ms", "paths"):
        assert summary[key].keys() == FORMATS
    assert all(size > 0 for size in summary["sizes_bytes"].values())
    assert all(milliseconds > 0 for milliseconds in summary["latencies_ms"].values())
    assert all(Path(path).exists() for path in summary["paths"].values())
    assert summary["sizes_bytes"]["tflite_int8"] < summary["sizes_bytes"]["tflite"]
    with Image.open(summary["picture"]) as picture:
        assert min(picture.size) > 320
    console = Console(file=io.StringIO(), width=200)
    console.print(demo_table(summary))
    printed = console.file.getvalue()
    assert all(format in printed for format in FORMATS)
    assert "Demo results" in printed


def test_the_demos_config_needs_nothing_but_its_place() -> None:
    demo = config_file.read_config(config_file.find_config("demo"))
    assert (demo.data.train.classes, demo.data.val.classes) == (1, 1)
    assert demo.data.train.digits == demo.data.val.digits
