"""Count the multiply-adds of a .tflite file's operations, and the bytes of its weights and activations.

An operation is a dict of `interpreter.operations_of`; `tensors` are the details of all tensors by their index. An
operation may lack an optional input: its index is -1.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

Operation = Mapping[str, Any]
Tensors = Mapping[int, Mapping[str, Any]]


def multiply_adds(operation: Operation, tensors: Tensors) -> int:
    """Return the multiply-adds of a conv or a fully connected layer, as run; 0 for other operations.

    Layouts: input and output `[B, H, W, C]`; kernel `[C_out, kh, kw, C_in]` (in groups: of one group), depthwise
    `[1, kh, kw, C_out]`, fully connected `[C_out, C_in]`. A transposed conv multiplies each pixel of its image, which
    is its third input, by the whole kernel.
    """
    name = operation["op_name"]
    if name not in ("CONV_2D", "DEPTHWISE_CONV_2D", "TRANSPOSE_CONV", "FULLY_CONNECTED"):
        return 0
    kernel = _shape(operation["inputs"][1], tensors)
    if name == "TRANSPOSE_CONV":
        return prod(_shape(operation["inputs"][2], tensors)[:3]) * prod(kernel)
    per_output = prod(kernel[1:3]) if name == "DEPTHWISE_CONV_2D" else prod(kernel[1:])
    return prod(_shape(operation["outputs"][0], tensors)) * per_output


def constants_of(operations: Sequence[Operation], inputs: Collection[int]) -> set[int]:
    """Return the tensors whose values do not depend on the graph's inputs: weights, also after DEQUANTIZE."""
    made = {int(tensor) for operation in operations for tensor in operation["outputs"]} | set(inputs)
    found = {int(tensor) for operation in operations for tensor in operation["inputs"]} - made
    for operation in operations:  # in the order in which they run
        if len(operation["inputs"]) and {int(tensor) for tensor in operation["inputs"]} <= found:
            found |= {int(tensor) for tensor in operation["outputs"]}
    return found


def moved_bytes(operation: Operation, tensors: Tensors, constants: Collection[int]) -> int:
    """Return the bytes of the activations that an operation reads and writes, each once."""
    ends = {int(tensor) for tensor in (*operation["inputs"], *operation["outputs"])}
    return sum(_bytes(tensors[tensor]) for tensor in ends if tensor not in constants)


def peak_bytes(
    operations: Sequence[Operation],
    tensors: Tensors,
    inputs: Collection[int],
    outputs: Collection[int],
    constants: Collection[int] = (),
) -> int:
    """Return the peak size of the activations that are alive at once."""
    last = {int(tensor): step for step, operation in enumerate(operations) for tensor in operation["inputs"]}
    last |= dict.fromkeys(outputs, len(operations))
    alive = {tensor: _bytes(tensors[tensor]) for tensor in inputs}
    peak = 0
    for step, operation in enumerate(operations):
        made = {int(tensor) for tensor in operation["outputs"]}.difference(constants)
        alive |= {tensor: _bytes(tensors[tensor]) for tensor in made}
        peak = max(peak, sum(alive.values()))
        alive = {tensor: size for tensor, size in alive.items() if last.get(tensor, step) > step}
    return peak


def weight_bytes(path: Path) -> int:
    """Return the bytes of all constants in a .tflite file, as stored: weights, and a few shapes; no metadata."""
    from ai_edge_litert import schema_py_generated as schema

    model = schema.Model.GetRootAs(path.read_bytes())
    buffers = [model.Buffers(number) for number in range(model.BuffersLength())]
    metadata = {model.Metadata(number).Buffer() for number in range(model.MetadataLength())}
    # Buffers of files over 2 GB are behind the flatbuffer: they have a size instead of data.
    return sum(buffer.DataLength() or buffer.Size() for n, buffer in enumerate(buffers) if n not in metadata)


def _shape(tensor: Any, tensors: Tensors) -> list[int]:
    return tensors[int(tensor)]["shape"].tolist()


def _bytes(tensor: Mapping[str, Any]) -> int:
    return int(np.prod(tensor["shape"], dtype=np.int64)) * np.dtype(tensor["dtype"]).itemsize
