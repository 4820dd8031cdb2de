"""Reject inputs that would crash a served model, use up the memory, or produce NaN."""

from __future__ import annotations

from typing import Any

from spinenet_tf.inference.checks import LARGEST

_PNG = b"\x89PNG\r\n\x1a\n"
_PNG_SIZES = 16  # offset of width and height in the header, four bytes each, big-endian


def guarded(raw: Any) -> Any:
    """Return a `tf.function` like `raw` that rejects the same inputs as `check_images`.

    TensorFlow does not compare an input's shape with the signature, and a conv on a tensor of another rank aborts the
    process.
    """
    import tensorflow as tf

    @tf.function(input_signature=raw.input_signature, autograph=False)
    def checked(images):
        images = nonempty(images, raw.input_signature[0].shape)
        if not images.dtype.is_floating:
            return raw(images)
        sizes = tf.abs(images)
        usable = tf.reduce_all(sizes <= LARGEST)  # False for NaN
        message = f"Pixels must be finite, with a magnitude of at most {LARGEST:g}."
        return raw(_asserted(usable, message, tf.reduce_max(sizes), images))

    return checked


def nonempty(images: Any, shape: Any) -> Any:
    """Return a tensor after checks that it has the static `shape` and is not empty."""
    import tensorflow as tf

    images = tf.ensure_shape(images, shape)
    return _asserted(tf.size(images) > 0, "There are no images, or they have no pixels.", tf.shape(images), images)


def decode_capped(encoded: Any) -> Any:
    """Decode a JPEG or PNG, a string tensor, to `[h, w, 3]` uint8 if its header declares at most `MAX_PIXELS`.

    The header is read first, so that a small file that declares billions of pixels costs nothing. The image is turned
    upright, and 16-bit channels keep the upper 8 of the bits in use, as in `data.images.read_image`.
    """
    import tensorflow as tf

    from spinenet_tf.data.dataset import MAX_PIXELS
    from spinenet_tf.export.serving.exif import orientation, upright
    from spinenet_tf.export.serving.png16 import decode_deep, is_deep

    size = _claimed_size(encoded)
    pixels = tf.reduce_prod(tf.cast(size, tf.float64))
    fits = (pixels > 0) & (pixels <= MAX_PIXELS)
    encoded = _asserted(fits, f"An image must have 1 to {MAX_PIXELS:,} pixels.", size, encoded)
    # `decode_jpeg` decodes PNG too; with this DCT method, its pixels equal Pillow's.
    image = tf.cond(
        is_deep(encoded),
        lambda: decode_deep(encoded),
        lambda: tf.io.decode_jpeg(encoded, channels=3, dct_method="INTEGER_ACCURATE"),
    )
    return upright(tf.ensure_shape(image, (None, None, 3)), orientation(encoded))


def _claimed_size(encoded: Any) -> Any:
    """Return the two sides `[2]` int64 in a file's header; other formats than PNG and JPEG fail as a JPEG."""
    import tensorflow as tf

    head = tf.io.decode_raw(encoded, tf.uint8, fixed_length=_PNG_SIZES + 8)  # zero-padded for shorter files
    digits = tf.cast(tf.reshape(head[_PNG_SIZES:], (2, 4)), tf.int64)
    return tf.cond(
        tf.reduce_all(head[: len(_PNG)] == tf.constant(list(_PNG), tf.uint8)),
        lambda: tf.reduce_sum(digits * tf.constant([256**3, 256**2, 256, 1], tf.int64), axis=1),
        lambda: tf.io.extract_jpeg_shape(encoded, tf.int64)[:2],
    )


def _asserted(condition: Any, message: str, received: Any, value: Any) -> Any:
    """Return a tensor whose computation fails unless the condition holds."""
    import tensorflow as tf

    with tf.control_dependencies([tf.debugging.Assert(condition, [message, "Received:", received])]):
        return tf.identity(value)
