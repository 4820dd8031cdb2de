"""Quantize a float .tflite to int8 with ai-edge-quantizer, in its own environment: `second_opinion` calls this file.

.venv-quantizer/bin/python benchmarks/second_quantizer.py float.tflite images.npy MSE average int8.tflite
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
from ai_edge_quantizer import quantizer, recipe
from ai_edge_quantizer.qtyping import TFLOperationName

SIGNATURE, INPUT = "serving_default", "images"


def main(source: str, images: str, algorithm: str, ranges: str, target: str) -> None:
    """Write the int8 file, calibrated on the images `[N, H, W, 3]`, with float inputs and outputs as ours."""
    work = quantizer.Quantizer(source, recipe.static_wi8_ai8(algorithm))
    for end in (TFLOperationName.INPUT, TFLOperationName.OUTPUT):
        work.update_quantization_recipe(".*", end, algorithm_key="no_quantize")
    calibrate = {"average": averages, "extremes": extremes}[ranges]
    found = calibrate(work, [{INPUT: image[None]} for image in np.load(images)])
    Path(target).write_bytes(work.quantize(found, enable_progress_report=False).quantized_model)


def averages(work: Any, samples: list[dict[str, np.ndarray]]) -> dict[str, Any]:
    """Return moving averages of each tensor's range over the images, as the quantizer does."""
    return work.calibrate({SIGNATURE: samples}, num_threads=1)


def extremes(work: Any, samples: list[dict[str, np.ndarray]]) -> dict[str, Any]:
    """Return the least and the greatest value of each tensor on all images, as TensorFlow's calibration does."""
    found: dict[str, Any] = {}
    for sample in samples:
        for name, ends in averages(work, [sample]).items():
            known = found.setdefault(name, ends)
            if ends:  # constants have none
                low, high = np.minimum(known["min"], ends["min"]), np.maximum(known["max"], ends["max"])
                found[name] = ends | {"min": low, "max": high}
    return found


if __name__ == "__main__":
    main(*sys.argv[1:])
