"""What a detector's SavedModel serves: from tensors, images or files to detections, in TensorFlow's own operations."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras

from spinenet_tf.data.dataset import MAX_PIXELS
from spinenet_tf.detection.anchors import anchors, concatenate
from spinenet_tf.detection.boxes import decode
from spinenet_tf.export.signatures import INPUT, image_shape, nest
from spinenet_tf.retinanet import RetinaNet


def detection_function(model: RetinaNet, raw: Any) -> Any:
    """Return a `tf.function` from the input of `raw` to what the model's `predict` gives.

    It calls `raw`, as all functions of this file do in the end, so that the weights are stored once.
    """
    import tensorflow as tf

    @tf.function(input_signature=raw.input_signature, autograph=False)
    def serve(images):
        return model.detect(images, nest(raw(images)))

    return serve


def decoding_function(model: RetinaNet, raw: Any) -> Any:
    """Return a `tf.function` from the input of `raw` to every anchor's box, not clipped, and scores, without NMS.

    Boxes are `[B, N, 4]` yxyx in pixels of the input, scores `[B, N, num_classes]`.
    """
    import tensorflow as tf

    height, width, _ = image_shape(model)
    # As in `detections`: of a model that counts so, boxes end in their last pixel, not behind it.
    ends = [0.0, 0.0, *(2 * [float(model.decoding_spec.plus_one)])]

    @tf.function(input_signature=raw.input_signature, autograph=False)
    def decoded(images):
        class_logits, box_deltas = model.flatten(nest(raw(images)))
        all_anchors = concatenate(anchors(height, width, model.anchor_spec)) + ends
        return {"boxes": decode(box_deltas, all_anchors) - ends, "scores": keras.ops.sigmoid(class_logits)}

    return decoded


def image_function(serve: Any) -> Any:
    """Return a `tf.function` from `images` `[B, h, w, 3]` uint8 RGB to detections, boxes in pixels of these images."""
    import tensorflow as tf

    shape = serve.input_signature[0].shape

    @tf.function(input_signature=[tf.TensorSpec((shape[0], None, None, 3), tf.uint8, name=INPUT)], autograph=False)
    def serve_image(images):
        return _in_images(serve, lambda image: image, images)

    return serve_image


def bytes_function(serve: Any) -> Any:
    """Return a `tf.function` from `images` `[B]`, encoded JPEG or PNG of any sizes, to detections.

    Boxes are in pixels of each image as it is stored: a turn in its EXIF data is not made. An image of more than
    `MAX_PIXELS` is an InvalidArgumentError before it is decoded, as is one that does not decode.
    """
    import tensorflow as tf

    def decode_image(encoded):
        _check_pixels(encoded)
        # It decodes PNG too, and by this method gives the pixels that Pillow gives.
        image = tf.io.decode_jpeg(encoded, channels=3, dct_method="INTEGER_ACCURATE")
        return tf.ensure_shape(image, (None, None, 3))

    shape = serve.input_signature[0].shape

    @tf.function(input_signature=[tf.TensorSpec(shape[:1], tf.string, name=INPUT)], autograph=False)
    def serve_bytes(images):
        return _in_images(serve, decode_image, images)

    return serve_bytes


def _check_pixels(encoded: Any) -> None:
    """Read the header of an encoded JPEG or PNG: TensorFlow's decoders have no limit of size."""
    import tensorflow as tf

    header = tf.strings.join([tf.strings.substr(encoded, 0, 24), tf.constant(bytes(24))])  # where a file ends before
    size = tf.cond(
        tf.strings.substr(header, 0, 8) == b"\x89PNG\r\n\x1a\n",
        lambda: tf.io.decode_raw(tf.strings.substr(header, 16, 8), tf.int32, little_endian=False),
        lambda: tf.image.extract_jpeg_shape(encoded)[:2],
    )
    pixels = tf.reduce_prod(tf.cast(size, tf.int64))
    tf.debugging.assert_less_equal(pixels, tf.constant(MAX_PIXELS, tf.int64), "The image has too many pixels")
    tf.debugging.assert_positive(tf.reduce_min(size), "The image has no pixels")


def _in_images(serve: Any, read: Callable, images: Any) -> dict[str, Any]:
    """Detect in what `read` makes of each of `images`, and return boxes in its pixels, clipped to it."""
    import tensorflow as tf

    from spinenet_tf.data.images import preprocess

    _, height, width, _ = serve.input_signature[0].shape

    def fit(item):
        image = read(item)
        return *preprocess(image, height, width), tf.cast(tf.shape(image)[:2], tf.float32)

    specs = (tf.TensorSpec((height, width, 3)), tf.TensorSpec(()), tf.TensorSpec((2,)))
    pixels, scales, sizes = tf.map_fn(fit, images, fn_output_signature=specs)
    found = serve(tf.ensure_shape(pixels, serve.input_signature[0].shape))
    limits = tf.tile(sizes, (1, 2))[:, None]
    return found | {"boxes": tf.minimum(found["boxes"] / scales[:, None, None], limits)}
