"""Export to LiteRT (TensorFlow Lite), for phones, boards and browsers."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import keras
import numpy as np

from spinenet_tf._files.size import size_of
from spinenet_tf.export.artifact import check_suffix, staged
from spinenet_tf.export.check.verify import MEASURES, Artifact, check, check_verifiable
from spinenet_tf.export.description import describe, names_for, with_outputs
from spinenet_tf.export.litert.appended import OUTPUT_NAMES, append_outputs
from spinenet_tf.export.litert.calibration import CALIBRATED, check_quantizable
from spinenet_tf.export.litert.conversion import convert, convert_partly, converter
from spinenet_tf.export.litert.joining import join
from spinenet_tf.export.litert.model_metadata import with_model_metadata
from spinenet_tf.export.litert.nms import builtin_nms
from spinenet_tf.export.litert.provenance import Provenance
from spinenet_tf.export.litert.targets import Target, check_graph, find_target
from spinenet_tf.export.rewrites.unfusing import unfuse
from spinenet_tf.export.savedmodel import output_specs
from spinenet_tf.export.signatures import raw_function
from spinenet_tf.inference.keras_model import exported_form, head_of, image_shape, selects
from spinenet_tf.inference.litert import SUFFIX, TFLiteModel
from spinenet_tf.inference.metadata import Metadata

if TYPE_CHECKING:
    from spinenet_tf.data.dataset import ClassificationDataset, DetectionDataset

# "fp16" halves the size of the weights. "dynamic" has 8-bit weights: good for full convs, bad for depthwise convs.
# "int8" computes in 8 bits, with one scale per conv channel and per output. "int16x8" has 16-bit activations, which
# XNNPACK does not support, so it is slow.
QUANTIZATIONS = ("none", "fp16", "dynamic", *CALIBRATED)


def tflite(
    model: keras.Model,
    path: str | os.PathLike,
    quantization: str = "none",
    calibration: Iterable[np.ndarray] | None = None,
    class_names: Sequence[str] | None = None,
    verify_on: DetectionDataset | ClassificationDataset | None = None,
    max_loss: float = 0.02,
    overwrite: bool = False,
    target: str = "cpu",
    inputs: str | None = None,
    outputs: str | None = None,
    keep_float: Sequence[str] = (),
    center: float | None = None,
    batch_size: int = 1,
) -> Artifact:
    """Write a .tflite file with input `images` `[B, H, W, 3]` for one kind of hardware: see `targets.TARGETS`.

    The `target` determines the upsampling operation and the default `inputs` and `outputs`. Inputs are "float32",
    normalized, or "uint8", RGB in 0..255, the default if the model takes pixels. Outputs are float32, with the names
    and in the order of `appended.OUTPUT_NAMES`: "raw", by level; for a detector also "decoded", `boxes` `[B, N, 4]`
    yxyx in pixels of the input and `scores` `[B, N, C]`; "detections", as returned by `predict`; "postprocess", as
    returned by the custom operation `TFLite_Detection_PostProcess`: boxes relative to the input. A head with
    anchors uses the operation itself: each anchor's best class, class-agnostic NMS. For a classifier "probabilities".
    B is `batch_size`, the fixed number of images of a call; 1 for "postprocess" and "mediapipe".

    A file for "mediapipe" has TFLite Model Metadata, too. `spinenet_tf.load` resizes its images as MediaPipe does: see
    `data.fitting.stretched`.

    `quantization` is one of `QUANTIZATIONS`. "int8" and "int16x8" need `calibration`: a finite number of batches
    `[B, H, W, 3]` of real images, preprocessed as for evaluation. With "int8", layers whose Keras names match one of
    the patterns `keep_float` ("box_predictor", "block2_*") compute in float; tensors between them and other layers are
    still rounded to 8 bits. `sensitivity.find_sensitive` reports which layers may help. A model in half precision is
    exported in float32. All operations are TFLite's built-in ones, except the custom operation; none are TensorFlow's
    (Flex).

    Metadata and labels are in the file, as an appended zip, and next to it. `class_names` are by default those of the
    model; others rename its classes. `center` is the side of a classifier's central crop (see
    `data.input.class_pipeline`). Before the file appears, its operations and ranks are checked against the target, and
    its outputs against the model: "none" and "fp16" by `verify.TOLERANCES`, and all files by COCO AP or top-1 on the
    held-out images `verify_on`, if given.

    Raises:
        ValueError: the quantization, target or outputs are unknown, the calibration is missing or has another shape,
            the model cannot be exported (see `keras_model.image_shape`), the targets gpu and npu do not support its
            image size (see `nets.resizable`), or class names, `verify_on` or `keep_float` do not fit it.
        FileExistsError: the file exists and `overwrite` is False.
        ExportError: the file differs from the model, loses more AP or top-1 than `max_loss`, or is not supported by
            the target; nothing was written.
    """
    _check_arguments(path, quantization, calibration)
    model, own = exported_form(model)
    known = _known_outputs(model)
    chosen, inputs, outputs = find_target(
        target, inputs or (own if own == "uint8" else None), outputs, known, selects(model)
    )
    _check_outputs(model, quantization, inputs, outputs)
    _check_batch(batch_size, chosen, outputs)
    provenance = Provenance(model)
    kept = _kept(provenance, quantization, keep_float)
    class_names = names_for(model, class_names)
    check_verifiable(model, verify_on, class_names)
    with staged(path, overwrite) as file:
        # TensorFlow has no DEPTH_TO_SPACE with 16-bit activations, and XNNPACK does not support these activations.
        wide = quantization == "int16x8" and chosen.xnnpack
        upsampling = "gather" if wide else chosen.upsampling
        raw = raw_function(model, batch_size, upsampling=upsampling, nms=builtin_nms(image_shape(model)[:2]))
        specs = output_specs(raw)
        metadata = describe(model, specs, batch_size, quantization, class_names, inputs, kept, center, chosen.mediapipe)
        if kept and calibration is not None:
            content = convert_partly(raw, provenance, kept, calibration, inputs, chosen.xnnpack)
        else:
            content = convert(raw, quantization, calibration, inputs, chosen.xnnpack)
        if not chosen.xnnpack:
            content = unfuse(content)
        runner = _write_outputs(file, outputs, content, metadata, specs)
        check_graph(file, chosen, outputs)
        options = (quantization, verify_on, max_loss, class_names, center, chosen.mediapipe, batch_size)
        difference, accuracy = check(model, runner, *options)
    return Artifact(Path(path), size_of(Path(path)), difference, **{MEASURES[metadata.task]: accuracy})


def _check_arguments(path: str | os.PathLike, quantization: str, calibration: Any) -> None:
    check_suffix(path, SUFFIX, "a TFLite file")
    if quantization not in QUANTIZATIONS:
        raise ValueError(f"Valid quantizations are {QUANTIZATIONS}. Received: quantization={quantization!r}")
    if quantization in CALIBRATED and calibration is None:
        raise ValueError(
            f"{quantization} needs calibration=..., batches of a few hundred real images, preprocessed as for "
            "evaluation. Received: calibration=None"
        )


def _kept(provenance: Provenance, quantization: str, patterns: Sequence[str]) -> list[str]:
    if patterns and quantization != "int8":
        raise ValueError(f"keep_float needs quantization='int8'. Received: {quantization=}")
    return provenance.find(patterns)


def _known_outputs(model: keras.Model) -> tuple[str, ...]:
    head = head_of(model)
    return head.outputs if head else ("raw",)


def _check_outputs(model: keras.Model, quantization: str, inputs: str, outputs: str) -> None:
    head, known = head_of(model), _known_outputs(model)
    subject = f"the head {head.name}" if head else "a backbone"
    if outputs not in known:
        raise ValueError(f"Valid outputs of {subject} are {known}. Received: outputs={outputs!r}")
    if quantization in CALIBRATED:
        check_quantizable(model)
    if inputs == "uint8" and quantization == "int16x8":
        raise ValueError(f"int16x8 supports only float32 inputs. Received: inputs={inputs!r}")


def _check_batch(batch_size: int | None, target: Target, outputs: str) -> None:
    if batch_size is None:
        raise ValueError("A .tflite file takes a fixed number of images per call. Received: batch_size=None")
    if batch_size != 1 and (target.mediapipe or outputs == "postprocess"):
        raise ValueError(f"MediaPipe and the outputs postprocess take one image per call. Received: {batch_size=}")


def _write_outputs(file: Path, kind: str, raw: bytes, metadata: Metadata, specs: Mapping[str, Any]) -> Any:
    """Write a converted file with these outputs and its metadata; return a runner with `raw` and `predict`."""
    runner: Any = _written(file, raw, metadata)
    if kind != "raw":
        content, metadata = _with_outputs(kind, raw, metadata, specs)
        if metadata.stretch:  # for MediaPipe
            content = with_model_metadata(content, metadata)
        file.unlink()  # the runner maps this file into memory, so the next one must be a new file
        runner = SimpleNamespace(raw=runner.raw, predict=_written(file, content, metadata).predict)
    metadata.write(file.parent, file.stem)
    return runner


def _written(file: Path, content: bytes, metadata: Metadata) -> TFLiteModel:
    file.write_bytes(content)
    metadata.append_to(file)
    return TFLiteModel(file)


def _with_outputs(kind: str, raw: bytes, metadata: Metadata, specs: Mapping[str, Any]) -> tuple[bytes, Metadata]:
    """Return a converted file with decoding appended, and its metadata."""
    import tensorflow as tf

    function = tf.function(append_outputs(kind, metadata), autograph=False).get_concrete_function(
        **{name: tf.TensorSpec(spec.shape, spec.dtype, name=name) for name, spec in specs.items()}
    )
    with converter(function) as conversion:
        conversion.allow_custom_ops = kind == "postprocess"
        decoding = conversion.convert()
    found = function.structured_outputs
    names = [name for name in OUTPUT_NAMES[kind] if name in found]
    return join(raw, decoding, names), with_outputs(metadata, kind, found)
