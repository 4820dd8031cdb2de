"""How far a long measurement is: shown by the one who asked for it."""

from __future__ import annotations

from collections.abc import Callable, Iterable

Track = Callable[[Iterable, int, str], Iterable]  # of items, their number and a title: yields the items


def untracked(items: Iterable, total: int, title: str) -> Iterable:
    """Return the items: nobody is shown how far they are."""
    return items
