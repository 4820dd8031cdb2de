"""Compare our int8 files for GPUs and NPUs with those of ai-edge-quantizer, calibrated on the same images.

    make second-opinion RUNS="runs/demo"

The quantizer pins its LiteRT, so it has its own environment, `.venv-quantizer`. Both files have float inputs and
outputs. The float file for the target npu is also that for the target gpu. AP is that of the run's validation data;
milliseconds are the least for the network alone on one x86 thread, with the files of a run alternating.
"""

from __future__ import annotations

import argparse
import subprocess
import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from benchmarks.quantization import precision_of, write
from spinenet_tf.export import TFLiteModel
from spinenet_tf.export.check.measurement import time_calls
from spinenet_tf.export.from_run import calibration_batches
from spinenet_tf.inference.inspection import inspect
from spinenet_tf.inference.metadata import read_metadata
from spinenet_tf.training.run import Run

TARGET = "npu"
# How the quantizer chooses the scales of weights (by their range, or with the least squared error, by two methods), and
# the ranges of activations: see `second_quantizer`.
VARIANTS = (
    ("min_max_uniform_quantize", "average"),
    ("min_max_uniform_quantize", "extremes"),
    ("MSE", "average"),
    ("OCTAV", "average"),
)
OURS = "ours, int8"
REPEATS = 100


def main() -> None:
    """Measure the runs and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", type=Path, help="folders of detectors' runs")
    parser.add_argument("--python", type=Path, default=Path(".venv-quantizer/bin/python"), help="has the quantizer")
    arguments = parser.parse_args()
    shown = Table(
        "run", "file", "AP", "AP lost", "MB", "partitions", "float operations", "ms", title="int8, target npu"
    )
    for folder in arguments.runs:
        for row in measure(folder, arguments.python):
            shown.add_row(folder.name, *row)
    Console(width=140).print(shown)


def measure(folder: Path, python: Path) -> Iterator[tuple[str, ...]]:
    """Yield a row for each file: title, AP, AP lost, MB, XNNPACK partitions, operations in float, milliseconds."""
    run = Run(folder)
    detector, config = run.load(), run.config
    dataset = config.own_data().val.read("val")
    with tempfile.TemporaryDirectory() as name:
        files = write_all(detector, config, Path(name), python)
        models = {title: TFLiteModel(path, num_threads=1) for title, path in files.items()}
        image = np.zeros((1, *config.model.image_size, 3), np.float32)
        times = time_calls({title: partial(model.raw, image) for title, model in models.items()}, REPEATS)
        precisions = {title: precision_of(model.predict, dataset, config) for title, model in models.items()}
        for title, path in files.items():
            ap, found = precisions[title], inspect(path)
            floats = sum(found.float_ops.values())
            numbers = f"{ap:.4f}", f"{precisions['float'] - ap:.4f}", f"{found.file_bytes / 1e6:.2f}"
            yield title, *numbers, f"{found.xnnpack_partitions}", f"{floats}", f"{min(times[title]):.2f}"


def write_all(detector: Any, config: Any, folder: Path, python: Path) -> dict[str, Path]:
    """Write the float file, our int8 file and those of the quantizer; return them by title."""
    files = {"float": folder / "float.tflite", OURS: folder / "ours.tflite"}
    write(detector, config, files["float"], "none", target=TARGET)
    write(detector, config, files[OURS], "int8", target=TARGET)
    images = np.concatenate(list(calibration_batches(config.own_data().train.read("train"), config)))
    np.save(folder / "images.npy", images)
    for variant in VARIANTS:
        path = files[f"ai-edge-quantizer, {', '.join(variant)}"] = folder / f"{'-'.join(variant)}.tflite"
        call = [python, Path(__file__).with_name("second_quantizer.py"), files["float"], folder / "images.npy"]
        subprocess.run([*map(str, call), *variant, str(path)], check=True, stderr=subprocess.DEVNULL)
        read_metadata(files[OURS]).append_to(path)
    return files


if __name__ == "__main__":
    main()
