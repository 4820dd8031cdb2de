"""Test the tables of the command line: each number in its row, and a dash for missing ones."""

from __future__ import annotations

import io
import math
from typing import Any

import numpy as np
from rich.console import Console

from spinenet_tf.cli.tables import benchmark_table, evaluation_table, summary_table
from spinenet_tf.data.dataset import DetectionDataset
from spinenet_tf.evaluation.metrics import METRICS, CocoMetrics, Evaluation
from spinenet_tf.export.check.measurement import Benchmark, Measurement


def lines(table) -> list[list[str]]:
    """Return the words of each printed line."""
    console = Console(file=io.StringIO(), width=200)
    console.print(table)
    return [line.replace("│", " ").split() for line in console.file.getvalue().splitlines()]


def test_published_figures_stand_in_brackets_behind_the_counted_ones() -> None:
    row = {
        **{"name": "net", "input": 640, "backbone_params": 1_234_567, "detector_params": 2_000_000},
        **{"classifier_params": 3_000_000, "macs_published_order": 85_900_000_000, "macs": 60_000_000_000},
        "published": {"params_m": 2.1, "macs_b": 85.4, "ap": 44.3, "note": ""},
    }
    none = {"classifier_params": None, "published": dict.fromkeys(row["published"]) | {"note": ""}}
    small = row | {"name": "small", "macs": 900_000_000} | none
    printed = lines(summary_table([row, small]))
    assert ["net", "640", "1.23", "2.00", "(2.1)", "3.00", "85.9", "(85.4)", "60.0", "120.0", "(44.3)"] in printed
    assert ["small", "640", "1.23", "2.00", "-", "85.900", "0.900", "1.800", "-"] in printed


def test_a_note_stands_once_below_the_table_for_all_its_models(summary_rows) -> None:
    names = ("spinenet_49", "eff_spinenet_d0", "eff_spinenet_m0", "eff_spinenet_d1")
    note = "reconstructed from published sizes; the widths of the blocks are unverified"
    printed = [" ".join(line) for line in lines(summary_table([summary_rows[name] for name in names]))]
    assert [line for line in printed if line.endswith(".")] == [
        f"eff_spinenet_d0, eff_spinenet_d1: {note}.",
        "eff_spinenet_m0: unverified: no published figure was found.",
    ]


NOTHING: dict[str, Any] = {
    "precision": np.empty((10, 101, 2)),
    "dataset": DetectionDataset("none", ("cat", "dog"), (1, 2), ()),
    "detections": [],
}


def test_an_evaluation_shows_all_numbers_beside_the_classes() -> None:
    values = dict(zip(METRICS, [0.5, *[0.25] * 10, math.nan], strict=True))
    values |= NOTHING | {"per_class": {"cat": 0.125, "dog": math.nan}}
    printed = lines(evaluation_table(Evaluation(**values)))
    assert ["AP", "0.500", "cat", "0.125"] in printed
    assert ["AP50", "0.250", "dog", "-"] in printed
    assert ["ARl", "-"] in printed


def test_an_evaluation_of_masks_shows_them_beside_boxes() -> None:
    boxes, masks = (
        dict.fromkeys(METRICS, value) | {"per_class": {"cat": value, "dog": math.nan}} for value in (0.5, 0.25)
    )
    of_masks = CocoMetrics(**masks, precision=NOTHING["precision"])
    printed = lines(evaluation_table(Evaluation(**boxes, **NOTHING, masks=of_masks)))
    assert ["boxes", "masks", "boxes", "masks"] in printed
    assert ["AP", "0.500", "0.250", "cat", "0.500", "0.250"] in printed
    assert ["AP50", "0.500", "0.250", "dog", "-", "-"] in printed


def test_an_evaluation_that_is_not_cocos_says_so_and_what_bounds_it() -> None:
    values = dict.fromkeys(METRICS, 0.5) | NOTHING | {"per_class": {"cat": 0.5}}
    usual, full, other = (
        [" ".join(line) for line in lines(evaluation_table(Evaluation(**values | options)))]
        for options in ({}, {"crowded": 3}, {"max_detections": 300, "crowded": 1})
    )
    assert not any("objects" in line or "@" in line for line in usual)
    assert "Images with more objects than counted detections: 3." in " ".join(full)
    assert any("non-COCO metrics" in line for line in other)
    assert all(any(name in line for line in other) for name in ("AP@300 0.500", "AR10 0.500", "AR300 0.500"))
    assert "COCO counts 100 detections, these metrics 300." in " ".join(other)


def test_a_benchmark_shows_a_dash_for_what_was_not_measured() -> None:
    full = Measurement("net.tflite", "TFLite", 2, (1, 64, 64, 3), True, 12.34, 56.78, 9_000_000, 1_230_000, 0.4567)
    bare = Measurement("other", "SavedModel", None, (4, 64, 64, 3), False, 1.0, 2.0, None, 4_000_000, None)
    printed = lines(benchmark_table(Benchmark([full, bare], 50, {"cores": 2})))
    assert ["net.tflite", "TFLite", "2", "detections", "1", "12.3", "56.8", "9.0", "1.23", "0.457"] in printed
    assert ["other", "SavedModel", "-", "raw", "4", "1.0", "2.0", "-", "4.00", "-"] in printed
