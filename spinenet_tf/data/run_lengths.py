"""Decode COCO's compressed run lengths.

A number has 5 bits per character, the lowest first, with a sign; from the fourth number on, it is the difference from
the number two places before.
"""

from __future__ import annotations

import numpy as np

_FIRST = 48  # the character that stands for 0
_LONGEST = 7  # characters of a number: 35 bits, so that no sum overflows


def decompressed(text: bytes) -> np.ndarray:
    """Return the numbers `[R]` int64 of compressed text.

    Raises:
        ValueError: the text is not in this format.
    """
    codes = np.frombuffer(text, np.uint8).astype(np.int64) - _FIRST
    if not len(codes):
        return codes
    ends = np.flatnonzero(codes & 32 == 0)  # this bit says that the number continues
    starts = np.concatenate([[0], ends[:-1] + 1])
    if codes.min() < 0 or codes.max() > 63 or not len(ends) or ends[-1] != len(codes) - 1:
        raise ValueError("The text is not compressed run lengths.")
    lengths = ends - starts + 1
    if lengths.max() > _LONGEST:
        raise ValueError(f"A run length has more than {_LONGEST} characters.")
    places = np.arange(len(codes)) - np.repeat(starts, lengths)
    numbers = np.add.reduceat((codes & 31) << 5 * places, starts)
    numbers -= np.where(codes[ends] & 16, 1 << 5 * lengths, 0)
    for first in (1, 2):
        numbers[first::2] = np.cumsum(numbers[first::2])
    return numbers
