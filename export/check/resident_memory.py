"""Measure a model's memory in one setup: the resident bytes of a separate process."""

from __future__ import annotations

import re
from concurrent.futures import ProcessPoolExecutor
from importlib import import_module
from multiprocessing import get_context
from pathlib import Path

from spinenet_tf._files import native_output
from spinenet_tf.inference.artifacts import ONNX, OPENVINO
from spinenet_tf.inference.engines import Setup, load
from spinenet_tf.inference.openvinofile import openvino_runtime

RUNS = 3  # the first runs allocate
_STATUS, _RESET = Path("/proc/self/status"), Path("/proc/self/clear_refs")


def peak_memory(setup: Setup, raw: bool = False) -> int | None:
    """Return the growth of peak resident memory in bytes while a new process loads and runs the model.

    This excludes the engine's libraries. It is None on other systems than Linux.

    Raises:
        ValueError: as `engines.load` does.
    """
    # In this process, memory that earlier models freed would be reused and not be counted.
    with ProcessPoolExecutor(1, get_context("spawn"), initializer=native_output.import_tensorflow) as pool:
        return pool.submit(_growth, setup, raw).result()


def _growth(setup: Setup, raw: bool) -> int | None:
    _start_engines(setup)
    if not _reset_peak():
        return None
    before = _resident("VmRSS")
    call = load(setup, raw).on_example()
    for _ in range(RUNS):
        call()
    return max(0, _resident("VmHWM") - before)


def _start_engines(setup: Setup) -> None:
    """Load the libraries, and let TensorFlow start its threads."""
    with native_output.hidden():
        import tensorflow as tf
        from ai_edge_litert import interpreter  # noqa: F401

        if setup.engine == ONNX:
            import_module("onnxruntime")
        if setup.engine == OPENVINO:
            openvino_runtime()
        tf.function(tf.square)(tf.ones([]))


def _reset_peak() -> bool:
    try:
        _RESET.write_text("5")
    except OSError:
        return False
    return True


def _resident(field: str) -> int:
    found = re.search(rf"{field}:\s+(\d+) kB", _STATUS.read_text())
    return 1024 * int(found[1]) if found else 0
