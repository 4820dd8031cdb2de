"""Report progress to the caller, who may show it in a terminal."""

from __future__ import annotations

from collections.abc import Callable, Iterable

Track = Callable[[Iterable, int, str], Iterable]  # (items, total, title) -> the items


def untracked(items: Iterable, total: int, title: str) -> Iterable:
    """Return the items without showing progress."""
    return items
