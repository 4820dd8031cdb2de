"""Export mobile nets at several image sizes for CPUs, and count the operations that XNNPACK does not run.

    nice python -m benchmarks.image_sizes

Each file is a line of `image_sizes.jsonl` next to this file, and is skipped the next time. docs/phones.md has the
table: `python docs/write_tables.py docs/phones.md`. Weights and images are random, because they do not affect the
choice of operations. `difference` is the largest difference from Keras, relative to the largest output.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Any

import keras
import numpy as np
from ai_edge_litert.interpreter import Interpreter
from rich.console import Console

import spinenet_tf
from spinenet_tf.export.litert.conversion import convert
from spinenet_tf.export.litert.targets import TARGETS
from spinenet_tf.export.signatures import raw_function
from spinenet_tf.inference.inspection import inspect
from spinenet_tf.inference.naming import flatten

RESULTS = Path(__file__).with_suffix(".jsonl")
NETS = (  # of Eff-SpineNet the smallest ones and the largest: its others differ in width
    *spinenet_tf.list_models("mobile"),
    *("eff_spinenet_m0", "eff_spinenet_m0_lite", "eff_spinenet_d2_lite"),
)
SIZES = ((320, 320), (416, 416), (448, 448), (512, 512))
QUANTIZATIONS = ("none", "int8")
# Initial weights would hide differences: predictors are nearly zero, and BN is the identity.
RANGES = {"gamma": (0.7, 1.3), "moving_variance": (0.5, 1.5), "beta": (-0.2, 0.2), "moving_mean": (-0.2, 0.2)}


def main() -> None:
    """Measure the files that are not in `RESULTS`, and append a line for each."""
    console = Console()
    done = [(row["model"], tuple(row["image_size"])) for row in results()]
    for name, size in product(NETS, SIZES):
        if (name, size) not in done:
            rows = [json.dumps(row) for row in _measure(name, size)]
            with RESULTS.open("a", encoding="utf-8") as file:
                file.write("".join(f"{row}\n" for row in rows))
            console.print("\n".join(rows), soft_wrap=True)


def results() -> list[dict[str, Any]]:
    """Return the measured rows."""
    return [json.loads(line) for line in RESULTS.read_text("utf-8").splitlines()] if RESULTS.exists() else []


def _measure(name: str, size: tuple[int, int]) -> Iterator[dict[str, Any]]:
    random = np.random.default_rng(0)
    detector = _detector(name, size, random)
    images = random.standard_normal((2, *size, 3), "float32")
    expected = flatten(detector(images[:1], training=False))
    largest = max(float(np.abs(x).max()) for x in expected.values())
    raw = raw_function(detector, 1, upsampling=TARGETS["cpu"].upsampling)
    for quantization in QUANTIZATIONS:
        content = convert(raw, quantization, [images], xnnpack=True)
        found = Interpreter(model_content=content).get_signature_runner()(images=images[:1])
        yield {
            "model": name,
            "image_size": size,
            "quantization": quantization,
            **_plan(content),
            "difference": max(float(np.abs(found[key] - x).max()) for key, x in expected.items()) / largest,
        }


def _detector(name: str, size: tuple[int, int], random: np.random.Generator) -> keras.Model:
    detector = spinenet_tf.detector(name, 80, (*size, 3))
    for weight in detector.weights:
        if weight.name in RANGES:
            weight.assign(random.uniform(*RANGES[weight.name], weight.shape))
        elif "predictor" in weight.path:
            weight.assign(random.normal(0.0, 0.3, weight.shape))
    return detector


def _plan(content: bytes) -> dict[str, int]:
    """Return the number of operations, of XNNPACK's partitions and of operations outside of them."""
    with NamedTemporaryFile(suffix=".tflite") as file:
        file.write(content)
        file.flush()
        found = inspect(file.name)
    operations, outside = (sum(counts.values()) for counts in (found.ops, found.xnnpack_leaves))
    return {"operations": operations, "outside": outside, "partitions": found.xnnpack_partitions}


if __name__ == "__main__":
    main()
