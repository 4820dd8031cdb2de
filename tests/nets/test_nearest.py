"""The picked pixels are exact, and the operations of all engines pick the same."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from spinenet_tf.nets.nearest import MAX_INPUTS, nearest, pick, resize_is_exact, scaled
from spinenet_tf.ops.levels import level_size

SIDES = st.integers(1, 300)


@given(SIDES, SIDES)
def test_nearest_pixels_are_exact(source, target):
    expected = [int(Fraction(2 * i + 1, 2) * source // target) for i in range(target)]
    assert nearest(np.arange(target), source, target).tolist() == expected


@given(st.tuples(*[st.integers(1, 40)] * 2), st.tuples(*[st.integers(1, 80)] * 2), st.sampled_from([nearest, scaled]))
def test_concatenation_picks_the_pixels_of_the_rule_at_any_size(source, size, rule):
    (height, width), (rows, columns) = source, size
    x = np.arange(height * width, dtype="float32").reshape(1, height, width, 1)
    expected = x[:, rule(np.arange(rows), height, rows)][:, :, rule(np.arange(columns), width, columns)]
    np.testing.assert_array_equal(pick(x, size, rule, "concat"), expected)


def test_concatenation_drops_what_doubling_has_too_much(monkeypatch):
    """0 0 1 1 2 2 becomes 0 0 1 2 2, by two slices."""
    from keras import ops

    slices, inputs = [], []
    cut, concatenate = ops.slice, ops.concatenate
    monkeypatch.setattr(ops, "slice", lambda x, *given: slices.append(given) or cut(x, *given))
    monkeypatch.setattr(ops, "concatenate", lambda x, axis: inputs.append(len(x)) or concatenate(x, axis))
    x = np.arange(3, dtype="float32").reshape(1, 3, 1, 1) * np.ones((1, 1, 3, 1), "float32")
    assert np.array(pick(x, (5, 6), nearest, "concat"))[0, :, 0, 0].tolist() == [0, 0, 1, 2, 2]
    assert len(slices) == 2
    pick(np.zeros((1, 3, 3, 1), "float32"), (70, 96), nearest, "concat")
    assert max(inputs) == MAX_INPUTS


# A map and the finer one that it is resampled to, of any graph, by the side of the image.
SIZES = {
    side: {
        (level_size(side, parent_level), level_size(side, level))
        for parent_level in range(2, 8)
        for level in range(1, parent_level)
    }
    for side in range(32, 1921)
}


def test_one_resize_is_exact_at_all_multiples_of_32_and_most_other_sides():
    exact = [side for side, pairs in SIZES.items() if all(resize_is_exact(*pair) for pair in pairs)]
    assert set(range(32, 1921, 32)) <= set(exact)
    assert len(exact) > 0.7 * len(SIZES)
