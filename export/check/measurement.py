"""Benchmark detectors in all formats and engines: latency, memory, file size and AP."""

from __future__ import annotations

import os
import platform
import random
import time
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from spinenet_tf._files.progress import Track, untracked
from spinenet_tf.export.check.resident_memory import peak_memory
from spinenet_tf.export.check.subjects import Subject
from spinenet_tf.export.litert.tflite_file import QUANTIZATIONS
from spinenet_tf.inference.engines import Runner, Setup

if TYPE_CHECKING:
    from spinenet_tf.data.dataset import DetectionDataset

WARM_UPS = 3  # the first call traces, the next calls may still allocate
PACKAGES = ("tensorflow", "keras", "ai-edge-litert", "onnxruntime")
Key = TypeVar("Key", bound=Hashable)


@dataclass(frozen=True)
class Measurement:
    """The cost of a model call in one setup; a call may take several images."""

    model: str  # the run or the artifact
    engine: str
    threads: int | None  # None: TensorFlow's own choice
    input_shape: tuple[int, ...]  # [images per call, H, W, 3] for a model of this package
    detects: bool  # whether the call returned detections, not raw outputs
    median_ms: float  # of a call
    p90_ms: float
    memory_bytes: int | None  # see `resident_memory.peak_memory`
    file_bytes: int
    ap: float | None  # of the detector's boxes, even if the timed call did not decode


@dataclass(frozen=True)
class Benchmark:
    """Measurements that were made together, and the machine."""

    measurements: list[Measurement]
    repeats: int
    machine: dict[str, Any]

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return asdict(self)


def benchmark(
    models: Sequence[str | os.PathLike],
    threads: int | None = None,
    repeats: int = 50,
    raw: bool = False,
    memory: bool = True,
    ap: bool = False,
    dataset: DetectionDataset | None = None,
    quantizations: Sequence[str] = (),
    track: Track = untracked,
) -> Benchmark:
    """Measure models in all formats and engines, from a normalized image (noise) in NumPy to detections in NumPy.

    A file with a fixed batch is called with as many images, all others with one.

    A model is a run's folder (Keras and the exports in it), or an artifact: any SavedModel, .tflite or .onnx file. A
    run without exports, or any run if `quantizations` is set, is exported to a temporary folder. TFLite and ONNX
    Runtime are measured at 1, 2, 4, ... `threads`; default: all cores. `raw` omits decoding and NMS; it has no effect
    on artifacts without metadata of this package. `ap` adds COCO AP, once per file, on `dataset` or on a run's own
    validation data.

    Raises:
        FileNotFoundError: a path does not exist.
        RunError: a folder is not a run with weights.
        ConfigError: AP or calibration needs data, and the run has none.
        ValueError: a path is not a model, or does not load (see `engines.load`); or there is no data to measure AP on.
        ExportError: a new export failed its check.
    """
    unknown = [name for name in quantizations if name not in QUANTIZATIONS]
    if unknown:
        raise ValueError(f"Valid quantizations are {QUANTIZATIONS}. Received: {unknown[0]!r}")
    subjects = [Subject(Path(model)) for model in models]
    datasets = _datasets(subjects, dataset) if ap else {}
    counts = thread_counts(threads or os.cpu_count() or 1)
    with TemporaryDirectory(prefix="spinenet-tf-") as folder:
        setups = {
            setup: subject
            for number, subject in enumerate(subjects)
            for setup in subject.setups(counts, raw, quantizations, Path(folder, str(number)), track)
        }
        runners = {setup: subject.load(setup, raw) for setup, subject in setups.items()}
        times = time_calls({setup: runner.on_example() for setup, runner in runners.items()}, repeats, track)
        measured = track(setups, len(setups), "Measuring memory") if memory else ()
        memories = {setup: peak_memory(setup, raw) for setup in measured}
        precisions = _precisions(setups, datasets, track)
        rows = [
            _measurement(setup, runners[setup], times[setup], memories.get(setup), precisions.get(setup.path))
            for setup in setups
        ]
    return Benchmark(rows, repeats, describe_machine())


def thread_counts(most: int) -> list[int]:
    """Return 1, 2, 4, ... and `most`."""
    return sorted({2**power for power in range(most.bit_length())} | {most})


def time_calls(calls: Mapping[Key, Callable[[], Any]], repeats: int, track: Track = untracked) -> dict[Key, np.ndarray]:
    """Return the milliseconds of each call, `[repeats]`, after warm-up calls.

    The calls alternate in a new random order in each round, so that other load on the machine, and the threads and
    caches that a call leaves behind, affect all calls equally.
    """
    times: dict[Key, list[float]] = {key: [] for key in calls}
    draw = random.Random(0)
    for _ in track(range(WARM_UPS + repeats), WARM_UPS + repeats, "Measuring time"):
        for key in draw.sample(list(calls), len(calls)):
            start = time.perf_counter()
            calls[key]()
            times[key].append(1e3 * (time.perf_counter() - start))
    return {key: np.array(values[WARM_UPS:]) for key, values in times.items()}


def _datasets(subjects: Sequence[Subject], dataset: DetectionDataset | None) -> dict[Subject, DetectionDataset]:
    found = {subject: dataset or subject.data() for subject in subjects}
    known = {subject: data for subject, data in found.items() if data is not None}
    if not known:
        raise ValueError("AP needs a run with data, or --annotations and --images. Received: neither")
    return known


def _precisions(
    setups: Mapping[Setup, Subject], datasets: Mapping[Subject, DetectionDataset], track: Track
) -> dict[Path, float | None]:
    """Return the AP of each file, measured with the most threads; AP does not depend on their number."""
    files = {setup.path: (setup, subject) for setup, subject in setups.items() if subject in datasets}
    return {
        path: subject.average_precision(setup, datasets[subject])
        for path, (setup, subject) in track(files.items(), len(files), "Measuring AP")
    }


def _measurement(
    setup: Setup, runner: Runner, times: np.ndarray, memory_bytes: int | None, ap: float | None
) -> Measurement:
    return Measurement(
        model=setup.title,
        engine=setup.engine,
        threads=setup.threads,
        input_shape=runner.shape,
        detects=runner.detects,
        median_ms=round(float(np.median(times)), 3),
        p90_ms=round(float(np.percentile(times, 90)), 3),
        memory_bytes=memory_bytes,
        file_bytes=setup.file_bytes,
        ap=ap,
    )


def describe_machine() -> dict[str, Any]:
    """Return the machine's properties that affect measurements: cores, TensorFlow devices, versions."""
    import tensorflow as tf

    return {
        "platform": platform.platform(),
        "cores": os.cpu_count(),
        "devices": sorted({device.device_type for device in tf.config.list_logical_devices()}),
        "versions": {name: found for name in PACKAGES if (found := _version(name))},
    }


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
