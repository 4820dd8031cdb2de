"""Folders that appear complete or not at all."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """Yield an empty folder that becomes `path` when the block ends, and vanishes if it fails.

    Raises:
        FileExistsError: there is something at `path`.
    """
    if path.exists():
        raise FileExistsError(f"{path} exists; delete it or choose another folder.")
    path.parent.mkdir(parents=True, exist_ok=True)
    workplace = Path(tempfile.mkdtemp(prefix=f".{path.name}-", dir=path.parent))
    try:
        yield workplace
        workplace.chmod(0o755)  # mkdtemp keeps everyone else out
        os.replace(workplace, path)
    finally:
        shutil.rmtree(workplace, ignore_errors=True)
