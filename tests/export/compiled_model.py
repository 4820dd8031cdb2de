"""Run a .tflite file by LiteRT's CompiledModel, which phones use: on the CPU, or on a GPU that the CPU imitates.

LiteRT's GPU accelerator runs on Vulkan. Debian's Chromium contains a Vulkan driver that computes on the CPU, so the
accelerator tells on any machine which operations it refuses, and computes by its own kernels.
"""

from __future__ import annotations

import math
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
from ai_edge_litert.compiled_model import CompiledModel
from ai_edge_litert.hardware_accelerator import HardwareAccelerator
from ai_edge_litert.interpreter import Interpreter
from ai_edge_litert.options import CpuOptions, GpuOptions, Options
from ai_edge_litert.tensor_buffer import TensorBuffer

SIGNATURE, INPUT = "serving_default", "images"
VULKAN = Path("/usr/lib/chromium/vk_swiftshader_icd.json")


def assert_compiled_gives_the_same(path: Path) -> None:
    """Compare all outputs on the CPU by name and bit by bit; of detections, the slots before `num_detections`."""
    images = noise(path)
    expected, found = interpreted(path, images), compiled(path, images)
    assert {name: (x.dtype, x.shape) for name, x in found.items()} == {
        name: (x.dtype, x.shape) for name, x in expected.items()
    }
    for name, x in used(expected).items():
        np.testing.assert_array_equal(used(found)[name], x)


def noise(path: Path) -> np.ndarray:
    """Return an input of a file: a normalized image, or pixels."""
    detail = Interpreter(str(path)).get_signature_runner(SIGNATURE).get_input_details()[INPUT]
    random = np.random.default_rng(0)
    if detail["dtype"] == np.uint8:
        return random.integers(0, 256, detail["shape"], np.uint8)
    return random.standard_normal(detail["shape"], "float32")


def used(outputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return outputs without the slots behind the detections, which hold any values."""
    if "num_detections" not in outputs:
        return outputs
    slots = np.arange(outputs["scores"].shape[1]) < outputs["num_detections"][:, None]
    assert slots.any()
    return {name: x if name == "num_detections" else x[slots] for name, x in outputs.items()}


def interpreted(path: Path, images: np.ndarray) -> dict[str, np.ndarray]:
    """Return the outputs of LiteRT's Interpreter by name."""
    return Interpreter(str(path), num_threads=1).get_signature_runner(SIGNATURE)(**{INPUT: images})


def compiled(path: Path, images: np.ndarray, hardware: Any = HardwareAccelerator.CPU) -> dict[str, np.ndarray]:
    """Return the outputs of CompiledModel by name; raises RuntimeError if the hardware does not run all operations."""
    cpu, gpu = CpuOptions(num_threads=1), GpuOptions(enforce_f32=True)
    options = Options(hardware_accelerators=hardware, cpu_options=cpu, gpu_options=gpu)
    model = CompiledModel.from_file(str(path), options=options)
    details = model.get_output_tensor_details(SIGNATURE)
    source = model.create_input_buffer_by_name(SIGNATURE, INPUT)
    targets = {name: model.create_output_buffer_by_name(SIGNATURE, name) for name in details}
    source.write(images)
    model.run_by_name(SIGNATURE, {INPUT: source}, targets)
    return {name: _array(target, details[name]) for name, target in targets.items()}


def _array(buffer: TensorBuffer, detail: dict[str, Any]) -> np.ndarray:
    return buffer.read(math.prod(detail["shape"]), np.dtype(detail["dtype"])).reshape(detail["shape"])


def on_gpu(path: Path, images: np.ndarray, folder: Path) -> dict[str, np.ndarray]:
    """Return what `compiled` returns on the GPU, from another process, whose environment names the driver.

    `folder` is for its files. The RuntimeError lists the operations that the GPU does not run.
    """
    np.save(folder / "images.npy", images)
    environment = os.environ | {"VK_DRIVER_FILES": str(VULKAN), "LD_LIBRARY_PATH": str(VULKAN.parent)}
    call = [sys.executable, __file__, str(path), str(folder)]
    done = subprocess.run(call, env=environment, capture_output=True, text=True, timeout=300, check=False)
    if done.returncode:
        raise RuntimeError(done.stderr)
    return dict(np.load(folder / "outputs.npz"))


if __name__ == "__main__":
    given, files = map(Path, sys.argv[1:])
    np.savez(files / "outputs.npz", **compiled(given, np.load(files / "images.npy"), HardwareAccelerator.GPU))
