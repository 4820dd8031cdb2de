"""Export to ONNX, for ONNX Runtime and other tools (extra `onnx`)."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import keras

from spinenet_tf._files import native_output
from spinenet_tf._files.size import size_of
from spinenet_tf.export.artifact import check_suffix, staged
from spinenet_tf.export.check.verify import Artifact, ExportError, check
from spinenet_tf.export.description import describe
from spinenet_tf.export.rewrites.folding import fold_batch_norms
from spinenet_tf.export.savedmodel import output_specs
from spinenet_tf.export.signatures import function_of, raw_function
from spinenet_tf.inference.artifacts import open_artifact
from spinenet_tf.inference.keras_model import exported_form
from spinenet_tf.inference.metadata import METADATA

SUFFIX = ".onnx"
OPSET = 18


def onnx(
    model: keras.Model,
    path: str | os.PathLike,
    class_names: Sequence[str] | None = None,
    batch_size: int | None = 1,
    overwrite: bool = False,
    center: float | None = None,
    opset_version: int = OPSET,
) -> Artifact:
    """Write an .onnx file with input `images` `[batch_size, H, W, 3]` and raw outputs.

    The input is normalized float32, or uint8 if the model takes pixels. A `batch_size` of None means any. Input and
    outputs have the names, shapes and layouts of a SavedModel's signature `raw`; BN is folded into the convs. The
    metadata is in the file, as its property `metadata.json`, and next to it, with the labels. The file is compared with
    the model in ONNX Runtime before it appears. A model in half precision is exported in float32. `class_names` and
    `center` are as in `tflite`.

    Raises:
        ValueError: the model cannot be exported (see `keras_model.image_shape`), the class names do not fit it, or the
            name does not end in .onnx.
        ImportError: tf2onnx or onnxruntime is not installed.
        FileExistsError: the file exists and `overwrite` is False.
        ExportError: tf2onnx or ONNX Runtime fails, or the file differs from the model by more than 1e-4; nothing was
            written.
    """
    check_suffix(path, SUFFIX, "an ONNX file")
    _check_installed()
    model, inputs = exported_form(model)
    with staged(path, overwrite) as file:
        raw = raw_function(model, batch_size, rewrites=(fold_batch_norms,))
        metadata = describe(model, output_specs(raw), batch_size, class_names=class_names, inputs=inputs, center=center)
        with _export_errors("tf2onnx cannot convert this net"):
            proto = _converted(function_of(raw, inputs), opset_version)
        proto.metadata_props.add(key=METADATA, value=metadata.to_json())
        file.write_bytes(proto.SerializeToString())
        metadata.write(file.parent, file.stem)
        with _export_errors("ONNX Runtime cannot run the file"):
            difference, _ = check(model, open_artifact(file), batch_size=batch_size)
    return Artifact(Path(path), size_of(Path(path)), difference)


def _check_installed() -> None:
    try:
        import onnxruntime  # noqa: F401
        import tf2onnx  # noqa: F401
    except ImportError:
        raise ImportError("ONNX export needs tf2onnx and onnxruntime: pip install spinenet_tf[onnx]") from None


@contextmanager
def _export_errors(message: str) -> Iterator[None]:
    """Turn any exception of the block into a one-line `ExportError`."""
    try:
        yield
    except ExportError:
        raise
    except Exception as error:  # errors of tf2onnx and ONNX Runtime have no common base class
        raise ExportError(f"{message}. Received: {type(error).__name__}: {' '.join(str(error).split())}") from error


def _converted(raw: Any, opset: int) -> Any:
    """Convert a `tf.function` to an ONNX `ModelProto` of an operator set."""
    import tf2onnx

    with native_output.hidden():
        proto, _ = tf2onnx.convert.from_function(
            raw, raw.input_signature, opset=opset, custom_rewriter=[_reshape_scalars]
        )
    _update_resize_mode(proto)
    return proto


def _reshape_scalars(graph: Any, operations: list[Any]) -> list[Any]:
    """Reshape scalar summands to `[1]`: tf2onnx 1.17 fails on scalars when it removes transpositions."""
    for operation in operations:
        for source in operation.inputs if operation.type in ("Add", "AddV2") else ():
            if source.is_const() and not source.get_tensor_value(as_list=False).shape:
                source.set_tensor_value(source.get_tensor_value(as_list=False).reshape(1))
    return operations


def _update_resize_mode(proto: Any) -> None:
    """Set the current attributes of nearest upsampling (source pixel i // n); tf2onnx writes those of before 2020."""
    rule = {"coordinate_transformation_mode": b"asymmetric", "nearest_mode": b"floor"}
    resizes = (node for node in proto.graph.node if node.op_type == "Resize")
    for attribute in (attribute for node in resizes for attribute in node.attribute):
        if attribute.name in rule:
            attribute.s = rule[attribute.name]
