"""Describe the machine, and measure its rate of matrix products, which limits every network."""

from __future__ import annotations

import os
import platform
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.contender import LITERT, OURS, Contender, contest
from benchmarks.measuring import Effort, alternate, median

SIZE = 2048  # side of the square matrices
TYPES = ("float32", "bfloat16", "int8")
PACKAGES = (
    "tensorflow",
    "tf-models-official",
    "tf-keras",
    "keras",
    "ai-edge-litert",
    "pycocotools",
    "faster-coco-eval",
)


@dataclass(frozen=True)
class Peak:
    """A measured rate of matrix multiplication."""

    dtype: str
    threads: int
    rate: float  # multiply-adds per second
    engine: str

    @property
    def title(self) -> str:
        """The name in tables."""
        return f"{self.dtype} x{self.threads}"

    def fraction(self, multiply_adds: float, seconds: float) -> float:
        """Return the rate of some multiply-adds in some seconds, as a fraction of this rate."""
        return multiply_adds / seconds / self.rate

    def limit(self, multiply_adds: float, theirs: float, ours: float) -> dict[str, Any]:
        """Return the fractions of both sides, as the `limit` of a row."""
        fractions = {
            side: round(self.fraction(multiply_adds, value), 4) for side, value in (("theirs", theirs), ("ours", ours))
        }
        return {"peak": self.title, **fractions}


def measure(effort: Effort) -> list[Peak]:
    """Measure the rate of each type on one thread and on all, with the fastest engine.

    float32 and bfloat16: TensorFlow's `matmul`, and for float32 also LiteRT's; int8: LiteRT's fully connected layer.
    """
    with tempfile.TemporaryDirectory() as folder:
        with contest(
            writer=partial(Contender, _write_layers, Path(folder), libraries=OURS)
        ):  # LiteRT prints while it starts
            pass
        counts = sorted({1, os.cpu_count() or 1})
        return [peak for threads in counts for peak in _on_threads(threads, Path(folder), effort)]


def _on_threads(threads: int, layers: Path, effort: Effort) -> list[Peak]:
    with contest(
        tensorflow=partial(Contender, matmuls, threads, libraries=("tensorflow",), cores=threads),
        litert=partial(Contender, _layers, layers, threads, libraries=LITERT, cores=threads),
    ) as engines:
        turns = {("TensorFlow", dtype): engines["tensorflow"].turn(dtype) for dtype in ("float32", "bfloat16")}
        turns |= {("LiteRT", dtype): engines["litert"].turn(dtype) for dtype in ("float32", "int8")}
        times = {key: median(series) for key, series in alternate(turns, effort).items()}
    fastest = {dtype: min((key for key in times if key[1] == dtype), key=times.__getitem__) for dtype in TYPES}
    return [Peak(dtype, threads, SIZE**3 / times[key], key[0]) for dtype, key in fastest.items()]


def matmuls(threads: int) -> Mapping[str, Callable]:
    """Return the turns of a contender: a matrix product of TensorFlow for each type."""
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(threads)
    random = np.random.default_rng(0)
    pairs = {
        dtype: [tf.cast(tf.constant(random.standard_normal((SIZE, SIZE), "float32")), dtype) for _ in range(2)]
        for dtype in TYPES[:2]
    }
    product = tf.function(tf.matmul)
    return {dtype: lambda pair=pair: product(*pair)[0, 0].numpy() for dtype, pair in pairs.items()}


def _write_layers(folder: Path) -> Mapping[str, Callable]:
    """Write a matrix product as a fully connected layer, in float32 and in int8."""
    import tensorflow as tf

    random = np.random.default_rng(0)
    weights = tf.constant(random.standard_normal((SIZE, SIZE), "float32"))
    example = random.standard_normal((SIZE, SIZE)).astype("float32")
    function = tf.function(lambda x: tf.matmul(x, weights), input_signature=[tf.TensorSpec((SIZE, SIZE))])
    for name in ("float32", "int8"):
        converter = tf.lite.TFLiteConverter.from_concrete_functions([function.get_concrete_function()])
        if name == "int8":
            converter.optimizations = [tf.lite.Optimize.DEFAULT]
            converter.representative_dataset = lambda: [[example]]
            converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
            converter.inference_input_type = converter.inference_output_type = tf.int8
        (folder / f"{name}.tflite").write_bytes(converter.convert())
    return {}


def _layers(folder: Path, threads: int) -> Mapping[str, Callable]:
    from ai_edge_litert.interpreter import Interpreter

    turns = {}
    for name in ("float32", "int8"):
        interpreter = Interpreter(model_path=str(folder / f"{name}.tflite"), num_threads=threads)
        interpreter.allocate_tensors()
        source = interpreter.get_input_details()[0]
        values = np.random.default_rng(0).integers(-100, 100, source["shape"]).astype(source["dtype"])
        interpreter.set_tensor(source["index"], values)
        turns[name] = interpreter.invoke
    return turns


def describe() -> dict[str, Any]:
    """Return the hardware and the versions that the results depend on."""
    return {
        "processor": cpu_info("model name") or platform.processor(),
        "vector extensions": ", ".join(
            x for x in ("avx2", "avx512f", "avx512_vnni", "avx512_bf16", "amx_int8") if x in cpu_info("flags").split()
        ),
        "cores": os.cpu_count(),
        "memory, GB": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9),
        "system": platform.platform(),
        "Python": platform.python_version(),
        **{name: version(name) for name in PACKAGES},
    }


def cpu_info(field: str) -> str:
    """Return a field of the first core in /proc/cpuinfo, or "" on other systems."""
    path = Path("/proc/cpuinfo")
    lines = path.read_text().splitlines() if path.exists() else []
    return next((line.partition(":")[2].strip() for line in lines if line.startswith(field)), "")
