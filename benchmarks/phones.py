"""Measure what the mobile models cost on a CPU in each quantization, and a YOLOv8n beside them, for docs/phones.md.

    python -m benchmarks.phones runs/phones build/phones/nudenet-3.4.2-py3-none-any.whl

The arguments are the folder for the runs, and the PyPI wheel with the YOLOv8n, which is read and not installed. Each
finished unit is a line of `phones.jsonl` next to this file, and is skipped; an interrupted training run is resumed. The
units are, in this order:

- files, for each model: the detector of COCO's 80 classes at the model's own image size, raw outputs, weights that are
  not trained; bytes, operations, partitions and latency of the file in each quantization
- rival: the latency of the YOLOv8n and of all models at 320 px, with its 18 classes, from an image to boxes and scores
  without NMS, as its file has it
- digits, for each model and the smallest Eff-SpineNet: the AP that int8 costs a detector which is trained on digits
  with the recipe of the demo, for half its length

A latency is the minimum and the median of alternating calls. Make sure that no other program is running during the
first two kinds, about ten minutes.
"""

from __future__ import annotations

import argparse
import platform
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from datetime import UTC, datetime
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import numpy as np

from benchmarks.measuring import Effort, alternate, median
from benchmarks.nets import with_weights
from benchmarks.peak import cpu_info
from benchmarks.quantization import precision_of, write
from spinenet_tf._files.ledger import Ledger
from spinenet_tf.export import TFLiteModel, tflite
from spinenet_tf.export.check.measurement import describe_machine
from spinenet_tf.export.litert.tflite_file import QUANTIZATIONS
from spinenet_tf.inference.inspection import inspect
from spinenet_tf.inference.interpreter import open_interpreter
from spinenet_tf.models import detector
from spinenet_tf.nets.family import list_models, variant
from spinenet_tf.training.config import TrainConfig
from spinenet_tf.training.config_file import find_config, read_config
from spinenet_tf.training.recipe import train
from spinenet_tf.training.run import Run

RESULTS = Path(__file__).with_suffix(".jsonl")
COCO_CLASSES = 80
THREADS = (1, 2)
SLOW = "int16x8"  # XNNPACK does not run it: seconds per call, also on more threads
PAUSE = 0.01  # seconds before each call, in which threads of other engines stop waiting for work actively
LATENCY, QUICK = Effort(seconds=10, least=10, most=100), Effort(seconds=1, least=2)

DATA = "{digits: %s, scenes: %d, classes: 1, size: [96, 128]}"
SCENES = {"train": 2000, "val": 500}
EPOCHS, STEPS = 8, 68  # as in heads.py: half as many steps as the demo
KEPT = "model.overrides={max_level: 5, endpoint: 96, norm_momentum: 0.97}"  # not the activation and the SE of the demo

EFFICIENT = "eff_spinenet_m0_lite"
RIVAL, RIVAL_FILE = "YOLOv8n", "nudenet/320n.onnx"
RIVAL_SIDE, RIVAL_CLASSES = 320, 18
Call = Callable[[], Any]


def main() -> None:
    """Measure everything that is missing in the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="folder for the runs and the files")
    parser.add_argument("wheel", type=Path, help=f"the wheel with {RIVAL_FILE}")
    parser.add_argument("--only", action="append", help="a model to measure, instead of all; may be repeated")
    parser.add_argument("--quick", action="store_true", help="few calls and 16 training steps, to try the benchmark")
    parser.add_argument("--results", type=Path, help="file of the results; default: phones.jsonl, quick: in the folder")
    arguments = parser.parse_args()
    names, effort = arguments.only or list_models("mobile"), QUICK if arguments.quick else LATENCY
    trained = arguments.only or [*names, EFFICIENT]
    ledger = Ledger(arguments.results or (arguments.folder / "quick.jsonl" if arguments.quick else RESULTS))
    ledger.once("machine", machine)
    check_machine(ledger)
    for name in names:
        carry_out(ledger, f"files, {name}", partial(files, name, arguments.folder / name, effort))
    unit = "rival" if names == list_models("mobile") else f"rival of {', '.join(names)}"
    carry_out(ledger, unit, partial(rival, names, arguments.folder, arguments.wheel, effort))
    print("All latencies are measured: other programs no longer matter", flush=True)
    for name in trained:
        config = digits_config(name, arguments.folder / "data", 2 if arguments.quick else STEPS)
        run = arguments.folder / name / f"digits-{config.steps_per_epoch}"
        carry_out(ledger, f"digits, {name}", partial(digits, config, run))


def carry_out(ledger: Ledger, unit: str, measure: Callable[[], dict[str, Any]]) -> None:
    """Measure a unit that is missing, and add the date and the seconds that it took."""

    def measure_with_time() -> dict[str, Any]:
        start, date = time.perf_counter(), f"{datetime.now(UTC):%Y-%m-%d}"
        # TensorFlow's converter and training keep their memory until the process ends.
        with ProcessPoolExecutor(1, get_context("spawn")) as process:
            found = process.submit(measure).result()
        seconds = round(time.perf_counter() - start)
        print(f"{unit}: {seconds} s", flush=True)
        return {"date": date, "seconds": seconds} | found

    ledger.once(unit, measure_with_time)


def machine() -> dict[str, Any]:
    """Return what the latencies depend on."""
    return {"processor": cpu_info("model name") or platform.processor()} | describe_machine()


def check_machine(ledger: Ledger) -> None:
    """Raise a ValueError if the results are those of another machine or of other versions."""
    if {"unit": "machine"} | machine() != ledger.rows()["machine"]:
        raise ValueError(f"The results are those of another machine: delete them. Received: {ledger.path}")


def files(name: str, folder: Path, effort: Effort) -> dict[str, Any]:
    """Return the costs of a model's file in each quantization."""
    side = variant(name).image_size
    paths = export_all(name, folder, side, COCO_CLASSES, QUANTIZATIONS, outputs="raw")
    images = noise(side)
    times = latencies({(key, n): litert_call(path, n, images) for key, path in paths.items() for n in THREADS}, effort)
    return {"name": name, "side": side, "files": [costs(key, path) | ms(times, key) for key, path in paths.items()]}


def export_all(
    name: str, folder: Path, side: int, classes: int, quantizations: Iterable[str], outputs: str
) -> dict[str, Path]:
    """Write a model's files in these quantizations; weights and ranges do not affect the speed."""
    folder.mkdir(parents=True, exist_ok=True)
    net, paths = with_weights(detector(name, classes, (side, side, 3))), {}
    for quantization in quantizations:
        paths[quantization] = folder / f"{side}-{quantization}.tflite"
        calibration = [noise(side, seed) for seed in range(4)]
        tflite(net, paths[quantization], quantization, calibration, overwrite=True, outputs=outputs)
    return paths


def costs(quantization: str, path: Path) -> dict[str, Any]:
    """Return what `inspect` finds in a file."""
    found = inspect(path)
    return {
        "quantization": quantization,
        "bytes": found.file_bytes,
        "arena_bytes": found.arena_bytes,
        "moved_bytes": sum(found.moved_bytes.values()),
        "multiply_adds": sum(found.multiply_adds.values()),
        "operations": sum(found.ops.values()),
        "partitions": found.xnnpack_partitions,
        "outside": found.xnnpack_leaves,
    }


def ms(times: Mapping[tuple[str, int], list[float]], key: str) -> dict[str, Any]:
    """Return the minimum and the median milliseconds of each number of threads."""
    found = {str(n): times[key, n] for n in THREADS}
    return {"ms": {n: [1e3 * min(seconds), 1e3 * median(seconds)] for n, seconds in found.items()}}


def latencies(calls: Mapping[tuple[str, int], Call], effort: Effort) -> dict[tuple[str, int], list[float]]:
    """Return the seconds of each call in alternating rounds; the slow files have rounds of their own."""
    slow = {key for key in calls if key[0] == SLOW}
    fast = {key: timed(call) for key, call in calls.items() if key not in slow}
    few = Effort(seconds=0, least=min(3, effort.least))
    return alternate(fast, effort, warm_ups=2) | alternate({key: timed(calls[key]) for key in slow}, few)


def timed(call: Call) -> Callable[[], float]:
    """Return a turn of `alternate`, which returns the seconds of a call."""

    def turn() -> float:
        time.sleep(PAUSE)
        start = time.perf_counter()
        call()
        return time.perf_counter() - start

    return turn


def noise(side: int, seed: int = 0) -> np.ndarray:
    """Return a normalized image `[1, side, side, 3]`."""
    return np.random.default_rng(seed).standard_normal((1, side, side, 3), "float32")


def litert_call(path: Path, threads: int, images: np.ndarray) -> Call:
    """Return a call of a .tflite file, without copies of the outputs."""
    interpreter = open_interpreter(path, num_threads=threads)
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], images)
    return interpreter.invoke


def digits_config(name: str, data: Path, steps: int) -> TrainConfig:
    """Return the config `demo` for another model, which keeps its own activation and squeeze-and-excitation."""
    sources = [f"data.{split}={DATA % (data, count)}" for split, count in SCENES.items()]
    length = [f"steps_per_epoch={steps}", f"epochs={EPOCHS}", f"evaluate_every={EPOCHS}", "log_images=0"]
    return read_config(find_config("demo"), [f"model.name={name}", KEPT, *sources, *length])


def digits(config: TrainConfig, folder: Path) -> dict[str, Any]:
    """Train, or resume; return the AP in Keras and of the int8 file."""
    train(config, folder, resume=folder.exists())
    net, config, path = Run(folder).load(), Run(folder).config, folder / "int8.tflite"  # with the names of the classes
    precision = partial(precision_of, dataset=config.own_data().val.read("val"), config=config)
    write(net, config, path, "int8", overwrite=True)
    found = {"name": config.model.name, "steps": EPOCHS * config.steps_per_epoch, "scenes": SCENES["val"]}
    return found | {"AP": precision(net.predict_on_batch), "int8 AP": precision(TFLiteModel(path).predict)}


def rival(names: Sequence[str], folder: Path, wheel: Path, effort: Effort) -> dict[str, Any]:
    """Return the latency of the YOLOv8n in ONNX Runtime, and of the models in LiteRT, in alternating rounds."""
    images, content = noise(RIVAL_SIDE), ZipFile(wheel).read(RIVAL_FILE)
    calls: dict[tuple[str, int], Call] = {(RIVAL, n): onnx_call(content, n, images) for n in THREADS}
    found = {}
    for name in names:
        paths = export_all(name, folder / name, RIVAL_SIDE, RIVAL_CLASSES, ("none", "int8"), outputs="decoded")
        for quantization, path in paths.items():
            key = f"{name}, {quantization}"
            found[key] = {"name": name} | costs(quantization, path)
            calls |= {(key, n): litert_call(path, n, images) for n in THREADS}
    times = latencies(calls, effort)
    own = {"name": RIVAL, "wheel": wheel.name, "quantization": "none", "bytes": len(content)} | ms(times, RIVAL)
    return {"side": RIVAL_SIDE, "files": [own, *(row | ms(times, key) for key, row in found.items())]}


def onnx_call(content: bytes, threads: int, images: np.ndarray) -> Call:
    """Return a call of an .onnx file with input `[1, 3, H, W]`, whose idle threads sleep and do not disturb others."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    feeds = {session.get_inputs()[0].name: np.ascontiguousarray(images.transpose(0, 3, 1, 2))}
    return lambda: session.run(None, feeds)


if __name__ == "__main__":
    main()
