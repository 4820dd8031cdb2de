"""Profile a TFLite file by kind of operation, as XNNPACK runs it.

    python -m benchmarks.operations build/benchmarks/*/spinenet_mobile_49xs-256-backbone-*/int8.tflite --threads 1

LiteRT's profiler is not available from Python's interpreter, so this calls LiteRT's C interface. The time of an
operation is the minimum of all rounds. LiteRT truncates it to microseconds, so half a microsecond is added.
"""

from __future__ import annotations

import argparse
import ctypes
from collections import defaultdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

import ai_edge_litert
import numpy as np
from rich.console import Console
from rich.table import Table

from spinenet_tf._files import native_output
from spinenet_tf.inference import costs
from spinenet_tf.inference.interpreter import open_interpreter, operations_of

LITERT = "2.3."  # the version whose layout `_Event` has
CPU = WRITE = 1  # kLiteRtHwAcceleratorCpu, kLiteRtTensorBufferLockModeWrite
OPERATIONS = (2, 8)  # types of events: outside the delegate, and inside
COLUMNS = ("count", "ms", "of time", "of multiply-adds", "G/s")


class _Event(ctypes.Structure):
    _fields_ = (("tag", ctypes.c_char_p), ("type", ctypes.c_uint32), ("times", ctypes.c_uint64 * 11))


class _Runner:
    """A file, compiled for the CPU with a profiler, with noise as input."""

    def __init__(self, path: Path, threads: int):
        if not version("ai-edge-litert").startswith(LITERT):
            raise ValueError(
                f"The events of LiteRT {LITERT}x only can be read. Received: version={version('ai-edge-litert')}"
            )
        self._library = ctypes.CDLL(str(Path(ai_edge_litert.__file__).parent / "libLiteRt.so"))
        self._environment, self._kept = self._new("CreateEnvironment", 0, None), []
        model = self._new("CreateModelFromFile", self._environment, str(path).encode())
        options = self._new("CreateOptions")
        self._call("SetOptionsHardwareAccelerators", options, CPU)
        self._add(options, b"runtime_options_string", b"enable_profiling = true")
        self._add(options, b"xnnpack", f"num_threads = {threads}".encode())
        self._compiled = self._new("CreateCompiledModel", self._environment, model, options)
        self._profiler = self._new("CompiledModelGetProfiler", self._compiled)
        signature = self._new("GetModelSignature", model, ctypes.c_size_t(0))
        ends = [self._buffers(signature, end) for end in ("Input", "Output")]
        self._pairs = [x for end in ends for x in (ctypes.c_size_t(len(end)), end)]

    def events(self) -> list[tuple[str, int]]:
        """Run once and return the names and microseconds of the operations in order."""
        for name in ("ResetProfiler", "StartProfiler"):
            self._call(name, self._profiler)
        self._call("RunCompiledModel", self._compiled, ctypes.c_size_t(0), *self._pairs)
        self._call("GetNumProfilerEvents", self._profiler, ctypes.byref(count := ctypes.c_int()))
        self._call("GetProfilerEvents", self._profiler, count, events := (_Event * count.value)())
        return [(event.tag.decode(), event.times[1]) for event in events if event.type in OPERATIONS]

    def _call(self, name: str, *arguments: Any) -> None:
        if status := getattr(self._library, f"LiteRt{name}")(*arguments):
            raise RuntimeError(f"LiteRT failed. Received: LiteRt{name} -> {status}")

    def _new(self, name: str, *arguments: Any) -> ctypes.c_void_p:
        self._call(name, *arguments, ctypes.byref(handle := ctypes.c_void_p()))
        return handle

    def _add(self, options: ctypes.c_void_p, name: bytes, text: bytes) -> None:
        """Add options; keep their memory, because LiteRT reads the TOML text later."""
        nothing = ctypes.CFUNCTYPE(None, ctypes.c_void_p)(lambda _: None)
        self._kept.append((ctypes.c_char_p(name), ctypes.create_string_buffer(text), nothing))
        self._call("AddOpaqueOptions", options, self._new("CreateOpaqueOptions", *self._kept[-1]))

    def _buffers(self, signature: ctypes.c_void_p, end: str) -> Any:
        self._call(f"GetNumSignature{end}s", signature, ctypes.byref(count := ctypes.c_size_t()))
        buffers = (ctypes.c_void_p * count.value)()
        for number in range(count.value):
            tensor = self._new(f"GetSignature{end}TensorByIndex", signature, index := ctypes.c_size_t(number))
            self._call("GetRankedTensorType", tensor, kind := ctypes.create_string_buffer(512))  # more than needed
            needs = self._new(f"GetCompiledModel{end}BufferRequirements", self._compiled, ctypes.c_size_t(0), index)
            buffer = self._new("CreateManagedTensorBufferFromRequirements", self._environment, kind, needs)
            if end == "Input":
                self._fill(buffer)
            buffers[number] = buffer.value
        return buffers

    def _fill(self, buffer: ctypes.c_void_p) -> None:
        self._call("GetTensorBufferSize", buffer, ctypes.byref(size := ctypes.c_size_t()))
        self._call("LockTensorBuffer", buffer, ctypes.byref(address := ctypes.c_void_p()), WRITE)
        noise = np.random.default_rng(0).standard_normal(size.value // 4, "float32")
        ctypes.memmove(address, noise.ctypes.data, noise.nbytes)
        self._call("UnlockTensorBuffer", buffer)


def measure(path: Path, threads: int, rounds: int) -> dict[str, list[float]]:
    """Return the time of each operation in seconds, by kind."""
    with native_output.hidden():  # LiteRT prints its accelerators
        runner = _Runner(path, threads)
    series = [runner.events() for _ in range(rounds + 1)][1:]  # the first round allocates
    times: dict[str, list[float]] = defaultdict(list)
    for (name, _), *elapsed in zip(series[0], *([x for _, x in events] for events in series), strict=True):
        times[_kind(name)].append((min(elapsed) + 0.5) / 1e6)
    return times


def _kind(name: str) -> str:
    """Return the kind of an XNNPACK kernel; in int8, XNNPACK makes one table of x * sigmoid(x)."""
    kinds = {"Fully": "1x1 conv", "Convolution": "other conv", "Invalid": "swish, one table"}
    return "depthwise conv" if name.endswith("DWConv") else kinds.get(name.split()[0], name.partition(" (")[0])


def multiply_adds(path: Path) -> dict[str, int]:
    """Return the multiply-adds of a file's convs, by kind."""
    interpreter, found = open_interpreter(path), defaultdict[str, int](int)
    tensors = {tensor["index"]: tensor for tensor in interpreter.get_tensor_details()}
    for operation in operations_of(interpreter):
        if work := costs.multiply_adds(operation, tensors):
            source, kernel, result = (
                tensors[int(x)]["shape"].tolist() for x in (*operation["inputs"][:2], operation["outputs"][0])
            )
            pointwise = "1x1 conv" if kernel[1:3] == [1, 1] and source[:3] == result[:3] else "other conv"
            found["depthwise conv" if operation["op_name"] == "DEPTHWISE_CONV_2D" else pointwise] += work
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="+", type=Path, help=".tflite files")
    parser.add_argument("--threads", type=int, default=1, help="number of threads")
    parser.add_argument("--rounds", type=int, default=100, help="number of calls")
    for path in (arguments := parser.parse_args()).files:
        times, work = measure(path, arguments.threads, arguments.rounds), multiply_adds(path)
        total = sum(map(sum, times.values()))
        shown = Table("operation", *COLUMNS, title=f"{path.parent.name}/{path.name}: {1000 * total:.3f} ms")
        for kind, spent in sorted(((kind, sum(x)) for kind, x in times.items()), key=lambda pair: -pair[1]):
            fractions = (
                f"{spent / total:.1%}",
                f"{work[kind] / sum(work.values()):.1%}",
                f"{work[kind] / spent / 1e9:.0f}",
            )
            shown.add_row(kind, str(len(times[kind])), f"{1000 * spent:.3f}", *fractions)
        Console(width=100).print(shown)


if __name__ == "__main__":
    main()
