"""Find how much of a .tflite file each engine supports: XNNPACK as planned here, phones' GPUs and NPUs by lists."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from spinenet_tf.inference.costs import Operation, Tensors

XNNPACK = "XNNPACK"
MAX_RANK = 4  # of the tensors of GPUs and NPUs
# The operations of a SpineNet that the GPUs and NPUs of phones support by their documentation. They may reject a file
# with any other operation.
ACCELERATED = frozenset(
    {
        *("CONV_2D", "DEPTHWISE_CONV_2D", "TRANSPOSE_CONV", "FULLY_CONNECTED"),
        *("MAX_POOL_2D", "AVERAGE_POOL_2D", "MEAN"),
        *("ADD", "SUB", "MUL", "MAXIMUM", "MINIMUM", "EXP", "LOGISTIC", "RELU", "RELU6", "HARD_SWISH"),
        *("CONCATENATION", "DEPTH_TO_SPACE", "PAD", "RESHAPE", "RESIZE_NEAREST_NEIGHBOR", "STRIDED_SLICE"),
        *("QUANTIZE", "DEQUANTIZE"),
    }
)
# LiteRT's GPU accelerator 2.3 also runs slices, and refuses these types: see `tests/export/compiled_model.py`.
LISTS = {"GPU": ACCELERATED | {"SLICE"}, "NPU": ACCELERATED}
REFUSED_TYPES = {"GPU": frozenset({"int16", "int64"}), "NPU": frozenset()}


@dataclass(frozen=True)
class Coverage:
    """How much of a file an engine supports, as fractions of 1; None if there is nothing to support."""

    operations: float | None
    multiply_adds: float | None
    leaves: dict[str, int]  # the number of each operation that it does not support


def find_coverage(
    operations: Sequence[Operation], partitions: Sequence[Operation], tensors: Tensors, work: Sequence[int]
) -> dict[str, Coverage]:
    """Return the coverage of each engine; `partitions` are XNNPACK's, `work` the multiply-adds of each operation."""
    planned = set().union(*(_inside(partition, operations) for partition in partitions))
    supported = {XNNPACK: [operation["index"] in planned for operation in operations]}
    supported |= {engine: [_supports(engine, x, tensors) for x in operations] for engine in LISTS}
    return {engine: _coverage(operations, flags, work) for engine, flags in supported.items()}


def count(operations: Iterable[Operation]) -> dict[str, int]:
    """Return the number of operations of each type, the most frequent first."""
    return dict(Counter(operation["op_name"] for operation in operations).most_common())


def _inside(part: Operation, operations: Sequence[Operation]) -> set[int]:
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


def _supports(engine: str, operation: Operation, tensors: Tensors) -> bool:
    ends = [tensors[int(x)] for x in (*operation["inputs"], *operation["outputs"]) if int(x) in tensors]
    types = {np.dtype(tensor["dtype"]).name for tensor in ends}
    fits = max((len(tensor["shape"]) for tensor in ends), default=0) <= MAX_RANK
    return operation["op_name"] in LISTS[engine] and fits and not types & REFUSED_TYPES[engine]


def _coverage(operations: Sequence[Operation], supported: Sequence[bool], work: Sequence[int]) -> Coverage:
    left = [operation for operation, is_in in zip(operations, supported, strict=True) if not is_in]
    return Coverage(_fraction(supported, [1] * len(operations)), _fraction(supported, work), count(left))


def _fraction(supported: Sequence[bool], weights: Sequence[int]) -> float | None:
    whole = sum(weights)
    return sum(weight for weight, is_in in zip(weights, supported, strict=True) if is_in) / whole if whole else None
