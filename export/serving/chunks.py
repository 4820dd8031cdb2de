"""Where parts of JPEG and PNG files lie, found in TensorFlow's own operations: no file makes them fail or run on."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from spinenet_tf.data.deep_png import MAX_CHUNKS, SIGNATURE

_EXIF, _STANDALONE, _SCAN = 0xE1, (0x01, *range(0xD0, 0xDA)), 0xDA  # second bytes of markers
_TAIL = 2**16  # bytes at the end of a PNG


class Part(NamedTuple):
    """The bytes from `start` up to `end` of a file, scalars int64; `start` is -1 where there is no such part."""

    start: Any
    end: Any


def bytes_at(encoded: Any, position: Any, count: int) -> Any:
    """Return `[count]` int64: the bytes of a string tensor from a position, and zeros behind its end."""
    import tensorflow as tf

    position = tf.clip_by_value(tf.cast(position, tf.int64), 0, _size(encoded))
    found = tf.strings.substr(encoded, position, tf.constant(count, tf.int64))
    return tf.cast(tf.ensure_shape(tf.io.decode_raw(found, tf.uint8, fixed_length=count), (count,)), tf.int64)


def number(digits: Any, low_first: Any = False) -> Any:
    """Return the numbers `[...]` int64 that bytes `[..., n]` stand for."""
    import tensorflow as tf

    weights = [256**place for place in range(digits.shape[-1])]
    weights = tf.where(low_first, tf.constant(weights, tf.int64), tf.constant(weights[::-1], tf.int64))
    return tf.reduce_sum(digits * weights, axis=-1)


def is_png(encoded: Any) -> Any:
    """Return whether a file begins as a PNG."""
    return _equal(bytes_at(encoded, 0, len(SIGNATURE)), SIGNATURE)


def png_chunk(encoded: Any, name: bytes, prefix: bytes = b"", until: bytes = b"IEND") -> Part:
    """Return what follows a prefix in the first chunk of a name in a PNG that begins so, of the first `MAX_CHUNKS`.

    None is found behind a chunk named `until`.
    """
    import tensorflow as tf

    def look(position: Any) -> tuple[Any, Part]:
        head = bytes_at(encoded, position, 8 + len(prefix))
        start, length = position + 8, number(head[:4])
        behind = tf.where(_equal(head[4:8], until), _size(encoded), start + length + 4)  # 4: a checksum
        return behind, Part(tf.where(_equal(head[4:], name + prefix), start + len(prefix), -1), start + length)

    return _walk(encoded, len(SIGNATURE), look)


def png_part(encoded: Any, name: bytes, prefix: bytes = b"") -> Part:
    """Return what `png_chunk` does; behind the first pixels it looks only if the end of the file mentions the name."""
    import tensorflow as tf

    front = png_chunk(encoded, name, prefix, until=b"IDAT")
    end = tf.strings.substr(encoded, tf.maximum(_size(encoded) - _TAIL, 0), tf.constant(_TAIL, tf.int64))
    word = "".join(f"\\x{byte:02x}" for byte in name + prefix)
    mentioned = tf.strings.regex_full_match(end, rf"(?s)\C*{word}\C*")
    return tf.cond((front.start < 0) & mentioned, lambda: png_chunk(encoded, name, prefix), lambda: front)


def jpeg_segment(encoded: Any, prefix: bytes) -> Part:
    """Return what follows a prefix in the first segment APP1 of a JPEG that begins so, of the first `MAX_CHUNKS`."""
    import tensorflow as tf

    def look(position: Any) -> tuple[Any, Part]:
        head = bytes_at(encoded, position, 4 + len(prefix))
        end = position + 2 + tf.maximum(number(head[2:4]), 2)
        filling = (head[0] != 0xFF) | (head[1] == 0xFF)  # what stands between segments is passed over
        standalone = tf.reduce_any(head[1] == tf.constant((0, *_STANDALONE), tf.int64))
        behind = tf.where(filling, position + 1, tf.where(standalone, position + 2, end))
        behind = tf.where(~filling & (head[1] == _SCAN), _size(encoded), behind)
        found = ~filling & (head[1] == _EXIF) & _equal(head[4:], prefix)
        return behind, Part(tf.where(found, position + 4 + len(prefix), -1), end)

    return _walk(encoded, 2, look)


def _walk(encoded: Any, first: int, look: Callable[[Any], tuple[Any, Part]]) -> Part:
    """Look at one part after the other until one is found; `look` gives the next one's position, too."""
    import tensorflow as tf

    def goes_on(step: Any, position: Any, part: Part) -> Any:
        return (step < MAX_CHUNKS) & (position < _size(encoded)) & (part.start < 0)

    def step_on(step: Any, position: Any, part: Part) -> tuple[Any, Any, Part]:
        position, part = look(position)
        return step + 1, position, part

    none = Part(tf.constant(-1, tf.int64), tf.constant(0, tf.int64))
    state = tf.while_loop(goes_on, step_on, (0, tf.constant(first, tf.int64), none), parallel_iterations=1)
    return Part(state[2].start, tf.minimum(state[2].end, _size(encoded)))


def _size(encoded: Any) -> Any:
    import tensorflow as tf

    return tf.cast(tf.strings.length(encoded), tf.int64)


def _equal(found: Any, expected: bytes) -> Any:
    import tensorflow as tf

    return tf.reduce_all(found == tf.constant(list(expected), tf.int64))
