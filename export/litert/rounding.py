"""Measure the rounding error of each layer in int8, on the inputs that it has in the integer graph."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from spinenet_tf.export.litert.provenance import Provenance
from spinenet_tf.inference.interpreter import operations_of

CHECK = "NumericVerify"  # the operation that compares an integer tensor with a float one


@dataclass(frozen=True)
class LayerError:
    """The largest error of a layer's own operations."""

    layer: str
    operations: list[str]  # such as "CONV_2D"
    range: tuple[float, float]  # of its outputs in int8
    steps: float  # root mean square error in steps of the output's scale; rounding alone causes 0.29
    noise: float  # root mean square error relative to that of the signal per channel, at most 1; mean over channels


class _Check(NamedTuple):
    """The tensors of a check: integer, float, and their difference."""

    integer: int
    signal: int
    error: int


def layer_errors(model: bytes, provenance: Provenance, images: np.ndarray) -> list[LayerError]:
    """Run a debug .tflite of `calibration.to_integers` on normalized `images`; return the error of each layer."""
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    plain = OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
    interpreter = Interpreter(
        model_content=model, experimental_op_resolver_type=plain, experimental_preserve_all_tensors=True
    )
    interpreter.allocate_tensors()
    operations, tensors = operations_of(interpreter), {x["index"]: x for x in interpreter.get_tensor_details()}
    makers = {int(x["outputs"][0]): x["op_name"] for x in operations if len(x["outputs"])}
    checks = [_check(x) for x in operations if x["op_name"] == CHECK]
    found = defaultdict(list)
    for check, means in zip(checks, _mean_squares(interpreter, checks, images), strict=True):
        tensor = tensors[check.integer]
        layers = provenance.layers_of(tensor["name"]) or [tensor["name"]]
        found[layers[-1]].append((makers[check.integer], *tensor["quantization"], *means))
    return [_layer_error(layer, rows) for layer, rows in found.items()]


def _check(operation: Any) -> _Check:
    integer, signal = map(int, operation["inputs"][:2])
    return _Check(integer, signal, int(operation["outputs"][0]))


def _mean_squares(interpreter: Any, checks: Sequence[_Check], images: np.ndarray) -> list[np.ndarray]:
    """Return for each check the mean squares `[2, channels]` of signal and error over all images and positions."""
    (source,) = interpreter.get_input_details()
    sums: list[Any] = [0.0] * len(checks)
    for image in images:
        interpreter.set_tensor(source["index"], image[None])
        interpreter.invoke()
        for number, check in enumerate(checks):
            pair = (interpreter.get_tensor(tensor) for tensor in (check.signal, check.error))
            sums[number] += np.stack([np.square(x).mean(axis=tuple(range(x.ndim - 1))) for x in pair])
    return [total / len(images) for total in sums]


def _layer_error(layer: str, rows: Sequence[tuple[str, float, int, np.ndarray, np.ndarray]]) -> LayerError:
    ranges = [((-128 - zero) * scale, (127 - zero) * scale) for _, scale, zero, _, _ in rows]
    steps = max(np.sqrt(error.mean()) / scale for _, scale, _, _, error in rows)
    noise = max(_noise(signal, error) for _, _, _, signal, error in rows)
    ends = (float(min(low for low, _ in ranges)), float(max(high for _, high in ranges)))
    return LayerError(layer, list(dict.fromkeys(row[0] for row in rows)), ends, float(steps), noise)


def _noise(signal: np.ndarray, error: np.ndarray) -> float:
    """Return the mean over channels of the ratio of error to signal, clipped to 1 per channel."""
    ratios = np.sqrt(error / np.where(signal > 0, signal, 1.0))
    return float(np.where(signal > 0, np.minimum(ratios, 1.0), error > 0).mean())
