"""Export to OpenVINO's IR, for Intel's CPUs, GPUs and NPUs (extra `openvino`)."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import keras

from spinenet_tf._files import native_output
from spinenet_tf.export.artifact import check_suffix, staged
from spinenet_tf.export.check.verify import Artifact, check
from spinenet_tf.export.description import describe
from spinenet_tf.export.rewrites.folding import fold_batch_norms
from spinenet_tf.export.rewrites.gates import clip_after_scaling
from spinenet_tf.export.savedmodel import output_specs, write_signatures
from spinenet_tf.export.signatures import function_of, raw_function
from spinenet_tf.inference.artifacts import bytes_of
from spinenet_tf.inference.exported_model import ExportedModel
from spinenet_tf.inference.keras_model import exported_form
from spinenet_tf.inference.metadata import METADATA
from spinenet_tf.inference.naming import DEFAULT
from spinenet_tf.inference.openvinofile import network_runner, openvino_runtime

SUFFIX = ".xml"


def openvino(
    model: keras.Model,
    path: str | os.PathLike,
    class_names: Sequence[str] | None = None,
    batch_size: int | None = None,
    overwrite: bool = False,
    center: float | None = None,
) -> Artifact:
    """Write an .xml file, and its weights in float32 next to it in a .bin file.

    Input and outputs have the names, types and layouts of a SavedModel's signature `raw`; BN is folded into the convs.
    A `batch_size` of None means any. The metadata is in the .xml file, as the runtime information `metadata.json`, and
    next to it, with the labels. Before the files appear, they are compared with the model in OpenVINO's runtime. A
    model in half precision is exported in float32. `center` is as in `litert.tflite`.

    Raises:
        ValueError: the model cannot be exported (see `keras_model.image_shape`), the class names do not fit it, or the
            name does not end in .xml.
        ImportError: openvino is not installed.
        FileExistsError: a file exists and `overwrite` is False.
        ExportError: the files differ from the model by more than 1e-4; nothing was written.
    """
    check_suffix(path, SUFFIX, "an OpenVINO file")
    openvino_runtime()
    weights = Path(path).with_suffix(".bin")
    if weights.exists() and not Path(path).exists():
        raise FileExistsError(f"{weights} exists without {Path(path).name}: move it away first.")
    model, inputs = exported_form(model)
    with staged(path, overwrite) as file:
        raw = raw_function(model, batch_size, rewrites=(fold_batch_norms, clip_after_scaling))
        metadata = describe(model, output_specs(raw), batch_size, class_names=class_names, inputs=inputs, center=center)
        _write(file, function_of(raw, inputs), metadata.to_json())
        metadata.write(file.parent, file.stem)
        difference, _ = check(model, ExportedModel(metadata, network_runner(file)), batch_size=batch_size)
    return Artifact(Path(path), bytes_of(Path(path)), difference)


def _write(file: Path, raw: Any, metadata: str) -> None:
    """Convert a `tf.function`, as a SavedModel, to `file` and the .bin file next to it."""
    runtime = openvino_runtime()
    with tempfile.TemporaryDirectory() as folder, native_output.hidden():
        write_signatures(Path(folder), {DEFAULT: raw})
        converted = runtime.Core().read_model(folder)
        converted.set_rt_info(metadata, [METADATA])
        runtime.serialize(converted, str(file))
