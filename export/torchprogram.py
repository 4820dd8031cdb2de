"""Export to PyTorch's ExportedProgram, on Keras's torch backend."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np

from spinenet_tf._files.size import size_of
from spinenet_tf.export.artifact import staged
from spinenet_tf.export.check.verify import Artifact, check
from spinenet_tf.export.description import describe
from spinenet_tf.inference.keras_model import check_backend, exported_form, image_shape, in_float32
from spinenet_tf.inference.naming import INPUT, flatten, nest
from spinenet_tf.ops.pixels import as_input

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
    if Path(path).suffix != SUFFIX:
        raise ValueError(f"The name of a PyTorch file must end in {SUFFIX}. Received: path={str(path)!r}")
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
        difference, _ = check(plain, _Runner(file, batch_size, inputs))
    return Artifact(Path(path), size_of(Path(path)), difference)


class _Runner:
    """Run a .pt2 file."""

    def __init__(self, path: Path, batch_size: int | None, inputs: str):
        import torch

        self._module = torch.export.load(str(path)).module()
        self._inputs, self._batch_size = inputs, batch_size or 2  # for a dynamic batch, test a size that is not 1

    def raw(self, image: np.ndarray) -> Any:
        """Return the raw outputs for one normalized image `[1, H, W, 3]`, repeated to the file's batch."""
        images = np.repeat(as_input(image, self._inputs), self._batch_size, axis=0)
        outputs = self._module(keras.ops.convert_to_tensor(images))
        return nest({name: keras.ops.convert_to_numpy(x)[:1] for name, x in outputs.items()})
