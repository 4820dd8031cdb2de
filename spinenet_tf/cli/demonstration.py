"""Train, evaluate and export on built-in data, then evaluate the TFLite file and draw its detections."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from spinenet_tf._files.writing import write_whole
from spinenet_tf.data.dataset import DetectionDataset
from spinenet_tf.heads.detector import DetectionModel
from spinenet_tf.inference.loading import load
from spinenet_tf.inference.predictor import Predictor

DRAWN_SCENES = 12


def run_demo(folder: Path, *, overwrite: bool, announce: Callable[[str], None]) -> dict[str, Any]:
    """Run the config `demo` in `folder`, with images in `data` beside it, and return the content of `summary.json`.

    `announce` is called with the title of each step.

    Raises:
        RunError: the folder exists and `overwrite` is False.
    """
    from spinenet_tf.export.from_run import default_path, export_model
    from spinenet_tf.training.recipe import train

    started = time.monotonic()
    announce("Training spinenet_mobile_49xs on handwritten digits")
    places = ("data.train.digits", "data.val.digits")
    run = train("demo", folder, overrides=dict.fromkeys(places, folder.parent / "data"), overwrite=overwrite)

    announce("Exporting, and evaluating on validation images")
    detector, config = run.load(), run.config
    kinds = {"saved_model": ("saved_model", "none"), "tflite": ("tflite", "none"), "tflite_int8": ("tflite", "int8")}
    written = {name: export_model(detector, config, default_path(folder, *kind), *kind) for name, kind in kinds.items()}
    # Exporting a quantized model evaluates both it and the Keras model on the run's validation data.
    ap = written["tflite_int8"].ap or {}
    weights = run.weights_path
    paths = {name: artifact.path for name, artifact in written.items()}
    int8 = load(paths["tflite_int8"])
    summary = {
        "ap_float": ap["keras"],
        "ap_int8": ap["exported"],
        "sizes_bytes": {"keras_weights": weights.stat().st_size}
        | {name: artifact.size for name, artifact in written.items()},
        "latencies_ms": _latencies(detector, folder, paths),
        "paths": {"keras_weights": str(weights)} | {name: str(path) for name, path in paths.items()},
        "picture": str(_draw(int8, config.own_data().read("val"), folder / "detections.png")),
        "seconds": round(time.monotonic() - started, 1),
    }
    write_whole(folder / "summary.json", json.dumps(summary, indent=2))
    return summary


def _latencies(detector: DetectionModel, folder: Path, paths: dict[str, Path]) -> dict[str, float]:
    """Return the median latency per image in milliseconds, from pixels to detections."""
    from spinenet_tf.export.check.measurement import time_calls
    from spinenet_tf.inference import engines
    from spinenet_tf.inference.artifacts import engine_of

    setups = {"keras_weights": engines.Setup(engines.KERAS, folder, None, "keras_weights")}
    setups |= {name: engines.Setup(engine_of(path) or "", path, os.cpu_count(), name) for name, path in paths.items()}
    calls = {name: engines.load(setup, detector=detector).on_example() for name, setup in setups.items()}
    return {name: round(float(np.median(times)), 2) for name, times in time_calls(calls, repeats=30).items()}


def _draw(predictor: Predictor, dataset: DetectionDataset, path: Path) -> Path:
    from spinenet_tf.data.images import read_image
    from spinenet_tf.drawing.boxes import contact_sheet, save_png

    images = (read_image(example.path) for example in dataset.examples[:DRAWN_SCENES])
    save_png(path, contact_sheet(np.asarray(found.draw()) for found in predictor.stream(images)))
    return path
