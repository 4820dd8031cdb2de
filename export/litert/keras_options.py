"""Translate the options of TensorFlow's converter, which Keras passes on, to those of `litert.tflite`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import keras

_OURS = ("quantization", "calibration")


def without_converter_options(options: Mapping[str, Any]) -> dict[str, Any]:
    """Replace `optimizations` and `representative_dataset` by a quantization and its calibration.

    With `optimizations`, weights have 8 bits ("dynamic"); with a data set, activations do, too ("int8").

    Raises:
        ValueError: there is a data set without optimizations, or the options contradict those of `tflite`.
    """
    optimizations, dataset = options.get("optimizations"), options.get("representative_dataset")
    others = {name: x for name, x in options.items() if name not in ("optimizations", "representative_dataset")}
    if not optimizations and dataset is None:
        return others
    if not optimizations or any(others.get(name) is not None for name in _OURS):
        raise ValueError(
            "Pass either optimizations, with or without representative_dataset, or quantization and calibration. "
            f"Received: {[name for name, value in options.items() if value is not None]}"
        )
    if dataset is None:
        return others | {"quantization": "dynamic"}
    return others | {"quantization": "int8", "calibration": _batches(dataset)}


def _batches(dataset: Callable[[], Any]) -> Iterator[Any]:
    """Yield the images of a data set in the converter's form: each sample is a list or dictionary of one array."""
    for sample in dataset():
        yield keras.tree.flatten(sample)[0]
