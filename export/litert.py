"""LiteRT (TensorFlow Lite): the form for phones, boards and browsers, and a runner for it."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import keras
import numpy as np

from spinenet_tf import native_output
from spinenet_tf.detection.anchors import anchors, concatenate, per_anchor
from spinenet_tf.detection.decoding import detections
from spinenet_tf.export.artifact import size_of, staged
from spinenet_tf.export.calibration import CALIBRATED, quantize
from spinenet_tf.export.metadata import describe, read_metadata
from spinenet_tf.export.savedmodel import DEFAULT, output_specs, write_signatures
from spinenet_tf.export.signatures import INPUT, nest, raw_function
from spinenet_tf.export.verify import Report, check, check_verifiable

if TYPE_CHECKING:
    from spinenet_tf.data.dataset import DetectionDataset

SUFFIX = ".tflite"
QUANTIZATIONS = ("none", "fp16", "dynamic", *CALIBRATED)


def tflite(
    model: keras.Model,
    path: str | os.PathLike,
    quantization: str = "none",
    calibration: Iterable[np.ndarray] | None = None,
    class_names: Sequence[str] | None = None,
    verify_on: DetectionDataset | None = None,
    max_ap_loss: float = 0.02,
    overwrite: bool = False,
) -> Report:
    """Write a .tflite for one normalised image `images` `[1, H, W, 3]`, with raw outputs by name, without decoding.

    Inputs and outputs are float32 whatever the `quantization`: "none"; "fp16" halves the weights' size; "dynamic" has
    8-bit weights, good for full convs, bad for depthwise ones; "int8" computes in 8 bits, with a scale per channel of
    a conv and per output; "int16x8" has 16-bit activations, which XNNPACK does not run, so it is slow. The last two
    need `calibration`: finitely many batches `[B, H, W, 3]` of real images, preprocessed as for evaluation. Operations
    are TFLite's own, none of them TensorFlow's (Flex).

    The metadata and labels are in the file, as an appended zip, and beside it. The file is compared with the model
    before it appears: "none" and "fp16" by `verify.TOLERANCES`, and, given held-out images to `verify_on`, every form
    by its COCO AP.

    Raises:
        ValueError: an unknown quantization, calibration missing or of another shape, a model that cannot be exported
            (see `signatures.image_shape`), or class names or `verify_on` that do not fit it.
        FileExistsError: a file is in the way and `overwrite` is False.
        ExportError: the file differs from the model or loses more AP than `max_ap_loss`; nothing was written.
    """
    _check_arguments(path, quantization, calibration)
    check_verifiable(model, verify_on, class_names)
    with staged(path, overwrite) as file:
        raw = raw_function(model, batch_size=1)
        metadata = describe(model, output_specs(raw), 1, quantization, class_names)
        file.write_bytes(_convert(raw, quantization, calibration))
        metadata.append_to(file)
        metadata.write(file.parent, file.stem)
        difference, ap = check(model, TFLiteModel(file), quantization, verify_on, max_ap_loss, class_names)
    return Report(Path(path), size_of(Path(path)), difference, ap)


class TFLiteModel:
    """A .tflite of this package, run on the CPU by LiteRT.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file was not written by `tflite`.
    """

    def __init__(self, path: str | os.PathLike, num_threads: int | None = None):
        """Load the file; `num_threads` is the number of cores unless given."""
        from ai_edge_litert.interpreter import Interpreter

        self.metadata = read_metadata(Path(path))
        with native_output.hidden():  # it tells of its delegate
            interpreter = Interpreter(model_path=str(path), num_threads=num_threads or os.cpu_count())
            self._run = interpreter.get_signature_runner(DEFAULT)

    @property
    def image_size(self) -> tuple[int, int]:
        """Height and width of the input in pixels."""
        return self.metadata.image_size

    @property
    def class_names(self) -> list[str]:
        """The names of the classes, in their order."""
        return self.metadata.class_names

    def raw(self, images: np.ndarray) -> Any:
        """Return what calling the Keras model on normalised `images` `[B, H, W, 3]` gives, as NumPy arrays.

        Raises:
            ValueError: the images have another shape.
        """
        outputs = [self._run(**{INPUT: image}) for image in self._single(images)]
        return nest({name: np.concatenate([output[name] for output in outputs]) for name in outputs[0]})

    def predict(self, images: np.ndarray) -> Any:
        """Return what the Keras model's `predict` gives on normalised `images` `[B, H, W, 3]`; raises as `raw` does.

        Of a detector: "boxes" `[B, M, 4]` yxyx in pixels of the input, "scores" `[B, M]`, "classes" `[B, M]` (-1 =
        padding) and "num_detections" `[B]`.
        """
        if self.metadata.task != "detection":
            return self.raw(images)
        found = [self._decode(self.raw(image)) for image in self._single(images)]
        return {name: np.concatenate([keras.ops.convert_to_numpy(x[name]) for x in found]) for name in found[0]}

    def _single(self, images: np.ndarray) -> list[np.ndarray]:
        """Cut a batch into batches of one, which is what the file takes."""
        images = np.asarray(images, np.float32)
        if images.ndim != 4 or images.shape[1:] != (*self.image_size, 3) or not len(images):
            shape = ("batch", *self.image_size, 3)
            raise ValueError(f"Images have the shape {shape}. Received: shape={images.shape}")
        return [image[None] for image in images]

    @cached_property
    def _decode(self) -> Callable:
        """Decoding for this file's anchors, as one graph where TensorFlow would run it op by op."""
        all_anchors = concatenate(anchors(*self.image_size, self.metadata.anchor_spec))
        limits = asdict(self.metadata.decoding_spec)

        def decode(raw):
            logits = per_anchor(raw["class_logits"], len(self.class_names))
            return detections(logits, per_anchor(raw["box_deltas"], 4), all_anchors, *self.image_size, **limits)

        if keras.backend.backend() != "tensorflow":
            return decode
        import tensorflow as tf

        return tf.function(decode, autograph=False)


def _check_arguments(path: str | os.PathLike, quantization: str, calibration: Any) -> None:
    if Path(path).suffix != SUFFIX:
        raise ValueError(f"The name of a TFLite file ends in {SUFFIX}. Received: path={str(path)!r}")
    if quantization not in QUANTIZATIONS:
        raise ValueError(f"Valid quantizations are {QUANTIZATIONS}. Received: quantization={quantization!r}")
    if quantization in CALIBRATED and calibration is None:
        raise ValueError(
            f"{quantization} needs calibration=..., batches of a few hundred real images, preprocessed as for "
            "evaluation. Received: calibration=None"
        )


def _convert(raw: Any, quantization: str, calibration: Iterable[np.ndarray] | None) -> bytes:
    """Convert by way of a SavedModel: from a function alone the converter loses the outputs' names."""
    import tensorflow as tf

    with tempfile.TemporaryDirectory() as folder, native_output.hidden():
        write_signatures(Path(folder), {DEFAULT: raw})
        converter = tf.lite.TFLiteConverter.from_saved_model(folder, signature_keys=[DEFAULT])
        if calibration is not None and quantization in CALIBRATED:
            return quantize(converter, quantization, calibration, tuple(raw.input_signature[0].shape[1:]))
        if quantization != "none":
            converter.optimizations = [tf.lite.Optimize.DEFAULT]
        if quantization == "fp16":
            converter.target_spec.supported_types = [tf.float16]
        return converter.convert()
