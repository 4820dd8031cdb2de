"""Decode 16-bit PNG files with TensorFlow operations, as `data.deep_png` does in Python."""

from __future__ import annotations

from typing import Any

from spinenet_tf.data.deep_png import DEPTHS, HEADER, SIGNATURE
from spinenet_tf.export.serving.chunks import bytes_at, png_chunk

_FULL = 16  # bits
_COLOR = (2, 6)  # color types RGB and RGBA


def is_deep(encoded: Any) -> Any:
    """Return whether a file is a PNG with 16 bits per channel."""
    import tensorflow as tf

    head = bytes_at(encoded, 0, HEADER)
    return tf.reduce_all(head[: len(SIGNATURE)] == list(SIGNATURE)) & (head[HEADER - 2] == _FULL)


def decode_deep(encoded: Any) -> Any:
    """Decode a PNG with 16 bits per channel to `[h, w, 3]` uint8 without alpha: see `data.deep_png.read_deep`."""
    import tensorflow as tf

    color = bytes_at(encoded, HEADER - 1, 1)[0] == _COLOR
    return tf.cond(tf.reduce_any(color), lambda: _decode(encoded, 3), lambda: _decode(encoded, 1))


def _decode(encoded: Any, channels: int) -> Any:
    import tensorflow as tf

    samples = tf.io.decode_png(encoded, channels=channels, dtype=tf.uint16)
    largest = tf.cast(tf.reduce_max(samples), tf.int32)
    used = tf.reduce_min([tf.where(largest < 2**bits, bits, _FULL) for bits in DEPTHS])
    declared = _declared_bits(encoded, channels)
    bits = tf.where(declared > 0, declared, used)
    # Use 8 bits to save memory; a cast to uint8 keeps the low bits.
    mask = tf.cast(tf.bitwise.left_shift(1, _FULL - bits) - 1, tf.uint8)
    low = tf.bitwise.bitwise_and(tf.cast(samples, tf.uint8), mask)
    unscaled = (largest < tf.bitwise.left_shift(1, bits)) & tf.reduce_any(low > tf.constant(1, tf.uint8))
    shift = tf.cast(tf.where(unscaled, bits, _FULL) - 8, tf.uint16)
    image = tf.cast(tf.bitwise.right_shift(samples, shift), tf.uint8)
    return tf.tile(image, (1, 1, 3 // channels))


def _declared_bits(encoded: Any, channels: int) -> Any:
    """Return the significant bits in the chunk sBIT, an int32 scalar from 8 to 16; 0 if it has none."""
    import tensorflow as tf

    part = png_chunk(encoded, b"sBIT", until=b"IDAT")
    told = tf.cast(bytes_at(encoded, part.start, channels), tf.int32)
    sound = (part.start >= 0) & tf.reduce_all((told >= 1) & (told <= _FULL))
    return tf.where(sound, tf.maximum(tf.reduce_max(told), 8), 0)
