"""SavedModel: the form that TensorFlow loads and serves with no other package."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np

from spinenet_tf.export.artifact import size_of, staged
from spinenet_tf.export.metadata import EXTRA, describe
from spinenet_tf.export.signatures import detect_function, nest, raw_function, task_of
from spinenet_tf.export.verify import Report, check

DEFAULT = "serving_default"  # the signature that TensorFlow's own tools take


def saved_model(
    model: keras.Model,
    path: str | os.PathLike,
    class_names: Sequence[str] | None = None,
    batch_size: int | None = 1,
    overwrite: bool = False,
) -> Report:
    """Write a SavedModel with named signatures on normalised `images` `[batch_size, H, W, 3]` float32; None: any batch.

    `raw` gives the raw maps, `class_logits_P3`, ..., `logits` or `P3`, ... A detector also has `detect`, which is its
    `serving_default`: boxes `[B, M, 4]` yxyx in pixels of the input, scores, classes (-1 = padding), num_detections.
    For other models that is `raw`. `metadata.json` and `labels.txt` lie in the folder `assets.extra`. The weights are
    constants: the artifact can be served, not trained. It is compared with the model before it appears.

    Raises:
        ValueError: the model cannot be exported (see `signatures.image_shape`), or class names that do not fit.
        FileExistsError: `path` exists and `overwrite` is False, or it is a folder but no SavedModel.
        ExportError: the artifact differs from the model; nothing was written.
    """
    with staged(path, overwrite) as folder:
        raw = raw_function(model, batch_size)
        metadata = describe(model, output_specs(raw), batch_size, class_names=class_names)
        signatures = {"raw": raw, DEFAULT: raw}
        if task_of(model) == "detection":
            detect = detect_function(model, raw)
            signatures |= {"detect": detect, DEFAULT: detect}
        write_signatures(folder, signatures)
        (folder / EXTRA).mkdir()
        metadata.write(folder / EXTRA)
        difference, _ = check(model, _Runner(folder, batch_size))
    return Report(Path(path), size_of(Path(path)), difference)


def output_specs(raw: Any) -> Mapping[str, Any]:
    """Return the outputs of `raw_function`'s function by name, each with its shape."""
    return raw.get_concrete_function().structured_outputs


def write_signatures(folder: Path, signatures: Mapping[str, Callable]) -> None:
    """Write `tf.function`s as the signatures of a SavedModel."""
    import tensorflow as tf

    tf.saved_model.save(tf.Module(), str(folder), signatures=dict(signatures))


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
