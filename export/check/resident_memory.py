"""The memory that a model takes in one setup: resident bytes of a process of its own."""

from __future__ import annotations

import re
from concurrent.futures import ProcessPoolExecutor
from importlib import import_module
from multiprocessing import get_context
from pathlib import Path

from spinenet_tf._files import native_output
from spinenet_tf.inference.engines import ONNX, Setup, load

RUNS = 3  # the first ones allocate
_STATUS, _RESET = Path("/proc/self/status"), Path("/proc/self/clear_refs")


def peak_memory(setup: Setup, raw: bool = False) -> int | None:
    """Return by how many bytes the peak resident memory grows while a fresh process loads the model and runs it.

    What the engine's libraries take before they have a model is not in it. None where the system does not tell: other
    systems than Linux.

    Raises:
        ValueError: as `engines.load` does.
    """
    # In this process, the memory that earlier models left behind would be used again and not be seen.
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
