"""The sizes of the levels of a pyramid."""

from __future__ import annotations


def level_size(size, level: int):
    """Return the side of a map at `level` for an image side of `size` px: ceil(size / 2^level), as SAME convs make it.

    `size` is an int, a scalar tensor, or None for an unknown side.
    """
    return None if size is None else (size + 2**level - 1) // 2**level
