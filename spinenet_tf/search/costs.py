"""Measure what a graph costs: multiply-adds, or the latency of its int8 file beside that of a reference."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from spinenet_tf.models import detector
from spinenet_tf.nets.costs import multiply_adds, without_values
from spinenet_tf.nets.family import Published, Variant, variant
from spinenet_tf.nets.specs import ArchitectureSpec
from spinenet_tf.search.config import CostConfig
from spinenet_tf.search.objective import Cost
from spinenet_tf.search.proxy import count_costs
from spinenet_tf.training.config import TrainConfig

_CALIBRATION = 4  # images of noise: the ranges of the values do not affect the speed


def measured(costs: Sequence[CostConfig], spec: ArchitectureSpec, proxy: TrainConfig, folder: Path) -> Iterator[Cost]:
    """Yield the costs of a graph one by one, so that the caller can leave out the expensive ones.

    The int8 file of a reference is kept in `folder`.
    """
    for cost in costs:
        if cost.kind == "int8_latency":
            yield Cost(cost.kind, *_in_own_process(measure_latency, cost, spec, folder))
        else:
            yield Cost(cost.kind, *_multiply_adds(cost, spec, proxy))


def _multiply_adds(cost: CostConfig, spec: ArchitectureSpec, proxy: TrainConfig) -> tuple[float, float]:
    """Return the multiply-adds of a graph, and the target."""

    def count(graph: ArchitectureSpec) -> int:
        if cost.model is None:
            return count_costs(proxy, graph).multiply_adds
        row = _with_graph(cost.model, graph)
        return multiply_adds(without_values(lambda: detector(row, cost.classes, _shape(row, cost))))

    if cost.target is not None:
        return count(spec), cost.target
    return count(spec), count(variant(str(cost.reference)).graph)


def measure_latency(cost: CostConfig, spec: ArchitectureSpec, folder: Path) -> tuple[float, float]:
    """Return the milliseconds of the int8 file of a graph, and those of the file of the reference.

    The calls alternate, and the fastest call of each counts, so that a busy machine slows down both or none.
    """
    from spinenet_tf.export.check.measurement import time_calls

    side = "x".join(map(str, cost.image_size or ()))
    reference = folder / f"{cost.reference}{side}-int8.tflite"
    with TemporaryDirectory(prefix="spinenet-tf-") as place:
        candidate = Path(place) / "candidate.tflite"
        _export(_with_graph(str(cost.model), spec), cost, candidate)
        if not reference.exists():
            folder.mkdir(parents=True, exist_ok=True)
            _export(variant(str(cost.reference)), cost, reference)
        calls = {path: _call(path, cost.threads) for path in (candidate, reference)}
        times = time_calls(calls, cost.calls)
    return float(times[candidate].min()), float(times[reference].min())


def _in_own_process(measure: Callable[..., tuple[float, float]], *arguments: Any) -> tuple[float, float]:
    """Call a function in a new process: TensorFlow's converter keeps its memory until the process ends."""
    with ProcessPoolExecutor(1, get_context("spawn")) as process:
        return process.submit(measure, *arguments).result()


def _with_graph(model: str, spec: ArchitectureSpec) -> Variant:
    return replace(variant(model), graph=spec, published=Published())


def _shape(row: Variant, cost: CostConfig) -> tuple[int, int, int]:
    return (*(cost.image_size or (row.image_size, row.image_size)), 3)


def _export(row: Variant, cost: CostConfig, path: Path) -> None:
    """Write the int8 file of a detector with initial weights and raw outputs."""
    from spinenet_tf.export import tflite

    net = detector(row, cost.classes, _shape(row, cost))
    shape = (1, *net.input_shape[1:])
    images = [np.random.default_rng(seed).standard_normal(shape, "float32") for seed in range(_CALIBRATION)]
    tflite(net, path, "int8", images, overwrite=True, outputs="raw")


def _call(path: Path, threads: int) -> Callable[[], Any]:
    """Return a call of a .tflite file with an image of zeros, whose values do not affect the speed."""
    from spinenet_tf.inference.interpreter import open_interpreter

    interpreter = open_interpreter(path, num_threads=threads)
    image = interpreter.get_input_details()[0]
    interpreter.set_tensor(image["index"], np.zeros(image["shape"], image["dtype"]))
    return interpreter.invoke
