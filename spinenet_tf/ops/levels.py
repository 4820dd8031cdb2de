"""Sizes of the levels of a feature pyramid."""

from __future__ import annotations


def level_size(size, level: int):
    """Return the side of a map at `level` for an image side of `size` px: ceil(size / 2^level), as with SAME convs.

    `size` is an int, a scalar tensor, or None if unknown.
    """
    return None if size is None else (size + 2**level - 1) // 2**level
