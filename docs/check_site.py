"""Check the built site, as a hook of MkDocs: in a strict build, each warning fails.

Every public name has a docstring and is on a page, and no page loads anything from another server.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import griffe

_LOADED = re.compile(r"<(?:script|img|iframe|source|link)\b[^>]*?\b(?:src|href)=[\"']?((?:https?:)?//[^\"'\s>]+)[^>]*>")
_OF_KERAS = re.compile(r"on_\w+|get_config|from_config|update_step|build|call")  # documented by Keras
_JOINED = re.compile(r"^(?!- )\S.*\n- ", re.MULTILINE)
_log = logging.getLogger("mkdocs.hooks.check_site")


def on_post_build(config: Any) -> None:
    """Warn about each problem of the site that was written."""
    pages = {path: path.read_text(encoding="utf-8") for path in Path(config.site_dir).rglob("*.html")}
    for problem in [*_loaded_from_outside(pages), *_undocumented("".join(pages.values()))]:
        _log.warning(problem)


def _loaded_from_outside(pages: dict[Path, str]) -> Iterator[str]:
    """Yield each script, style, font and image of another server; a canonical link loads nothing."""
    for path, text in pages.items():
        for found in _LOADED.finditer(text):
            if 'rel="canonical"' not in found[0]:
                yield f"{path.name} loads {found[1]}"


def _undocumented(text: str) -> Iterator[str]:
    """Yield each public name, also of the public modules, that is on no page or has no docstring."""
    where = {"search_paths": ["build/docs/package"], "try_relative_path": False}
    package = griffe.load("spinenet_tf", resolve_aliases=True, **where)
    names = [*package.exports]
    while names:
        member = package[name := str(names.pop())]
        if member.is_module:
            names += [f"{name}.{own}" for own in member.exports or []]
        elif f'id="spinenet_tf.{name}"' not in text:
            yield f"spinenet_tf.{name} is on no page of docs/api"
        yield from _faults(f"spinenet_tf.{name}", member)


def _faults(path: str, member: Any) -> Iterator[str]:
    """Yield the faults of a docstring, and of those of a class's methods."""
    if not member.has_docstring:
        yield f"{path} has no docstring"
    elif _JOINED.search(member.docstring.value):
        yield f"{path} has a list without a blank line before it, which would be joined to the paragraph"
    if member.is_class:
        for name, method in member.members.items():
            if method.is_function and not name.startswith("_") and not _OF_KERAS.fullmatch(name):
                yield from _faults(f"{path}.{name}", method)
