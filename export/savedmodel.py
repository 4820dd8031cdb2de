"""Export to SavedModel, which TensorFlow loads and serves without other packages."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import keras

from spinenet_tf._files.size import size_of
from spinenet_tf.export.artifact import staged
from spinenet_tf.export.check.verify import Artifact, check
from spinenet_tf.export.description import describe
from spinenet_tf.export.rewrites.folding import fold_batch_norms
from spinenet_tf.export.rewrites.subtracting import subtract_convs
from spinenet_tf.export.serving.functions import bytes_function, decoding_function, detection_function, image_function
from spinenet_tf.export.serving.guard import guarded
from spinenet_tf.export.signatures import function_of, raw_function
from spinenet_tf.inference.artifacts import open_artifact
from spinenet_tf.inference.keras_model import detects, exported_form, in_float32, selects
from spinenet_tf.inference.naming import DEFAULT

CONFIG = "config.json"


def saved_model(
    model: keras.Model,
    path: str | os.PathLike,
    class_names: Sequence[str] | None = None,
    batch_size: int | None = None,
    nms: bool = True,
    overwrite: bool = False,
    center: float | None = None,
    variables: bool = False,
) -> Artifact:
    """Write a SavedModel whose named signatures have one input `images`; plain TensorFlow loads and runs it.

    The signatures of a detector, of which only the last two are written without `nms`:

    - `serve`: from `[B, H, W, 3]` float32, normalized, or uint8 if the model takes pixels, to boxes `[B, M, 4]` yxyx in
      pixels of the input, scores, classes (-1 = padding) `[B, M]` and num_detections `[B]`; it is also
      `serving_default`
    - `serve_image`: from `[B, h, w, 3]` uint8 RGB of any size to the same, boxes in pixels of these images
    - `serve_bytes`: from `[B]` strings, each an encoded JPEG or PNG, to the same, boxes in pixels of each image after
      its EXIF orientation is applied
    - `raw`: from the input of `serve` to the head's maps `[B, row, column, channel]`, one per output and level, or to
      the detections that the net selects, whatever their scores; the metadata describes them
    - `decoded`, only without `nms`, and then also `serving_default`: from the input of `serve` to boxes `[B, N, 4]`,
      clipped to the input, and scores `[B, N, num_classes]` of all candidates

    A detector with masks also returns masks `[B, M, R, R]` in 0..1: the object's share of each cell of its box.

    Other models have `serve`, which is also `raw` and `serving_default`, with outputs `logits` or `P3`, ... `B` is
    `batch_size`; None: any.

    A signature raises an error, without harm to the process, if its input has another shape, is empty, has values that
    are not finite or beyond `checks.LARGEST`, or is a file that does not decode or declares too many pixels. Threads
    may share a loaded model.

    BN is folded into the convs, so the artifact can only be served, not trained. It is faster than a `tf.function` of
    the trained model: 1.8 times for SpineNet-Mobile-49XS at 128 px on two x86 cores, less for larger convs. The weights
    are constants of the graph, of which TensorFlow keeps about 15 copies. With `variables`, large weights are in the
    folder `variables` and in memory once: SpineNet-49's backbone at 640 px loads and runs in 0.27 GB instead of 1.65,
    and loads in a third of the time, but takes 5 % longer per image, since oneDNN prepares only constants once. The
    environment variable TF_ONEDNN_ASSUME_FROZEN_WEIGHTS=1 makes TensorFlow prepare variables once, too.

    The folder `assets` has `metadata.json`, `labels.txt` (class names) and `config.json` (the model's Keras config).
    The artifact is compared with the model before it appears. A model in half precision is exported in float32.
    `class_names` and `center` are as in `tflite`.

    Raises:
        ValueError: the model cannot be exported (see `keras_model.image_shape`) or has no NMS to omit, or the class
            names do not fit it.
        FileExistsError: `path` exists and `overwrite` is False, or it is a folder but not a SavedModel.
        ExportError: the artifact differs from the model; nothing was written.
    """
    if not nms and not detects(model):
        raise ValueError(f"Only a detector supports nms=False. Received: nms=False, model={type(model).__name__}")
    if not nms and selects(model):
        reason = "The NMS of this model is inside the net, not after it"
        raise ValueError(f"{reason}: omit nms=False. Received: nms=False, model={type(model).__name__}")
    model = in_float32(model)
    plain, inputs = exported_form(model)
    with staged(path, overwrite) as folder:
        raw = raw_function(plain, batch_size, rewrites=(fold_batch_norms, subtract_convs), variables=variables)
        metadata = describe(plain, output_specs(raw), batch_size, class_names=class_names, inputs=inputs, center=center)
        with tempfile.TemporaryDirectory() as assets:
            metadata.write(Path(assets))
            config = json.dumps(keras.saving.serialize_keras_object(model), indent=2)
            Path(assets, CONFIG).write_text(config, encoding="utf-8")
            signatures, weights = _signatures(plain, raw, nms, inputs), raw.get_concrete_function().variables
            write_signatures(folder, signatures, sorted(Path(assets).iterdir()), weights)
        difference, _ = check(plain, open_artifact(folder, raw=True), batch_size=batch_size)
    return Artifact(Path(path), size_of(Path(path)), difference)


def output_specs(raw: Any) -> Mapping[str, Any]:
    """Return the specs of the outputs of `raw_function`'s function by name."""
    return raw.get_concrete_function().structured_outputs


def write_signatures(
    folder: Path, signatures: Mapping[str, Callable], assets: Sequence[Path] = (), weights: Sequence[Any] = ()
) -> None:
    """Write `tf.function`s as the signatures of a SavedModel, with the variables `weights` that they read.

    They are attributes of the loaded model, too, as in Keras. The files `assets` are copied to its folder `assets`.
    """
    import tensorflow as tf

    module = tf.Module()
    module.weights = list(weights)
    for name in signatures.keys() - {DEFAULT}:
        setattr(module, name, signatures[name])
    module.files = [tf.saved_model.Asset(str(path)) for path in assets]
    tf.saved_model.save(module, str(folder), signatures=dict(signatures))


def _signatures(model: keras.Model, normalized: Any, nms: bool, inputs: str) -> dict[str, Callable]:
    """Return the signatures of a model of normalized images; `inputs` is the type of those that take a batch."""
    raw = guarded(function_of(normalized, inputs))
    if not detects(model):
        return {"serve": raw, "raw": raw, DEFAULT: raw}
    if not nms:
        decoded = decoding_function(model, raw)
        return {"decoded": decoded, "raw": raw, DEFAULT: decoded}
    serve = detection_function(model, raw)
    inner = serve if inputs == "float32" else detection_function(model, guarded(normalized))
    others = {"serve_image": image_function(inner), "serve_bytes": bytes_function(inner)}
    return {"serve": serve, "raw": raw, DEFAULT: serve} | others
