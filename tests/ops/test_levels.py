"""The size of each level equals that of strided SAME convs."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from spinenet_tf.ops.levels import level_size


def _size(side: int, level: int) -> int:
    """Halve `level` times, rounding up, as SAME convs do."""
    for _ in range(level):
        side = (side + 1) // 2
    return side


@given(st.integers(1, 5000), st.integers(0, 7))
def test_a_level_halves_and_rounds_up_as_convs_do(side, level):
    assert level_size(side, level) == _size(side, level)


def test_an_unknown_side_stays_unknown():
    assert level_size(None, 3) is None
