"""The whole road on the embedded data: train, evaluate, export, evaluate the TFLite file, draw."""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from spinenet_tf.data.dataset import DetectionDataset
from spinenet_tf.predictor import Predictor, load_predictor
from spinenet_tf.retinanet import RetinaNet

DRAWN_SCENES = 12


def run_demo(folder: Path, *, overwrite: bool, console: Console) -> dict[str, Any]:
    """Carry out the config `demo` in `folder`, its scenes in `data` beside that, and return `folder/summary.json`.

    Raises:
        RunError: the folder exists and `overwrite` is False.
    """
    from spinenet_tf.export.run import default_path, export_detector
    from spinenet_tf.training.config import find_config, read_config
    from spinenet_tf.training.recipe import train
    from spinenet_tf.training.run import Run

    started = time.monotonic()
    console.rule("Training spinenet_mobile_49xs on handwritten digits")
    scenes = json.dumps(str(folder.parent / "data"))  # JSON is YAML, whatever characters the path has
    config = read_config(find_config("demo"), [f"data.{split}.digits={scenes}" for split in ("train", "val")])
    detector = train(config, folder, overwrite=overwrite)

    console.rule("Exporting, and evaluating on scenes that were held out")
    run = Run(folder)
    detector.load_weights(run.weights_path)
    forms = {"saved_model": ("saved_model", "none"), "tflite": ("tflite", "none"), "tflite_int8": ("tflite", "int8")}
    reports = {
        name: export_detector(detector, run.config(), default_path(folder, *form), *form)
        for name, form in forms.items()
    }
    # The check of a quantized export evaluates it and Keras on the run's validation data.
    ap = reports["tflite_int8"].ap or {}
    weights = run.weights_path
    paths = {name: report.path for name, report in reports.items()}
    int8_form = load_predictor(paths["tflite_int8"])
    summary = {
        "ap_float": ap["keras"],
        "ap_int8": ap["exported"],
        "sizes_bytes": {"keras_weights": weights.stat().st_size}
        | {name: report.size for name, report in reports.items()},
        "latencies_ms": _latencies(detector, paths),
        "paths": {"keras_weights": str(weights)} | {name: str(path) for name, path in paths.items()},
        "picture": str(_draw(int8_form, config.own_data().val.read("val"), folder / "detections.png")),
        "seconds": round(time.monotonic() - started, 1),
    }
    (folder / "summary.json").write_text(json.dumps(summary, indent=2))
    console.print(_table(summary))
    return summary


def _latencies(detector: RetinaNet, paths: dict[str, Path]) -> dict[str, float]:
    """Return the median milliseconds for one image, from pixels to detections."""
    forms: dict[str, Callable] = {
        "keras_weights": detector.predict_on_batch,
        "saved_model": _serve(paths["saved_model"]),
    }
    forms |= {name: load_predictor(paths[name]).predict for name in ("tflite", "tflite_int8")}
    image = np.zeros((1, *detector.backbone.image_shape), np.float32)
    return {name: _median_ms(lambda predict=predict: predict(image)) for name, predict in forms.items()}


def _serve(path: Path) -> Callable:
    import tensorflow as tf

    serve = tf.saved_model.load(str(path)).signatures["serve"]
    # The signature is an attribute of what was loaded, which TensorFlow does not keep alive by itself.
    return lambda image: {name: x.numpy() for name, x in serve(images=tf.constant(image)).items()}


def _median_ms(call: Callable, repeats: int = 30) -> float:
    call()
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        call()
        times.append(1e3 * (time.perf_counter() - start))
    return round(statistics.median(times), 2)


def _draw(predictor: Predictor, dataset: DetectionDataset, path: Path) -> Path:
    from spinenet_tf.data.images import read_image
    from spinenet_tf.visualize import contact_sheet, save_png

    pictures = []
    for example in dataset.examples[:DRAWN_SCENES]:
        image = read_image(example.path)
        pictures.append(predictor.draw(image, predictor.detect(image)))
    save_png(path, contact_sheet(pictures))
    return path


def _table(summary: dict[str, Any]) -> Table:
    table = Table("form", "AP", "size MB", "ms per image", "where", title="What the demo made")
    accuracy = {"keras_weights": summary["ap_float"], "tflite_int8": summary["ap_int8"]}
    for name, path in summary["paths"].items():
        ap = f"{accuracy[name]:.3f}" if name in accuracy else "as Keras"
        size, latency = summary["sizes_bytes"][name] / 1e6, summary["latencies_ms"][name]
        table.add_row(name, ap, f"{size:.2f}", f"{latency:.1f}", path)
    table.add_row("detections of the int8 file", "", "", "", summary["picture"])
    table.caption = f"on this machine, in {summary['seconds']:.0f} s"
    return table
