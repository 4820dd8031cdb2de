"""Permutations as Lehmer digits, whose ranges do not depend on each other: every choice of digits is a permutation."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from math import factorial, prod


def from_digits(digits: Sequence[int], items: Sequence[int]) -> list[int]:
    """Return the items in the order that the digits state: each is the index of the next item among those left."""
    left = list(items)
    return [left.pop(digit) for digit in digits]


def to_digits(order: Sequence[int], items: Sequence[int]) -> list[int]:
    """Return digits from which `from_digits` makes this order; of equal items, the first that is left is meant.

    Raises:
        ValueError: `order` has other items than `items`.
    """
    if Counter(order) != Counter(items):
        raise ValueError(f"{sorted(order)} must be the items {sorted(items)}. Received: order={list(order)}")
    left, digits = list(items), []
    for item in order:
        digits.append(left.index(item))
        del left[digits[-1]]
    return digits


def count_orders(items: Sequence[int]) -> int:
    """Return the number of distinct orders of items, some of which may be equal."""
    return factorial(len(items)) // prod(factorial(count) for count in Counter(items).values())
