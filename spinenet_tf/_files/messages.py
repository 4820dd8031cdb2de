"""What messages say of many things: a few of them, and how many there are."""

from __future__ import annotations

from collections.abc import Callable, Iterable

SHOWN = 10
_LONGEST = 300  # characters of one


def some_of(things: Iterable[object], separator: str = ", ", form: Callable[[object], str] = str) -> str:
    """Return the first ten as text, each by `form`, and how many more there are."""
    names = [form(thing) for thing in things]
    shown = [name if len(name) <= _LONGEST else f"{name[: _LONGEST - 3]}..." for name in names[:SHOWN]]
    return separator.join(shown) + (f" and {len(names) - SHOWN} more" if len(names) > SHOWN else "")
