"""Compare LiteRT's two ways to run a .tflite file: by its Interpreter, and by its CompiledModel, which phones use."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
from ai_edge_litert.compiled_model import CompiledModel
from ai_edge_litert.hardware_accelerator import HardwareAccelerator

from spinenet_tf._files import native_output
from spinenet_tf.inference.interpreter import open_interpreter
from spinenet_tf.inference.naming import DEFAULT, INPUT


def assert_compiled_gives_the_same(path: Path) -> None:
    """Compare all outputs on the CPU by name and bit by bit; of detections, the slots before `num_detections`."""
    runner = open_interpreter(path, num_threads=1).get_signature_runner(DEFAULT)
    images = noise(runner.get_input_details()[INPUT])
    expected, found = runner(**{INPUT: images}), run_compiled(path, images)
    assert {name: (x.dtype, x.shape) for name, x in found.items()} == {
        name: (x.dtype, x.shape) for name, x in expected.items()
    }
    for name, x in used(expected).items():
        np.testing.assert_array_equal(used(found)[name], x)


def run_compiled(path: Path, images: np.ndarray) -> dict[str, np.ndarray]:
    """Return the outputs of CompiledModel on the CPU, by signature name."""
    with native_output.hidden():  # it lists accelerators
        model = CompiledModel.from_file(str(path), HardwareAccelerator.CPU)
    details = model.get_output_tensor_details(DEFAULT)
    source = model.create_input_buffer_by_name(DEFAULT, INPUT)
    targets = {name: model.create_output_buffer_by_name(DEFAULT, name) for name in details}
    source.write(images)
    model.run_by_name(DEFAULT, {INPUT: source}, targets)
    return {name: read(target, details[name]) for name, target in targets.items()}


def noise(detail: dict[str, Any]) -> np.ndarray:
    """Return an input as a tensor's `detail` describes it: normalized, or pixels."""
    random = np.random.default_rng(0)
    if detail["dtype"] == np.uint8:
        return random.integers(0, 256, detail["shape"], np.uint8)
    return random.standard_normal(detail["shape"], "float32")


def used(outputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return outputs without the slots behind the detections, which hold any values."""
    if "num_detections" not in outputs:
        return outputs
    count = int(outputs["num_detections"][0])
    assert count > 0
    return {name: x if name == "num_detections" else x[:, :count] for name, x in outputs.items()}


def read(buffer: Any, detail: dict[str, Any]) -> np.ndarray:
    return buffer.read(math.prod(detail["shape"]), np.dtype(detail["dtype"])).reshape(detail["shape"])
