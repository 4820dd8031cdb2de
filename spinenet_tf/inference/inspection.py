"""Inspect a .tflite file: operations, ranks, delegate partitions, memory, and what each engine supports."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from spinenet_tf._files.messages import some_of
from spinenet_tf.inference.artifacts import ONNX, OPENVINO, SAVED_MODEL, engine_of
from spinenet_tf.inference.costs import (
    Operation,
    Tensors,
    constants_of,
    moved_bytes,
    multiply_adds,
    peak_bytes,
    weight_bytes,
)
from spinenet_tf.inference.coverage import XNNPACK, Coverage, count, find_coverage
from spinenet_tf.inference.interpreter import open_interpreter, operations_of
from spinenet_tf.inference.litert import SUFFIX
from spinenet_tf.training.run import Run

_DELEGATE = "DELEGATE"
_OTHERS = {SAVED_MODEL: "a SavedModel", ONNX: "an ONNX file", OPENVINO: "an OpenVINO file"}


@dataclass(frozen=True)
class Inspection:
    """A summary of a .tflite file's graph; a phone's delegate may reject a file for one unsupported operation.

    Multiply-adds are those of convs and fully connected layers for one call, as the graph runs. Weights do not count as
    activations, also where a file converts them from float16 first.
    """

    ops: dict[str, int]  # the number of each operation, the most frequent first
    float_ops: dict[str, int]  # operations with float outputs, except DEQUANTIZE; all operations in a float file
    multiply_adds: dict[str, int]  # by operation, the most first
    moved_bytes: dict[str, int]  # activations read and written, by operation: once by each, as if without a cache
    weight_bytes: int  # as stored
    max_rank: int  # of all tensors; phone GPUs support up to 4
    engines: dict[str, Coverage]  # XNNPACK as planned on this machine; GPU and NPU of phones by documented lists
    xnnpack_partitions: int  # partitions that XNNPACK runs on this machine; 1 is best
    arena_bytes: int  # peak size of live activations: the lower bound of any memory plan
    file_bytes: int
    inputs: dict[str, dict[str, Any]]  # name -> "shape", "dtype"
    outputs: dict[str, dict[str, Any]]

    @property
    def xnnpack_leaves(self) -> dict[str, int]:
        """The operations outside of XNNPACK's partitions."""
        return self.engines[XNNPACK].leaves

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return asdict(self)


def inspect(path: str | os.PathLike) -> Inspection:
    """Return a summary of any .tflite file, with XNNPACK's partitions on this machine's CPU.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is not a TFLite file, or LiteRT does not support one of its operations.
    """
    from ai_edge_litert.interpreter import OpResolverType

    _check_kind(Path(path))
    plain = open_interpreter(path, experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES)
    operations, tensors = operations_of(plain), {tensor["index"]: tensor for tensor in plain.get_tensor_details()}
    parts = operations_of(open_interpreter(path))[len(operations) :]
    partitions = [part for part in parts if part["op_name"] == _DELEGATE]
    inputs, outputs = plain.get_input_details(), plain.get_output_details()
    ends = [[x["index"] for x in end] for end in (inputs, outputs)]
    constants = constants_of(operations, ends[0])
    work = [multiply_adds(operation, tensors) for operation in operations]
    input_names, output_names = _names(plain)
    return Inspection(
        ops=count(operations),
        float_ops=count(operation for operation in operations if _computes_in_float(operation, tensors)),
        multiply_adds=_total(operations, work),
        moved_bytes=_total(operations, [moved_bytes(operation, tensors, constants) for operation in operations]),
        weight_bytes=weight_bytes(Path(path)),
        max_rank=max(len(tensor["shape"]) for tensor in tensors.values()),
        engines=find_coverage(operations, partitions, tensors, work),
        xnnpack_partitions=len(partitions),
        arena_bytes=peak_bytes(operations, tensors, ends[0], ends[1], constants),
        file_bytes=Path(path).stat().st_size,
        inputs={input_names.get(x["index"], x["name"]): _describe(x) for x in inputs},
        outputs={output_names.get(x["index"], x["name"]): _describe(x) for x in outputs},
    )


def _check_kind(path: Path) -> None:
    """Name another kind of model, which LiteRT's message would not."""
    if Run(path).config_path.is_file():
        files = some_of(file.name for file in sorted(path.glob(f"*{SUFFIX}")))
        advice = (
            f"inspect one of its files: {files}" if files else f"write a {SUFFIX} file by `spinenet-tf export {path}`"
        )
        raise ValueError(f"{path} is the folder of a run: {advice}.")
    other = _OTHERS.get(engine_of(path) or "") or ("a folder" if path.is_dir() else None)
    if other:
        raise ValueError(f"Only {SUFFIX} files can be inspected. Received: {path}, {other}")


def _computes_in_float(operation: Operation, tensors: Tensors) -> bool:
    kinds = {np.dtype(tensors[int(tensor)]["dtype"]).kind for tensor in operation["outputs"]}
    return "f" in kinds and operation["op_name"] != "DEQUANTIZE"


def _total(operations: Sequence[Operation], values: Sequence[int]) -> dict[str, int]:
    """Return the sum of the values of all operations of a type, the largest first, without zeros."""
    totals: Counter[str] = Counter()
    for operation, value in zip(operations, values, strict=True):
        totals[operation["op_name"]] += value
    return {name: total for name, total in totals.most_common() if total}


def _names(interpreter: Any) -> list[dict[int, str]]:
    """Return the input and output names of the first signature: unlike those of the graph, they are stable."""
    keys = list(interpreter.get_signature_list())
    if not keys or not keys[0]:  # LiteRT cannot return a signature with an empty key
        return [{}, {}]
    signature = interpreter.get_signature_runner(keys[0])
    ends = signature.get_input_details(), signature.get_output_details()
    return [{tensor["index"]: name for name, tensor in end.items()} for end in ends]


def _describe(tensor: Mapping[str, Any]) -> dict[str, Any]:
    return {"shape": tensor["shape"].tolist(), "dtype": np.dtype(tensor["dtype"]).name}
