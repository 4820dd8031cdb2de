"""Searches whose trainings are a formula. Other processes import this file."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import optuna

from spinenet_tf.search.config import SearchConfig, read_search_config
from spinenet_tf.search.space import fingerprint
from spinenet_tf.search.stores import Store, open_store
from spinenet_tf.search.study import open_study

PROXY = {
    "model": {
        "name": "r23_sp30",
        "image_size": [64, 64],
        "overrides": {"width": 0.25, "endpoint": 8},
        "head": {"head_width": 8, "head_depth": 1},
    },
    "data": {kind: {"digits": "unread", "scenes": 4, "classes": 1} for kind in ("train", "val")},
    "batch_size": 2,
    "epochs": 2,
    "class_names": ["digit"],  # so that nothing reads the data
}


def config(**values: Any) -> SearchConfig:
    """Return a search in a small space."""
    small = {"space": "r23_sp30", "sampler": "random", "proxy": PROXY, "trials": 4}
    return read_search_config(small | values)


def new_study(folder: Path, searched: SearchConfig, where: str | None = None) -> tuple[Store, optuna.Study, str]:
    """Create the study of a search in a journal, or in the storage `where`."""
    where = where or str(folder / "study.journal")
    store = open_store(where, searched.name, retries=searched.retries, heartbeat=searched.heartbeat)
    return store, open_study(store, searched, resume=True, where=where), where


def score(proxy, spec, folder: Path, *, seed: int, callbacks=()) -> float:
    """Return a number in 0..1 that only equal graphs share."""
    return int(fingerprint(spec)[:8], 16) / 2**32


def slow_score(proxy, spec, folder: Path, *, seed: int, callbacks=()) -> float:
    """Return the score after two seconds, and leave a file with the process's id until then."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    mark = folder.parent / f"{os.getpid()}.pid"
    mark.touch()
    time.sleep(2)
    mark.unlink()
    return score(proxy, spec, folder, seed=seed)


def fails(proxy, spec, folder: Path, *, seed: int, callbacks=()) -> float:
    """Fail as a training does."""
    raise OSError("no space left")
