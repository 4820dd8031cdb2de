"""Open OpenVINO's .xml files, and read their metadata without OpenVINO."""

from __future__ import annotations

import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from threading import Lock
from typing import Any, cast
from xml.parsers import expat

import numpy as np

from spinenet_tf._files import native_output
from spinenet_tf.inference.naming import INPUT

_RUNTIME_INFO = ["net", "rt_info"]  # the path of the elements with a model's own information
_EXACT = {"INFERENCE_PRECISION_HINT": "f32"}  # by default, some CPUs compute in bfloat16


def has_openvino() -> bool:
    """Return whether the package `openvino` is installed."""
    return find_spec("openvino") is not None


def openvino_runtime() -> Any:
    """Import OpenVINO, without the part that reports every import to its maker and writes to the home folder.

    Raises:
        ImportError: openvino is not installed.
    """
    cast(dict[str, Any], sys.modules).setdefault("openvino_telemetry", None)
    if not has_openvino():
        raise ImportError("OpenVINO files need openvino: pip install spinenet_tf[openvino]")
    import openvino

    return openvino


def compile_network(path: Path, threads: int | None = None) -> Any:
    """Return OpenVINO's model of an .xml file and the .bin file next to it, for the CPU; by default it uses all cores.

    Raises:
        ImportError: openvino is not installed.
        ValueError: OpenVINO cannot load the files.
    """
    runtime = openvino_runtime()
    options = _EXACT if threads is None else _EXACT | {"INFERENCE_NUM_THREADS": threads}
    try:
        with native_output.hidden():
            return runtime.Core().compile_model(str(path), "CPU", options)
    except Exception as error:  # its errors have no base class of their own
        raise ValueError(f"OpenVINO cannot load {path}: {error}") from error


def network_runner(path: Path, threads: int | None = None) -> Callable[[np.ndarray], dict[str, np.ndarray]]:
    """Return a function from a batch of images to the outputs by name; raises as `compile_network` does."""
    network, turn = compile_network(path, threads), Lock()

    def run(images: np.ndarray) -> dict[str, np.ndarray]:
        with turn:  # all calls share one request
            return {output.any_name: x for output, x in network({INPUT: images}).items()}

    return run


def read_runtime_info(path: Path, key: str) -> str:
    """Return a value of the runtime information in an .xml file.

    Raises:
        KeyError: the file has no such value.
        OSError, ValueError: the file cannot be read, is not XML, or declares a document type, which may have entities.
    """
    found: list[str] = []
    above: list[str] = []

    def start(name: str, attributes: dict[str, str]) -> None:
        if above == _RUNTIME_INFO and name == key:
            found.append(attributes.get("value", ""))
        above.append(name)

    def refuse(*_: object) -> None:
        raise ValueError("An OpenVINO file declares no document type.")

    parser = expat.ParserCreate()
    parser.StartElementHandler, parser.EndElementHandler = start, lambda name: above.pop()
    parser.StartDoctypeDeclHandler = refuse
    try:
        parser.Parse(path.read_bytes(), True)
    except expat.ExpatError as error:
        raise ValueError(f"not XML ({error})") from None
    if not found:
        raise KeyError(key)
    return found[0]
