"""Inspect a .tflite file: operations, ranks, delegate partitions, and memory."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from spinenet_tf.inference.interpreter import open_interpreter, operations_of

_DELEGATE = "DELEGATE"


@dataclass(frozen=True)
class Inspection:
    """A summary of a .tflite file's graph; a phone's delegate may reject a file for one unsupported operation."""

    ops: dict[str, int]  # the number of each operation, the most frequent first
    float_ops: dict[str, int]  # operations with float outputs, except DEQUANTIZE; all operations in a float file
    max_rank: int  # of all tensors; phone GPUs support up to 4
    xnnpack_partitions: int  # partitions that XNNPACK runs on this machine; 1 is best
    xnnpack_leaves: dict[str, int]  # the operations outside of the partitions
    arena_bytes: int  # peak size of live activations: the lower bound of any memory plan
    file_bytes: int
    inputs: dict[str, dict[str, Any]]  # name -> "shape", "dtype"
    outputs: dict[str, dict[str, Any]]

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

    plain = open_interpreter(path, experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES)
    planned = open_interpreter(path)
    operations, tensors = operations_of(plain), {tensor["index"]: tensor for tensor in plain.get_tensor_details()}
    parts = operations_of(planned)[len(operations) :]
    delegated = [part for part in parts if part["op_name"] == _DELEGATE]
    inside = set().union(*(_inside(part, operations) for part in delegated))
    inputs, outputs = plain.get_input_details(), plain.get_output_details()
    input_names, output_names = _names(plain)
    return Inspection(
        ops=_count(operations),
        float_ops=_count(operation for operation in operations if _computes_in_float(operation, tensors)),
        max_rank=max(len(tensor["shape"]) for tensor in tensors.values()),
        xnnpack_partitions=len(delegated),
        xnnpack_leaves=_count(operation for operation in operations if operation["index"] not in inside),
        arena_bytes=_peak(operations, tensors, [x["index"] for x in inputs], [x["index"] for x in outputs]),
        file_bytes=Path(path).stat().st_size,
        inputs={input_names.get(x["index"], x["name"]): _describe(x) for x in inputs},
        outputs={output_names.get(x["index"], x["name"]): _describe(x) for x in outputs},
    )


def _count(operations: Iterable[Mapping[str, Any]]) -> dict[str, int]:
    return dict(Counter(operation["op_name"] for operation in operations).most_common())


def _computes_in_float(operation: Mapping[str, Any], tensors: Mapping[int, Any]) -> bool:
    kinds = {np.dtype(tensors[int(tensor)]["dtype"]).kind for tensor in operation["outputs"]}
    return "f" in kinds and operation["op_name"] != "DEQUANTIZE"


def _inside(part: Mapping[str, Any], operations: Sequence[Mapping[str, Any]]) -> set[int]:
    """Return the indices of the operations between the inputs and the outputs of a delegate's partition."""
    maker = {int(tensor): operation for operation in operations for tensor in operation["outputs"]}
    border, found = set(part["inputs"].tolist()), set()
    wanted = part["outputs"].tolist()
    while wanted:
        operation = maker.get(wanted.pop())
        if operation is not None and operation["index"] not in found:
            found.add(operation["index"])
            wanted += [tensor for tensor in operation["inputs"].tolist() if tensor not in border]
    return found


def _peak(operations: Sequence[Mapping[str, Any]], tensors: Mapping[int, Any], inputs: list, outputs: list) -> int:
    """Return the peak size of live activations in bytes, without weights."""
    last = {int(tensor): step for step, operation in enumerate(operations) for tensor in operation["inputs"]}
    last |= dict.fromkeys(outputs, len(operations))
    alive = {tensor: _bytes(tensors[tensor]) for tensor in inputs}
    peak = 0
    for step, operation in enumerate(operations):
        alive |= {int(tensor): _bytes(tensors[tensor]) for tensor in operation["outputs"]}
        peak = max(peak, sum(alive.values()))
        alive = {tensor: size for tensor, size in alive.items() if last.get(tensor, step) > step}
    return peak


def _bytes(tensor: Mapping[str, Any]) -> int:
    return int(np.prod(tensor["shape"], dtype=np.int64)) * np.dtype(tensor["dtype"]).itemsize


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
