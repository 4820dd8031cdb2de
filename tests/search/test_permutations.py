"""Lehmer digits are a numbering of all permutations."""

from __future__ import annotations

from itertools import permutations, product

import pytest

from spinenet_tf.search.permutations import count_orders, from_digits, to_digits


def test_all_digits_are_all_permutations():
    orders = [tuple(from_digits(digits, (3, 4, 5, 6))) for digits in product(range(4), range(3), range(2), range(1))]
    assert sorted(orders) == sorted(permutations((3, 4, 5, 6)))


def test_digits_of_an_order_make_it_again_also_with_equal_items():
    items = (2, 3, 3, 4)
    orders = set(permutations(items))
    assert len(orders) == count_orders(items) == 12
    assert all(tuple(from_digits(to_digits(order, items), items)) == order for order in orders)


def test_other_items_are_refused():
    with pytest.raises(ValueError, match=r"must be the items \[2, 3, 3\]. Received: order=\[2, 2, 3\]"):
        to_digits([2, 2, 3], [2, 3, 3])
