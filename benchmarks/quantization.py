"""Measure the AP that trained detectors lose by quantization, on their validation data, and compare it with the goals.

    python benchmarks/quantization.py runs/lite runs/swish --keep box_predictor --keep "box_*"

The table has a row for Keras, for every TFLite quantization, and for int8 with the layers of each `--keep` in float.
AP is compared with that of the run's weights in Keras. The goal of int8 depends on the network, and on whether the
run was trained for int8 (`quantization: int8`). Milliseconds are for the network alone on one thread, with the files of
a run alternating.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from spinenet_tf._files.writing import write_whole
from spinenet_tf.data.dataset import DetectionDataset
from spinenet_tf.export import TFLiteModel, tflite
from spinenet_tf.export.check.measurement import time_calls
from spinenet_tf.export.check.verify import average_precision
from spinenet_tf.export.from_run import calibration_batches
from spinenet_tf.export.litert.tflite_file import CALIBRATED, QUANTIZATIONS
from spinenet_tf.training.config import TrainConfig
from spinenet_tf.training.run import Run

GOALS = {"fp16": 0.001, "dynamic": 0.005}  # largest allowed loss of AP
INT8_GOALS = {"trained for int8": 0.005, "lite": 0.01, "other": 0.02}
REPEATS = 50


def main() -> None:
    """Measure the runs and print a table; with `--json`, also write the rows."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", type=Path, help="folders of detectors' runs")
    parser.add_argument(
        "--keep", action="append", default=[], help="layers to keep in float in an additional int8 file"
    )
    parser.add_argument("--json", type=Path, help="also write the rows to this file")
    arguments = parser.parse_args()
    rows = [row for folder in arguments.runs for row in measure(folder, arguments.keep)]
    Console(width=120).print(table(rows))
    if arguments.json:
        write_whole(arguments.json, json.dumps(rows, indent=1))


def measure(folder: Path, keep: Sequence[str]) -> list[dict[str, Any]]:
    """Return the rows of a run: AP, loss compared with Keras, goal, size and latency of each file."""
    run = Run(folder)
    detector, config = run.load(), run.config
    precision = partial(precision_of, dataset=config.own_data().val.read("val"), config=config)
    own = precision(detector.predict_on_batch)
    rows: list[dict[str, Any]] = [{"run": folder.name, "format": "Keras", "AP": own, "lost": 0.0, "goal": None}]
    calls = {}
    with tempfile.TemporaryDirectory() as name:
        for quantization, pattern in [*((x, None) for x in QUANTIZATIONS), *(("int8", x) for x in keep)]:
            title = f"{quantization}, {pattern} in float" if pattern else quantization
            path = Path(name, f"{len(rows)}.tflite")
            try:
                artifact = write(detector, config, path, quantization, [pattern] if pattern else [])
            except ValueError as error:  # int16x8 with squeeze-and-excitation
                print(f"{folder.name}, {title}: {error}")
                continue
            ap = precision(TFLiteModel(path).predict)
            numbers = {"AP": ap, "lost": own - ap, "goal": goal_of(quantization, config), "bytes": artifact.size}
            rows.append({"run": folder.name, "format": title, **numbers})
            calls[title] = partial(TFLiteModel(path, num_threads=1).raw, np.zeros((1, *config.model.image_size, 3)))
        times = time_calls(calls, REPEATS)
    return [row | {"ms": float(np.median(times[row["format"]]))} if row["format"] in times else row for row in rows]


def write(detector, config: TrainConfig, path: Path, quantization: str, keep: Sequence[str] = (), **options: Any):
    """Export without the check of AP, which the benchmark measures; `options` are those of `tflite`."""
    calibration = None
    if quantization in CALIBRATED:
        calibration = calibration_batches(config.own_data().train.read("train"), config)
    return tflite(detector, path, quantization, calibration, config.class_names, keep_float=keep, **options)


def precision_of(predict, dataset: DetectionDataset, config: TrainConfig) -> float:
    """Return the COCO AP of the detections of `predict`."""
    return average_precision(predict, dataset, config.model.image_size, config.class_names or ())


def trained_for_int8(config: TrainConfig) -> bool:
    """Return whether the run was trained with simulated quantization."""
    return config.quantization == "int8"


def goal_of(quantization: str, config: TrainConfig) -> float | None:
    """Return the AP that a file may lose, or None for 16-bit activations, which have no goal."""
    if quantization != "int8":
        return GOALS.get(quantization)
    lite = config.model.name.endswith("_lite")
    return INT8_GOALS["trained for int8" if trained_for_int8(config) else "lite" if lite else "other"]


def table(rows: Sequence[dict[str, Any]]) -> Table:
    """Return the rows as a table, with missed goals marked."""
    columns = ("AP", "AP lost", "goal", "", "MB", "ms")
    shown = Table("run", "format", title="AP lost by quantization")
    for column in columns:
        shown.add_column(column, justify="right")
    for row in rows:
        goal = row["goal"]
        met = "" if goal is None else "met" if row["lost"] <= goal else "missed"
        size, latency = (f"{row[key] / unit:.2f}" if key in row else "" for key, unit in (("bytes", 1e6), ("ms", 1)))
        numbers = (f"{row['AP']:.4f}", f"{row['lost']:.4f}", "" if goal is None else f"{goal}")
        shown.add_row(row["run"], row["format"], *numbers, met, size, latency)
    return shown


if __name__ == "__main__":
    main()
