"""Format messages about long lists and unknown names."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable

SHOWN = 10
_LONGEST = 300  # characters of one item


def some_of(things: Iterable[object], separator: str = ", ", show: Callable[[object], str] = str) -> str:
    """Join the first `SHOWN` items, each converted by `show`, and say how many more there are."""
    names = [show(thing) for thing in things]
    shown = [name if len(name) <= _LONGEST else f"{name[: _LONGEST - 3]}..." for name in names[:SHOWN]]
    return separator.join(shown) + (f" and {len(names) - SHOWN} more" if len(names) > SHOWN else "")


def unknown(what: str, names: list[str], valid: Iterable[str]) -> str:
    """Return a message with the unknown names, the valid names, and the closest match."""
    near = difflib.get_close_matches(names[0], valid, n=1)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    return f"Unknown {what} {', '.join(map(repr, names))}.{hint} Valid: {', '.join(valid)}."
