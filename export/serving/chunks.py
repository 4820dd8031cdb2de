"""Find parts of JPEG and PNG files with TensorFlow operations, which no malformed file makes fail or loop."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from spinenet_tf.data.deep_png import MAX_CHUNKS, SIGNATURE

_EXIF, _STANDALONE, _SCAN = 0xE1, (0x01, *range(0xD0, 0xDA)), 0xDA  # second bytes of markers
_TAIL = 2**16  # bytes at the end of a PNG


class Part(NamedTuple):
    """The bytes from `start` up to `end` of a file, int64 scalars; `start` is -1 if there is no such part."""

    start: Any
    end: Any


def bytes_at(encoded: Any, position: Any, count: int) -> Any:
    """Return `[count]` int64: the bytes of a string tensor from a position, padded with zeros at its end."""
    import tensorflow as tf

    position = tf.clip_by_value(tf.cast(position, tf.int64), 0, _size(encoded))
    found = tf.strings.substr(encoded, position, tf.constant(count, tf.int64))
    return tf.cast(tf.ensure_shape(tf.io.decode_raw(found, tf.uint8, fixed_length=count), (count,)), tf.int64)


def number(digits: Any, low_first: Any = False) -> Any:
    """Decode bytes `[..., n]` to integers `[...]` int64, big-endian unless `low_first`."""
    import tensorflow as tf

    weights = [256**place for place in range(digits.shape[-1])]
    weights = tf.where(low_first, tf.constant(weights, tf.int64), tf.constant(weights[::-1], tf.int64))
    return tf.reduce_sum(digits * weights, axis=-1)


def is_png(encoded: Any) -> Any:
    """Return whether a file has the PNG signature."""
    return _equal(bytes_at(encoded, 0, len(SIGNATURE)), SIGNATURE)


def png_chunk(encoded: Any, name: bytes, prefix: bytes = b"", until: bytes = b"IEND") -> Part:
    """Return the data after a prefix in the first chunk of a PNG with this name and prefix.

    The search ends after `MAX_CHUNKS` chunks or at a chunk named `until`.
    """
    import tensorflow as tf

    def look(position: Any) -> tuple[Any, Part]:
        head = bytes_at(encoded, position, 8 + len(prefix))
        start, length = position + 8, number(head[:4])
        behind = tf.where(_equal(head[4:8], until), _size(encoded), start + length + 4)  # 4: checksum
        return behind, Part(tf.where(_equal(head[4:], name + prefix), start + len(prefix), -1), start + length)

    return _walk(encoded, len(SIGNATURE), look)


def png_part(encoded: Any, name: bytes, prefix: bytes = b"") -> Part:
    """Find a chunk as `png_chunk` does; search after the first pixel data only if the end of the file has the name."""
    import tensorflow as tf

    front = png_chunk(encoded, name, prefix, until=b"IDAT")
    end = tf.strings.substr(encoded, tf.maximum(_size(encoded) - _TAIL, 0), tf.constant(_TAIL, tf.int64))
    word = "".join(f"\\x{byte:02x}" for byte in name + prefix)
    mentioned = tf.strings.regex_full_match(end, rf"(?s)\C*{word}\C*")
    return tf.cond((front.start < 0) & mentioned, lambda: png_chunk(encoded, name, prefix), lambda: front)


def jpeg_segment(encoded: Any, prefix: bytes) -> Part:
    """Return the data after a prefix in the first APP1 segment of a JPEG with this prefix, among `MAX_CHUNKS` parts."""
    import tensorflow as tf

    def look(position: Any) -> tuple[Any, Part]:
        head = bytes_at(encoded, position, 4 + len(prefix))
        end = position + 2 + tf.maximum(number(head[2:4]), 2)
        filling = (head[0] != 0xFF) | (head[1] == 0xFF)  # skip bytes between segments
        standalone = tf.reduce_any(head[1] == tf.constant((0, *_STANDALONE), tf.int64))
        behind = tf.where(filling, position + 1, tf.where(standalone, position + 2, end))
        behind = tf.where(~filling & (head[1] == _SCAN), _size(encoded), behind)
        found = ~filling & (head[1] == _EXIF) & _equal(head[4:], prefix)
        return behind, Part(tf.where(found, position + 4 + len(prefix), -1), end)

    return _walk(encoded, 2, look)


def _walk(encoded: Any, first: int, look: Callable[[Any], tuple[Any, Part]]) -> Part:
    """Walk over the parts of a file until `look` finds one; it returns the position of the next part, too."""
    import tensorflow as tf

    def is_searching(step: Any, position: Any, part: Part) -> Any:
        return (step < MAX_CHUNKS) & (position < _size(encoded)) & (part.start < 0)

    def next_part(step: Any, position: Any, part: Part) -> tuple[Any, Any, Part]:
        position, part = look(position)
        return step + 1, position, part

    none = Part(tf.constant(-1, tf.int64), tf.constant(0, tf.int64))
    state = tf.while_loop(is_searching, next_part, (0, tf.constant(first, tf.int64), none), parallel_iterations=1)
    return Part(state[2].start, tf.minimum(state[2].end, _size(encoded)))


def _size(encoded: Any) -> Any:
    import tensorflow as tf

    return tf.cast(tf.strings.length(encoded), tf.int64)


def _equal(found: Any, expected: bytes) -> Any:
    import tensorflow as tf

    return tf.reduce_all(found == tf.constant(list(expected), tf.int64))
