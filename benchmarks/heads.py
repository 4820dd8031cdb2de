"""Train heads on one backbone, data set and number of steps, and compare AP, AP in int8, file size and latency.

    nice python -m benchmarks.heads runs/heads

The config is `demo` with other heads and learning rates. The argument is the folder for the runs. Each finished run is
a line of `heads.jsonl` next to this file, and is skipped; an interrupted run is resumed. At the end, the latency from
pixels to boxes is measured for the first seed of each head, with the files alternating, and the table is printed.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from benchmarks.quantization import precision_of, write
from spinenet_tf._files.ledger import Ledger
from spinenet_tf.data.images import to_pixels
from spinenet_tf.export import TFLiteModel
from spinenet_tf.export.check.measurement import time_calls
from spinenet_tf.export.from_run import calibration_batches
from spinenet_tf.inference.interpreter import open_interpreter
from spinenet_tf.inference.naming import DEFAULT, INPUT
from spinenet_tf.training.config import TrainConfig
from spinenet_tf.training.config_file import find_config, read_config
from spinenet_tf.training.recipe import train
from spinenet_tf.training.run import Run

RESULTS = Ledger(Path(__file__).with_suffix(".jsonl"))
STEPS, TRIAL = 68, 34  # per epoch, for 8 epochs; the second is for trials of learning rates
QUANTIZATIONS = ("none", "int8")
REPEATS = 200
DATA = "{digits: %s, scenes: %d, classes: 1, size: [96, 128]}"
CENTERNET = "model.head={kind: centernet, stride: %d}"


@dataclass(frozen=True)
class Unit:
    """One training run."""

    title: str
    options: tuple[str, ...]  # overrides of the config
    learning_rate: float  # at a batch of 256, as in configs; the batch of 16 uses a sixteenth of it
    seed: int = 0
    steps: int = STEPS

    @property
    def key(self) -> str:
        """The name of the run's folder and of its line in the results."""
        return f"{self.title}, {self.learning_rate}, {self.seed}, {8 * self.steps} steps"

    def config(self, data: Path) -> TrainConfig:
        """Return the config `demo` with this run's changes."""
        sources = [f"data.{split}={DATA % (data, count)}" for split, count in (("train", 2000), ("val", 500))]
        rate = [f"optimizer.learning_rate={self.learning_rate}", f"seed={self.seed}"]
        short = [f"steps_per_epoch={self.steps}", "log_images=0"]
        return read_config(find_config("demo"), [*sources, *rate, *short, *self.options])


RETINANET = partial(Unit, "RetinaNet", ())
STRIDES = {stride: partial(Unit, f"CenterNet, stride {stride}", (CENTERNET % stride,)) for stride in (8, 4)}
P3 = partial(Unit, "CenterNet, stride 8, P3 alone", (CENTERNET % 8, "model.overrides.max_level=3"))
P7 = partial(Unit, "CenterNet, stride 8, P3 to P7", (CENTERNET % 8, "model.overrides.max_level=7"))


def units() -> Iterator[Unit]:
    """Yield the runs, the most informative first."""
    for rate in (0.08, 0.16, 0.32, 0.64):
        yield STRIDES[8](rate, steps=TRIAL)
    yield RETINANET(0.32, steps=TRIAL)
    for seed in range(3):
        yield from (make(0.32, seed) for make in (RETINANET, *STRIDES.values()))
        if not seed:
            yield P3(0.32)
    yield P7(0.32)
    yield RETINANET(0.64, steps=TRIAL)


def main() -> None:
    """Measure everything that is missing in the results, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="folder for the runs")
    parser.add_argument("--no-latency", action="store_true", help="skip the latency, which needs a quiet machine")
    arguments = parser.parse_args()
    for unit in units():
        RESULTS.once(unit.key, partial(carry_out, unit, arguments.folder))
    if not arguments.no_latency:
        RESULTS.once("latency", partial(latencies, arguments.folder))
    Console(width=120).print(table(RESULTS.rows()))


def carry_out(unit: Unit, folder: Path) -> dict[str, Any]:
    """Train, or resume; return the AP in Keras and in int8, and the sizes of the files."""
    config, path = unit.config(folder / "data"), folder / unit.key
    train(config, path, resume=path.exists())
    detector, config = Run(path).load(), Run(path).config  # with the names of the classes
    found = {"title": unit.title, "seed": unit.seed, "learning_rate": unit.learning_rate, "steps": 8 * unit.steps}
    found["AP"] = Run(path).log[-1]["val_AP"]
    if unit.steps == TRIAL:
        return found
    files = {name: path / f"{name}.tflite" for name in QUANTIZATIONS}
    for name, file in files.items():
        write(detector, config, file, name, overwrite=True, inputs="uint8", outputs="detections")
    found["int8 AP"] = precision_of(TFLiteModel(files["int8"]).predict, config.own_data().val.read("val"), config)
    return found | {f"{name} bytes": file.stat().st_size for name, file in files.items()}


def latencies(folder: Path) -> dict[str, Any]:
    """Return the minimum and the median milliseconds of each file from pixels to boxes, on one thread."""
    first = {row["title"]: key for key, row in RESULTS.rows().items() if row["seed"] == 0 and "int8 AP" in row}
    calls = {
        f"{title}, {name}": call(folder / key / f"{name}.tflite")
        for title, key in first.items()
        for name in QUANTIZATIONS
    }
    times = time_calls(calls, REPEATS)
    return {"least and median ms": {title: [float(np.min(ms)), float(np.median(ms))] for title, ms in times.items()}}


def call(path: Path) -> Callable[[], Any]:
    """Return a function that runs a file on held-out scenes."""
    run = open_interpreter(path, num_threads=1).get_signature_runner(DEFAULT)
    config = Run(path.parent).config
    images = next(calibration_batches(config.own_data().val.read("val"), config, 1))
    pixels = to_pixels(images).astype(np.uint8)
    return lambda: run(**{INPUT: pixels})


def table(rows: dict[str, dict[str, Any]]) -> Table:
    """Return the table: mean, minimum and maximum over the seeds."""
    columns = ("steps", "rate", "seeds", "AP", "int8 AP", "float MB", "int8 MB", "float ms", "int8 ms")
    shown = Table("head", *columns, title="Heads on one backbone")
    times = rows.get("latency", {}).get("least and median ms", {})
    kinds = [(row["title"], row["steps"], row["learning_rate"]) for row in rows.values() if "title" in row]
    for kind in dict.fromkeys(kinds):
        same = [row for row in rows.values() if (row.get("title"), row.get("steps"), row.get("learning_rate")) == kind]
        numbers = [spread([row[key] for row in same if key in row]) for key in ("AP", "int8 AP")]
        sizes = [f"{same[0][f'{name} bytes'] / 1e6:.2f}" if "int8 AP" in same[0] else "" for name in QUANTIZATIONS]
        ms = [f"{times[f'{kind[0]}, {name}'][0]:.2f}" if sizes[0] and times else "" for name in QUANTIZATIONS]
        shown.add_row(kind[0], str(kind[1]), str(kind[2]), str(len(same)), *numbers, *sizes, *ms)
    return shown


def spread(values: list[float]) -> str:
    """Return the mean and the range of values as text."""
    if len(values) < 2:
        return "".join(f"{value:.3f}" for value in values)
    return f"{np.mean(values):.3f} ({min(values):.3f} to {max(values):.3f})"


if __name__ == "__main__":
    main()
