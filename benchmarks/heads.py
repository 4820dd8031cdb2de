"""Train heads on one backbone, data set and number of steps: AP, that of a quantized file, size and latency.

    nice python -m benchmarks.heads runs/heads

The config is `demo` with other heads, tasks and learning rates. The argument is the folder for the runs. Each finished
run is a line of `heads.jsonl` next to this file, and is skipped; an interrupted run is resumed. Short trials choose the
learning rate of each kind of head. At the end, the latency from pixels to boxes, and masks if there are any, is
measured for the first seed of each head, with all files alternating; a file that is missing is trained and exported
again. No other program should be running then. docs/write_heads.py writes the page from the results.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.phones import carry_out, machine
from benchmarks.quantization import write
from spinenet_tf._files.ledger import Ledger
from spinenet_tf.data.images import to_pixels
from spinenet_tf.export import TFLiteModel
from spinenet_tf.export.check.measurement import time_calls
from spinenet_tf.export.from_run import calibration_batches
from spinenet_tf.heads.head import Head
from spinenet_tf.heads.table import find_head
from spinenet_tf.inference.interpreter import open_interpreter
from spinenet_tf.inference.naming import DEFAULT, INPUT
from spinenet_tf.tasks import TASKS
from spinenet_tf.training.config import TrainConfig
from spinenet_tf.training.config_file import find_config, read_config
from spinenet_tf.training.recipe import train
from spinenet_tf.training.run import Run

RESULTS = Path(__file__).with_suffix(".jsonl")
EPOCHS = 8  # of the config
STEPS, TRIAL, QUICK = 68, 34, 2  # per epoch; the second is for trials of learning rates, the last tries the benchmark
SEEDS = 3
FLOAT = "none"
REPEATS, FEW = 200, 2
SCENES = {"train": 2000, "val": 500}
SMALL = {"model.image_size": (64, 64), "data.val.scenes": 40}
METRICS = ("AP", "mask_AP")
LATENCY, TIMES = "latency", "least and median ms"
Options = Mapping[str, Any]


@dataclass(frozen=True)
class Unit:
    """One training run."""

    title: str
    head: Options  # its kind and options
    learning_rate: float  # at a batch of 256, as in configs; the batch of 16 uses a sixteenth of it
    seed: int = 0
    steps: int = STEPS
    options: Options = field(default_factory=dict)  # other overrides of the config

    @property
    def key(self) -> str:
        """The name of the run's folder and of its line in the results."""
        return f"{self.title}, {self.learning_rate}, {self.seed}, {EPOCHS * self.steps} steps"

    @property
    def row(self) -> Head:
        """The head's row in the table of heads."""
        return find_head(self.head["kind"])

    @property
    def quantizations(self) -> tuple[str, str]:
        """The files to export: in float, and in integers or, where the net selects detections, with 8-bit weights."""
        return FLOAT, "dynamic" if self.row.selects else "int8"

    def config(self, data: Path) -> TrainConfig:
        """Return the config `demo` with this run's changes."""
        changes: dict[str, Any] = {
            f"data.{split}": {"digits": str(data), "scenes": count, "classes": 1, "size": [96, 128]}
            for split, count in SCENES.items()
        }
        changes |= {"task": self.row.task, "model.head": dict(self.head)}
        changes |= {"optimizer.learning_rate": self.learning_rate, "seed": self.seed}
        changes |= {"steps_per_epoch": self.steps, "epochs": EPOCHS, "log_images": 0}
        return read_config(find_config("demo"), changes | self.options)


def head_of(config: str) -> Options:
    """Return the head of a config."""
    return read_config(find_config(config)).model.head


RETINANET = partial(Unit, "RetinaNet", head_of("demo"))
CENTERNET = {stride: {"kind": "centernet", "stride": stride} for stride in (8, 4)}
STRIDES = {stride: partial(Unit, f"CenterNet, stride {stride}", head) for stride, head in CENTERNET.items()}
P3, P7 = (
    partial(Unit, f"CenterNet, stride 8, {name}", CENTERNET[8], options={"model.overrides.max_level": level})
    for name, level in (("P3 alone", 3), ("P3 to P7", 7))
)
MASK_RCNN = partial(Unit, "Mask R-CNN", head_of("digits-masks"))
TRIALS = {RETINANET: (0.32, 0.64), STRIDES[8]: (0.08, 0.16, 0.32, 0.64), MASK_RCNN: (0.064, 0.128, 0.32)}


def trials() -> Iterator[Unit]:
    """Yield short runs that choose the learning rates."""
    for make, rates in TRIALS.items():
        yield from (make(rate, steps=TRIAL) for rate in rates)


def runs(rows: Mapping[str, Any]) -> Iterator[Unit]:
    """Yield the runs with the learning rates that are best in the trials of `rows`, the most informative first."""
    retinanet, centernet, masks = (
        max((make(rate, steps=TRIAL) for rate in rates), key=lambda unit: score(rows[unit.key], unit)).learning_rate
        for make, rates in TRIALS.items()
    )
    for seed in range(SEEDS):
        yield RETINANET(retinanet, seed)
        yield from (make(centernet, seed) for make in STRIDES.values())
        yield MASK_RCNN(masks, seed)
    yield from (make(centernet) for make in (P3, P7))


def score(row: Mapping[str, Any], unit: Unit) -> float:
    """Return the metric of a row that the unit's task selects weights by."""
    return row[TASKS[unit.row.task].monitor]


def quick_runs() -> list[Unit]:
    """Return small runs of a few steps, which show only that the benchmark works."""
    return [replace(make(0.32, steps=QUICK), options=SMALL) for make in (RETINANET, STRIDES[4], MASK_RCNN)]


def main() -> None:
    """Measure everything that is missing in the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="folder for the runs")
    parser.add_argument("--no-latency", action="store_true", help="skip the latency, which needs a quiet machine")
    parser.add_argument("--quick", action="store_true", help="a few small steps of three heads, results in the folder")
    arguments = parser.parse_args()
    ledger = Ledger(arguments.folder / "quick.jsonl" if arguments.quick else RESULTS)
    for unit in () if arguments.quick else trials():
        carry_out(ledger, unit.key, partial(measure, unit, arguments.folder))
    chosen = quick_runs() if arguments.quick else list(runs(ledger.rows()))
    for unit in chosen:
        carry_out(ledger, unit.key, partial(measure, unit, arguments.folder))
    if not arguments.no_latency:
        measure_latency(ledger, chosen, arguments.folder, FEW if arguments.quick else REPEATS)


def measure(unit: Unit, folder: Path) -> dict[str, Any]:
    """Train, or resume; return AP in Keras and, except for trials, AP of the quantized file and the sizes of both."""
    run = trained(unit, folder)
    found = {"title": unit.title, "seed": unit.seed, "learning_rate": unit.learning_rate, "steps": EPOCHS * unit.steps}
    found |= {name: run.log[-1][f"val_{name}"] for name in METRICS if f"val_{name}" in run.log[-1]}
    if unit.steps == TRIAL:
        return found
    for quantization, file in exported(unit, run).items():
        if quantization != FLOAT:
            found |= {f"{quantization} {name}": value for name, value in precision_of(file, run.config).items()}
        found[f"{quantization} bytes"] = file.stat().st_size
    return found


def trained(unit: Unit, folder: Path) -> Run:
    """Return the unit's run, after training what is missing of it."""
    path = folder / unit.key
    return train(unit.config(folder / "data"), path, resume=path.exists())


def exported(unit: Unit, run: Run) -> dict[str, Path]:
    """Return the run's files by quantization, after exporting those that are missing."""
    files = {name: run.folder / f"{name}.tflite" for name in unit.quantizations}
    for name, file in files.items():
        if not file.exists():
            write(run.load(), run.config, file, name, inputs="uint8", outputs="detections")
    return files


def precision_of(file: Path, config: TrainConfig) -> dict[str, float]:
    """Return AP of a file's boxes on the validation data and, if its task has masks, AP of its masks."""
    data, names = config.own_data().val.read("val"), config.class_names or ()
    found = TASKS[config.task].measure(TFLiteModel(file).predict, data, config.model.image_size, names)
    return {name: value for name, value in found.to_log().items() if name in METRICS}


def measure_latency(ledger: Ledger, chosen: Sequence[Unit], folder: Path, repeats: int) -> None:
    """Measure the latency of all files, unless the results have that of each."""
    timed = [unit for unit in chosen if unit.seed == 0]
    wanted = {f"{unit.title}, {name}" for unit in timed for name in unit.quantizations}
    if wanted - set(ledger.rows().get(LATENCY, {}).get(TIMES, ())):
        ledger.add(LATENCY, machine() | latencies(timed, folder, repeats))


def latencies(timed: Sequence[Unit], folder: Path, repeats: int) -> dict[str, Any]:
    """Return the minimum and the median milliseconds of each file from pixels to detections, on one thread."""
    calls = {
        f"{unit.title}, {name}": call(file, run.config)
        for unit, run in [(unit, trained(unit, folder)) for unit in timed]
        for name, file in exported(unit, run).items()
    }
    times = time_calls(calls, repeats)
    return {TIMES: {title: [float(np.min(ms)), float(np.median(ms))] for title, ms in times.items()}}


def call(path: Path, config: TrainConfig) -> Callable[[], Any]:
    """Return a function that runs a file on a held-out scene."""
    run = open_interpreter(path, num_threads=1).get_signature_runner(DEFAULT)
    images = next(calibration_batches(config.own_data().val.read("val"), config, 1))
    pixels = to_pixels(images).astype(np.uint8)
    return lambda: run(**{INPUT: pixels})


if __name__ == "__main__":
    main()
