"""SavedModel: the format that TensorFlow loads and serves with no other package."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np

from spinenet_tf._files.size import size_of
from spinenet_tf.export.artifact import staged
from spinenet_tf.export.check.verify import Artifact, check
from spinenet_tf.export.description import describe
from spinenet_tf.export.rewrites.folding import fold_batch_norms
from spinenet_tf.export.rewrites.subtracting import subtract_convs
from spinenet_tf.export.serving.functions import bytes_function, decoding_function, detection_function, image_function
from spinenet_tf.export.serving.guard import guarded
from spinenet_tf.export.signatures import raw_function
from spinenet_tf.inference.keras_model import task_of
from spinenet_tf.inference.naming import DEFAULT, nest

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
    """Write a SavedModel with named signatures, each of one input `images`, that plain TensorFlow loads and runs.

    A detector has, without `nms` only the last two:
    - `serve`: from `[B, H, W, 3]` float32, normalized, to boxes `[B, M, 4]` yxyx in pixels of the input, scores,
      classes (-1 = padding) `[B, M]` and num_detections `[B]`; it is also `serving_default`
    - `serve_image`: from `[B, h, w, 3]` uint8 RGB of any size to the same, boxes in pixels of these images
    - `serve_bytes`: from `[B]` strings, each a JPEG or PNG, to the same, boxes in pixels of each image, which is
      turned upright as its EXIF data ask
    - `raw`: from what `serve` takes to the maps `[B, row, column, channel]` of the head, each under its name and its
      level; the metadata tell what is in them
    - `decoded`, only without `nms`, and then `serving_default`: to boxes `[B, N, 4]`, clipped to the input, and
      scores `[B, N, num_classes]` of each place where the head may find an object
    Another model has `serve`, which is also `raw` and `serving_default`, to `logits` or to `P3`, ... `B` is
    `batch_size`; None: any.

    A signature fails, and does no harm to the process, where its input has another shape, no image, values that are
    not finite or beyond `checks.LARGEST`, or is a file that does not decode or claims too many pixels. Threads may
    share one model that was loaded.

    BN is folded into the convs, so the artifact can be served, not trained, and is faster than a `tf.function` of the
    trained model: 1.8 times for SpineNet-Mobile-49XS at 128 px on two x86 cores, less the larger the convs are. The
    weights are constants of the graph, of which TensorFlow keeps some 15 copies. With `variables`, the large ones are
    in the folder `variables` and in memory once: SpineNet-49's backbone at 640 px loads and runs in 0.27 GB in place of
    1.65, and loads in a third of the time, but takes 5 % longer for an image, since oneDNN prepares constants only
    once. TensorFlow's own variable TF_ONEDNN_ASSUME_FROZEN_WEIGHTS=1 has it do so with variables too.

    The folder `assets` has `metadata.json`, `labels.txt` (class names) and `config.json` (the model's Keras config).
    The artifact is compared with the model before it appears. `center` is that of `tflite`.

    Raises:
        ValueError: the model cannot be exported (see `keras_model.image_shape`), has no NMS to leave out, or class
            names that do not fit.
        FileExistsError: `path` exists and `overwrite` is False, or it is a folder but no SavedModel.
        ExportError: the artifact differs from the model; nothing was written.
    """
    if not nms and task_of(model) != "detection":
        raise ValueError(f"Only a detector has NMS to leave out. Received: nms=False, model={type(model).__name__}")
    with staged(path, overwrite) as folder:
        raw = raw_function(model, batch_size, rewrites=(fold_batch_norms, subtract_convs), variables=variables)
        metadata = describe(model, output_specs(raw), batch_size, class_names=class_names, center=center)
        with tempfile.TemporaryDirectory() as assets:
            metadata.write(Path(assets))
            config = json.dumps(keras.saving.serialize_keras_object(model), indent=2)
            Path(assets, CONFIG).write_text(config, encoding="utf-8")
            signatures, weights = _signatures(model, guarded(raw), nms), raw.get_concrete_function().variables
            write_signatures(folder, signatures, sorted(Path(assets).iterdir()), weights)
        difference, _ = check(model, _Runner(folder, batch_size))
    return Artifact(Path(path), size_of(Path(path)), difference)


def output_specs(raw: Any) -> Mapping[str, Any]:
    """Return the outputs of `raw_function`'s function by name, each with its shape."""
    return raw.get_concrete_function().structured_outputs


def write_signatures(
    folder: Path, signatures: Mapping[str, Callable], assets: Sequence[Path] = (), weights: Sequence[Any] = ()
) -> None:
    """Write functions of TensorFlow as the signatures of a SavedModel, with the variables that they read.

    Copies of the files `assets` are in its folder of that name.
    """
    import tensorflow as tf

    module = tf.Module()
    module.weights = list(weights)
    module.files = [tf.saved_model.Asset(str(path)) for path in assets]
    tf.saved_model.save(module, str(folder), signatures=dict(signatures))


def _signatures(model: keras.Model, raw: Any, nms: bool) -> dict[str, Callable]:
    if task_of(model) != "detection":
        return {"serve": raw, "raw": raw, DEFAULT: raw}
    if not nms:
        decoded = decoding_function(model, raw)
        return {"decoded": decoded, "raw": raw, DEFAULT: decoded}
    serve = detection_function(model, raw)
    others = {"serve_image": image_function(serve), "serve_bytes": bytes_function(serve)}
    return {"serve": serve, "raw": raw, DEFAULT: serve} | others


class _Runner:
    """Runs the signature `raw` of a SavedModel."""

    def __init__(self, folder: Path, batch_size: int | None):
        import tensorflow as tf

        self._raw = tf.saved_model.load(str(folder)).signatures["raw"]
        self._batch_size = batch_size or 1

    def raw(self, image: np.ndarray) -> Any:
        """Return the raw outputs for one image `[1, H, W, 3]`, repeated to the signature's batch."""
        import tensorflow as tf

        outputs = self._raw(images=tf.constant(np.repeat(image, self._batch_size, axis=0)))
        return nest({name: x.numpy()[:1] for name, x in outputs.items()})
