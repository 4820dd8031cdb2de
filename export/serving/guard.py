"""What a served model refuses before it computes: inputs that end the process, take all memory or give no number."""

from __future__ import annotations

from typing import Any

from spinenet_tf.inference.checks import LARGEST

_PNG = b"\x89PNG\r\n\x1a\n"
_PNG_SIZES = 16  # where its header has width and height, four bytes each, the highest first


def guarded(raw: Any) -> Any:
    """Return a `tf.function` as `raw`, that refuses what `check_images` does.

    TensorFlow does not compare an input's shape with its signature, and a conv on a tensor of another rank aborts the
    whole process.
    """
    import tensorflow as tf

    @tf.function(input_signature=raw.input_signature, autograph=False)
    def checked(images):
        images = nonempty(images, raw.input_signature[0].shape)
        sizes = tf.abs(images)
        usable = tf.reduce_all(sizes <= LARGEST)  # of NaN, this is False
        message = f"Images are finite, and at most {LARGEST:g} in size."
        return raw(_provided(usable, message, tf.reduce_max(sizes), images))

    return checked


def nonempty(images: Any, shape: Any) -> Any:
    """Return a tensor that has the static `shape`, and none of whose sides is zero; else what runs it fails."""
    import tensorflow as tf

    images = tf.ensure_shape(images, shape)
    return _provided(tf.size(images) > 0, "There are no images, or they have no pixels.", tf.shape(images), images)


def decode_capped(encoded: Any) -> Any:
    """Decode one JPEG or PNG, a string tensor, to `[h, w, 3]` uint8 if its header claims at most `MAX_PIXELS`.

    The header is read first, so that a small file that claims billions of pixels costs nothing. The image is upright,
    and of 16-bit channels the upper 8 of the bits in use are kept, as `data.images.read_image` has it.
    """
    import tensorflow as tf

    from spinenet_tf.data.dataset import MAX_PIXELS
    from spinenet_tf.export.serving.exif import orientation, upright
    from spinenet_tf.export.serving.png16 import decode_deep, is_deep

    size = _claimed_size(encoded)
    pixels = tf.reduce_prod(tf.cast(size, tf.float64))
    fits = (pixels > 0) & (pixels <= MAX_PIXELS)
    encoded = _provided(fits, f"An image has at most {MAX_PIXELS:,} pixels, and some.", size, encoded)
    # It decodes PNG too, and by this method gives the pixels that Pillow gives.
    image = tf.cond(
        is_deep(encoded),
        lambda: decode_deep(encoded),
        lambda: tf.io.decode_jpeg(encoded, channels=3, dct_method="INTEGER_ACCURATE"),
    )
    return upright(tf.ensure_shape(image, (None, None, 3)), orientation(encoded))


def _claimed_size(encoded: Any) -> Any:
    """Return the two sides `[2]` int64 that a file's header gives; what is neither PNG nor JPEG fails as a JPEG."""
    import tensorflow as tf

    head = tf.io.decode_raw(encoded, tf.uint8, fixed_length=_PNG_SIZES + 8)  # of a shorter file, zeros follow
    digits = tf.cast(tf.reshape(head[_PNG_SIZES:], (2, 4)), tf.int64)
    return tf.cond(
        tf.reduce_all(head[: len(_PNG)] == tf.constant(list(_PNG), tf.uint8)),
        lambda: tf.reduce_sum(digits * tf.constant([256**3, 256**2, 256, 1], tf.int64), axis=1),
        lambda: tf.io.extract_jpeg_shape(encoded, tf.int64)[:2],
    )


def _provided(condition: Any, message: str, received: Any, value: Any) -> Any:
    """Return a tensor that exists only where a condition holds."""
    import tensorflow as tf

    with tf.control_dependencies([tf.debugging.Assert(condition, [message, "Received:", received])]):
        return tf.identity(value)
