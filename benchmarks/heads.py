"""Train heads on one backbone, data set and number of steps, and compare AP, AP in int8, file size and latency.

    nice python -m benchmarks.heads runs/heads

The config is `demo`, but for the head and its learning rate. Runs go to that folder. Each that is finished is a line of
`heads.jsonl` beside this file and is not made again; one that was cut off goes on. Latency, from pixels to boxes, is
measured at the end, of the first seed of each, all by turns. Then the table is printed.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from benchmarks.quantization import precision_of
from spinenet_tf.data.images import to_pixels
from spinenet_tf.export import TFLiteModel, tflite
from spinenet_tf.export.check.measurement import time_calls
from spinenet_tf.export.from_run import calibration_batches
from spinenet_tf.training.config import TrainConfig
from spinenet_tf.training.config_file import find_config, read_config
from spinenet_tf.training.recipe import train
from spinenet_tf.training.run import Run

RESULTS = Path(__file__).with_suffix(".jsonl")
STEPS, TRIAL = 68, 34  # per epoch, of which there are 8; trials are of a learning rate
FORMS = ("none", "int8")
REPEATS = 200
DATA = "{digits: %s, scenes: %d, classes: 1, size: [96, 128]}"
CENTERNET = "model.head={kind: centernet, stride: %d}"


@dataclass(frozen=True)
class Unit:
    """One training."""

    title: str
    options: tuple[str, ...]  # of the config
    learning_rate: float  # at a batch of 256, as in configs: a sixteenth of it at the batch of 16
    seed: int = 0
    steps: int = STEPS

    @property
    def key(self) -> str:
        """The name of its folder and of its line."""
        return f"{self.title}, {self.learning_rate}, {self.seed}, {8 * self.steps} steps"

    def config(self, data: Path) -> TrainConfig:
        """Return the config `demo` with what is another here."""
        sources = [f"data.{split}={DATA % (data, count)}" for split, count in (("train", 2000), ("val", 500))]
        rate = [f"optimizer.learning_rate={self.learning_rate}", f"seed={self.seed}"]
        short = [f"steps_per_epoch={self.steps}", "log_images=0"]
        return read_config(find_config("demo"), [*sources, *rate, *short, *self.options])


RETINANET = partial(Unit, "RetinaNet", ())
STRIDES = {stride: partial(Unit, f"CenterNet, stride {stride}", (CENTERNET % stride,)) for stride in (8, 4)}
P3 = partial(Unit, "CenterNet, stride 8, P3 alone", (CENTERNET % 8, "model.overrides.max_level=3"))
P7 = partial(Unit, "CenterNet, stride 8, P3 to P7", (CENTERNET % 8, "model.overrides.max_level=7"))


def units() -> Iterator[Unit]:
    """List the trainings, the most telling first."""
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
    """Carry out what is not in the results yet, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="where runs go")
    parser.add_argument("--no-latency", action="store_true", help="leave out what needs a quiet machine")
    arguments = parser.parse_args()
    for unit in units():
        once(unit.key, partial(carry_out, unit, arguments.folder))
    if not arguments.no_latency:
        once("latency", partial(latencies, arguments.folder))
    Console(width=120).print(table(results()))


def once(key: str, measure: Callable[[], dict[str, Any]]) -> None:
    """Add a line to the results, unless it is there."""
    if key not in results():
        line = json.dumps({"unit": key} | measure())
        with RESULTS.open("a") as file:
            file.write(f"{line}\n")


def results() -> dict[str, dict[str, Any]]:
    """Return the lines of the results by their units."""
    lines = RESULTS.read_text().splitlines() if RESULTS.exists() else []
    return {row["unit"]: row for row in map(json.loads, lines)}


def carry_out(unit: Unit, folder: Path) -> dict[str, Any]:
    """Train, or go on; return AP in Keras and in int8, and the sizes of the files."""
    config, path = unit.config(folder / "data"), folder / unit.key
    train(config, path, resume=path.exists())
    detector, config = Run(path).load()
    found = {"title": unit.title, "seed": unit.seed, "learning_rate": unit.learning_rate, "steps": 8 * unit.steps}
    found["AP"] = Run(path).read_log()[-1]["val_AP"]
    if unit.steps == TRIAL:
        return found
    files = {form: write(detector, config, path, form) for form in FORMS}
    found["int8 AP"] = precision_of(TFLiteModel(files["int8"]).predict, config.own_data().val.read("val"), config)
    return found | {f"{form} bytes": file.stat().st_size for form, file in files.items()}


def write(detector, config: TrainConfig, folder: Path, form: str) -> Path:
    """Export from pixels to detections, without the check of AP, which is measured here."""
    path = folder / f"{form}.tflite"
    calibration = calibration_batches(config.own_data().train.read("train"), config) if form == "int8" else None
    ends = {"inputs": "uint8", "outputs": "detections"}
    tflite(detector, path, form, calibration, config.class_names, overwrite=True, **ends)
    return path


def latencies(folder: Path) -> dict[str, Any]:
    """Return the least and the median milliseconds of each file, one thread, from pixels to boxes."""
    first = {row["title"]: key for key, row in results().items() if row["seed"] == 0 and "int8 AP" in row}
    calls = {(title, form): call(folder / key / f"{form}.tflite") for title, key in first.items() for form in FORMS}
    times = time_calls(calls, REPEATS)
    shown = {f"{title}, {form}": [float(np.min(ms)), float(np.median(ms))] for (title, form), ms in times.items()}
    return {"least and median ms": shown}


def call(path: Path) -> Callable[[], Any]:
    """Return a call of a file with a held-out scene."""
    from ai_edge_litert.interpreter import Interpreter

    run = Interpreter(str(path), num_threads=1).get_signature_runner("serving_default")
    config = Run(path.parent).config()
    images = next(calibration_batches(config.own_data().val.read("val"), config, 1))
    pixels = to_pixels(images).astype(np.uint8)
    return lambda: run(images=pixels)


def table(rows: dict[str, dict[str, Any]]) -> Table:
    """Show the mean of the seeds, with the lowest and the highest."""
    columns = ("steps", "rate", "seeds", "AP", "int8 AP", "float MB", "int8 MB", "float ms", "int8 ms")
    shown = Table("head", *columns, title="Heads on one backbone")
    times = rows.get("latency", {}).get("least and median ms", {})
    kinds = [(row["title"], row["steps"], row["learning_rate"]) for row in rows.values() if "title" in row]
    for kind in dict.fromkeys(kinds):
        same = [row for row in rows.values() if (row.get("title"), row.get("steps"), row.get("learning_rate")) == kind]
        numbers = [spread([row[key] for row in same if key in row]) for key in ("AP", "int8 AP")]
        sizes = [f"{same[0][f'{form} bytes'] / 1e6:.2f}" if "int8 AP" in same[0] else "" for form in FORMS]
        ms = [f"{times[f'{kind[0]}, {form}'][0]:.2f}" if sizes[0] and times else "" for form in FORMS]
        shown.add_row(kind[0], str(kind[1]), str(kind[2]), str(len(same)), *numbers, *sizes, *ms)
    return shown


def spread(values: list[float]) -> str:
    """Write the mean and the range of some values."""
    if len(values) < 2:
        return "".join(f"{value:.3f}" for value in values)
    return f"{np.mean(values):.3f} ({min(values):.3f} to {max(values):.3f})"


if __name__ == "__main__":
    main()
