"""The functions of a detector's SavedModel: from tensors, images or files to detections, with TensorFlow operations."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from spinenet_tf.export.serving.guard import decode_capped, nonempty
from spinenet_tf.export.serving.mask_crops import masks_within
from spinenet_tf.heads.detector import DetectionModel
from spinenet_tf.inference.keras_model import image_shape
from spinenet_tf.inference.naming import INPUT, nest


def detection_function(model: DetectionModel, raw: Any) -> Any:
    """Return a `tf.function` from the input of `raw` to the results of the model's `predict`.

    All functions of this module call `raw`, so that the weights are stored once.
    """
    import tensorflow as tf

    @tf.function(input_signature=raw.input_signature, autograph=False)
    def serve(images):
        return model.detect(images, nest(raw(images)))

    return serve


def decoding_function(model: DetectionModel, raw: Any) -> Any:
    """Return a `tf.function` from the input of `raw` to the clipped boxes and scores of all candidates, without NMS.

    Boxes are `[B, N, 4]` yxyx in pixels of the input, scores `[B, N, num_classes]`: see `Decoding.candidates`.
    """
    import tensorflow as tf

    @tf.function(input_signature=raw.input_signature, autograph=False)
    def every_candidate(images):
        boxes, scores = model.decoding.candidates(nest(raw(images)), model.options, image_shape(model)[:2])
        return {"boxes": boxes, "scores": scores}

    return every_candidate


def image_function(serve: Any) -> Any:
    """Return a `tf.function` from `images` `[B, h, w, 3]` uint8 RGB to detections, boxes in pixels of these images."""
    import tensorflow as tf

    shape = serve.input_signature[0].shape

    @tf.function(input_signature=[tf.TensorSpec((shape[0], None, None, 3), tf.uint8, name=INPUT)], autograph=False)
    def serve_image(images):
        return _in_images(serve, lambda image: image, nonempty(images, (shape[0], None, None, 3)))

    return serve_image


def bytes_function(serve: Any) -> Any:
    """Return a `tf.function` from `images` `[B]`, encoded JPEG or PNG of any size, to detections.

    Boxes are in pixels of the upright image: the EXIF orientation is applied, as in `predict`, and damaged EXIF data is
    ignored. The call fails before decoding for other formats, and for files that declare more pixels than
    `data.dataset.MAX_PIXELS`.
    """
    import tensorflow as tf

    shape = serve.input_signature[0].shape

    @tf.function(input_signature=[tf.TensorSpec(shape[:1], tf.string, name=INPUT)], autograph=False)
    def serve_bytes(images):
        return _in_images(serve, decode_capped, nonempty(images, shape[:1]))

    return serve_bytes


def _in_images(serve: Any, read: Callable, images: Any) -> dict[str, Any]:
    """Detect in `read(image)` for each of `images`; return boxes in pixels of that image, clipped to it."""
    import tensorflow as tf

    from spinenet_tf.data.fitting import preprocess

    _, height, width, _ = serve.input_signature[0].shape

    def fit(item):
        image = read(item)
        return *preprocess(image, height, width), tf.cast(tf.shape(image)[:2], tf.float32)

    specs = (tf.TensorSpec((height, width, 3)), tf.TensorSpec(()), tf.TensorSpec((2,)))
    pixels, scales, sizes = tf.map_fn(fit, images, fn_output_signature=specs)
    found = serve(tf.ensure_shape(pixels, serve.input_signature[0].shape))
    limits = tf.tile(sizes, (1, 2))[:, None]
    whole = found["boxes"] / scales[:, None, None]
    boxes = tf.minimum(whole, limits)
    masks = {"masks": masks_within(found["masks"], whole, boxes)} if "masks" in found else {}
    return found | {"boxes": boxes} | masks
