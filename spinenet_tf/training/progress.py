"""Show the progress of an evaluation behind Keras's progress bar, on the same line."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator
from typing import Any

import keras

from spinenet_tf._files.progress import Track, untracked

INTERVAL = 0.1  # seconds between updates


def after_the_bar(verbose: str | int) -> Track:
    """Return a function that counts items behind Keras's progress bar, and removes the count at the end.

    `verbose` is that of `fit`: there is no bar for 0 and 2. Nothing is shown either where a line cannot change: in a
    file, or if Keras's interactive logging is off.
    """
    shows = verbose in (1, "auto") and keras.config.is_interactive_logging_enabled() and _line_can_change()
    return _counted if shows else untracked


def _line_can_change() -> bool:
    """Return whether standard output is a terminal or a notebook."""
    return sys.stdout.isatty() or "ipykernel" in sys.modules


def _counted(items: Iterable[Any], total: int, title: str) -> Iterator[Any]:
    shown, last = "", 0.0
    try:
        for number, item in enumerate(items, start=1):
            yield item
            if time.monotonic() - last >= INTERVAL:
                shown, last = _replace(shown, f" - {title.lower()}: {number}/{total}"), time.monotonic()
    finally:
        _replace(shown, "")


def _replace(old: str, new: str) -> str:
    """Write `new` over `old` at the end of the line and return it. Backspaces move the cursor in notebooks too."""
    rest = " " * (len(old) - len(new))
    sys.stdout.write("\b" * len(old) + new + rest + "\b" * len(rest))
    sys.stdout.flush()
    return new
