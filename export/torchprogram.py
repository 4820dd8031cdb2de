"""Export to PyTorch's ExportedProgram, on Keras's torch backend."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np

from spinenet_tf._files.size import size_of
from spinenet_tf.export.artifact import check_suffix, staged
from spinenet_tf.export.check.verify import Artifact, check
from spinenet_tf.export.description import describe
from spinenet_tf.inference.exported_model import ExportedModel
from spinenet_tf.inference.keras_model import check_backend, exported_form, image_shape, in_float32, selects
from spinenet_tf.inference.naming import INPUT, flatten

SUFFIX = ".pt2"


def torch_program(
    model: keras.Model,
    path: str | os.PathLike,
    class_names: Sequence[str] | None = None,
    batch_size: int | None = 1,
    overwrite: bool = False,
    center: float | None = None,
    **options: Any,
) -> Artifact:
    """Write a .pt2 file with Keras's exporter; `torch.export.load(path).module()` maps images to a dictionary.

    The input and the names and layouts of the outputs are those of a SavedModel's signature `raw`. `options` are those
    of `torch.export.export`; `dynamic_shapes={0: torch.export.Dim("batch")}` makes the batch dynamic. Metadata and
    labels are next to the file. It is compared with the model in PyTorch before it appears. A model in half precision
    is exported in float32. `center` is as in `litert.tflite`.

    Raises:
        ValueError: Keras's backend is not torch, the model cannot be exported (see `keras_model.image_shape`), the
            class names or an option do not fit it, the name does not end in .pt2, or `batch_size` is None without
            `dynamic_shapes`.
        FileExistsError: the file exists and `overwrite` is False.
        RuntimeError: PyTorch cannot export the model.
        ExportError: the file differs from the model by more than 1e-4; nothing was written.
    """
    check_backend("torch")
    check_suffix(path, SUFFIX, "a PyTorch file")
    if selects(model):
        reason = "PyTorch cannot export a net that selects the detections itself, since its NMS depends on the data"
        raise ValueError(f"{reason}: use SavedModel, ONNX or TFLite. Received: model={type(model).__name__}")
    if options.get("dynamic_shapes") is not None:
        batch_size = None
    elif batch_size is None:
        raise ValueError(
            "A PyTorch file for batches of any size needs dynamic_shapes={0: torch.export.Dim('batch')}. "
            "Received: a batch of None"
        )
    plain, inputs = exported_form(model)
    model = in_float32(model)
    flat = keras.Model(model.input, flatten(model.output), name=model.name)  # Keras refuses nested outputs
    signature = keras.InputSpec(shape=(batch_size, *image_shape(model)), dtype=inputs, name=INPUT)
    specs = {name: keras.KerasTensor((batch_size, *x.shape[1:]), x.dtype) for name, x in flat.output.items()}
    with staged(path, overwrite) as file:
        metadata = describe(model, specs, batch_size, class_names=class_names, inputs=inputs, center=center)
        flat.export(file, format="torch", verbose=False, input_signature=[signature], **options)
        metadata.write(file.parent, file.stem)
        difference, _ = check(plain, ExportedModel(metadata, _runner(file)), batch_size=batch_size)
    return Artifact(Path(path), size_of(Path(path)), difference)


def _runner(path: Path) -> Callable[[np.ndarray], Mapping[str, Any]]:
    """Return a function from a batch of images to the outputs by name, which runs a .pt2 file."""
    import torch

    module = torch.export.load(str(path)).module()
    return lambda images: module(keras.ops.convert_to_tensor(images))
