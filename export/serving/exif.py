"""Read and apply the EXIF orientation of an encoded image with TensorFlow operations.

As in Pillow and in `data.images.read_image`, the orientation is read from the EXIF data of a JPEG or a PNG's chunk
eXIf, otherwise from XMP.
"""

from __future__ import annotations

from typing import Any

from spinenet_tf.data.orientation import TURNS, UPRIGHT
from spinenet_tf.export.serving.chunks import Part, bytes_at, is_png, jpeg_segment, number, png_part

MAX_TAGS = 500  # of a directory that are read; cameras write about twenty
_EXIF, _XMP, _PNG_XMP = b"Exif\0\0", b"http://ns.adobe.com/xap/1.0/\0", b"XML:com.adobe.xmp\0\0"
_TIFF = (b"II*\0", b"MM\0*", b"II\0*", b"MM*\0")  # the last two are invalid, but Pillow accepts them
_ORIENTATION = 0x0112
_TYPE_SIZES = (0, 1, 1, 2, 4, 8, 1, 1, 2, 4, 8, 4, 8, 4, 0, 0, 8, 0)  # bytes per value, by type; 0 for an unknown type
_INTEGERS = {3: 2, 4: 4, 6: 1, 8: 2, 9: 4, 13: 4}  # integer types and their bytes
_NONE = -1


def orientation(encoded: Any) -> Any:
    """Return the orientation of an encoded JPEG or PNG, an int64 scalar; `UPRIGHT` if it is damaged or missing."""
    import tensorflow as tf

    png = is_png(encoded)
    exif = tf.cond(png, lambda: png_part(encoded, b"eXIf"), lambda: jpeg_segment(encoded, _EXIF))
    told = _of_tiff(encoded, exif)

    def of_xmp() -> Any:
        xmp = tf.cond(png, lambda: png_part(encoded, b"iTXt", _PNG_XMP), lambda: jpeg_segment(encoded, _XMP))
        return _of_xmp(encoded, xmp)

    told = tf.cond(told == _NONE, of_xmp, lambda: told)
    return tf.where((told >= min(TURNS)) & (told <= max(TURNS)), told, UPRIGHT)


def _of_tiff(encoded: Any, part: Part) -> Any:
    """Return the orientation in EXIF data, an int64 scalar; `_NONE` if the part is missing or has no orientation."""
    import tensorflow as tf

    again = tf.reduce_all(bytes_at(encoded, part.start, len(_EXIF)) == list(_EXIF))
    part = part._replace(start=part.start + tf.where(again, tf.constant(len(_EXIF), tf.int64), 0))
    head = bytes_at(encoded, part.start, 8)
    low_first = head[0] == _TIFF[0][0]
    known = tf.reduce_any(tf.reduce_all(head[:4] == [list(magic) for magic in _TIFF], axis=1))
    told = _of_directory(encoded, part, number(head[4:], low_first), low_first)
    return tf.where(part.start >= 0, tf.where(known, told, UPRIGHT), _NONE)


def _of_directory(encoded: Any, part: Part, offset: Any, low_first: Any) -> Any:
    """Return the orientation in the EXIF directory at an offset, an int64 scalar; `_NONE` if it is missing.

    A directory is read up to the first tag whose values would lie beyond the end.
    """
    import tensorflow as tf

    start, length = part.start + offset, part.end - part.start
    places = tf.range(MAX_TAGS, dtype=tf.int64)
    tags = tf.reshape(bytes_at(encoded, start + 2, 12 * MAX_TAGS), (MAX_TAGS, 12))
    names, kinds, counts, values = (number(tags[:, i:j], low_first) for i, j in ((0, 2), (2, 4), (4, 8), (8, 12)))
    whole = (places < number(bytes_at(encoded, start, 2), low_first)) & (offset + 2 + 12 * (places + 1) <= length)
    sizes = counts * tf.gather(tf.constant(_TYPE_SIZES, tf.int64), tf.minimum(kinds, len(_TYPE_SIZES) - 1))
    apart = tf.where(whole & (sizes > 4), sizes, 0)
    # Pillow skips values that are larger than the whole EXIF data.
    lost = (apart > 0) & (values + apart > length) & (tf.cumsum(apart) <= length)
    readable = tf.cumsum(tf.cast(lost, tf.int32)) == 0
    usable = whole & readable & (names == _ORIENTATION) & (sizes > 0) & (apart <= length)
    first = tf.argmax(usable)
    place = tf.where(apart[first] > 0, part.start + values[first], start + 2 + 12 * first + 8)
    return tf.where(tf.reduce_any(usable), _integer(bytes_at(encoded, place, 4), kinds[first], low_first), _NONE)


def _integer(digits: Any, kind: Any, low_first: Any) -> Any:
    """Return the first value of a tag, an int64 scalar; `UPRIGHT` if its type is not an integer type."""
    import tensorflow as tf

    value = tf.constant(UPRIGHT, tf.int64)
    for known, size in _INTEGERS.items():
        value = tf.where(kind == known, number(digits[:size], low_first), value)
    return value


def _of_xmp(encoded: Any, part: Part) -> Any:
    """Return the digit after the tag's name in XMP, an int64 scalar, or `_NONE`."""
    import tensorflow as tf

    text = tf.strings.substr(encoded, tf.maximum(part.start, 0), tf.maximum(part.end - part.start, 0))
    found = tf.strings.regex_replace(text, r'(?s)^\C*?tiff:Orientation(?:="|>)([0-9])\C*$', r"\1")
    digit = bytes_at(found, 0, 1)[0] - ord("0")
    return tf.where((part.start >= 0) & (tf.strings.length(found) == 1), digit, _NONE)


def upright(image: Any, orientation: Any) -> Any:
    """Return stored pixels `[h, w, 3]` as the upright image `[H, W, 3]`: see `data.orientation`."""
    import tensorflow as tf

    rows, columns, swap = (
        tf.reduce_any(orientation == [key for key, turn in TURNS.items() if turn[step]]) for step in range(3)
    )
    image = tf.cond(rows, lambda: tf.reverse(image, [0]), lambda: image)
    image = tf.cond(columns, lambda: tf.reverse(image, [1]), lambda: image)
    return tf.cond(swap, lambda: tf.transpose(image, (1, 0, 2)), lambda: image)
