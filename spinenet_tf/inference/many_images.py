"""Run a model on many images: read, run and convert them in threads, and drop those that cannot be read."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from queue import SimpleQueue
from typing import Any, Generic, TypeVar

import numpy as np

from spinenet_tf.data.dataset import ImageError
from spinenet_tf.inference.artifacts import SAVED_MODEL
from spinenet_tf.inference.loading import RUN, find_engine, load
from spinenet_tf.inference.predictor import Predictor

MAX_WORKERS = 8  # threads; each has a copy of a file's network
Converted = TypeVar("Converted")


@dataclass(frozen=True)
class Item:
    """An image with a name, and a function that reads it: see `images.as_pixels`."""

    name: str
    read: Callable[[], np.ndarray]


@dataclass(frozen=True)
class Answer(Generic[Converted]):
    """What came out for an image: the converted result, or an error if the image cannot be read."""

    name: str
    result: Converted | None = None
    error: ImageError | None = None


def load_workers(path: Path) -> list[Predictor]:
    """Load a model for `run_items`: a predictor per thread, which is one and the same if TensorFlow runs it.

    TensorFlow spreads a batch over all cores. Other engines do so less well than one network per core; there is one
    more, because threads wait for Python's lock.

    Raises as `loading.load` does.
    """
    cores = min(MAX_WORKERS, len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1)
    if find_engine(path) in (RUN, SAVED_MODEL):
        return [load(path)] * max(2, cores)
    return [load(path, threads=1) for _ in range(cores + 1)]


def run_items(
    predictors: Sequence[Predictor], items: Iterable[Item], convert: Callable[[str, Any], Converted]
) -> Iterator[list[Answer[Converted]]]:
    """Yield the answers of each batch of images, in order; few batches are in memory at a time.

    `convert(name, result)` makes what to keep of a result, whose image takes memory. It runs in the threads, too.
    There are as many threads as `predictors`; one that threads may share occurs several times.
    """
    free: SimpleQueue[Predictor] = SimpleQueue()
    for predictor in predictors:
        free.put(predictor)
    pending: deque[Future] = deque()
    with ThreadPoolExecutor(len(predictors)) as pool:
        try:
            for batch in _batches(items, predictors[0].batch_size):
                pending.append(pool.submit(_run, free, batch, convert))
                if len(pending) > 2 * len(predictors):
                    yield pending.popleft().result()
            while pending:
                yield pending.popleft().result()
        finally:
            for future in pending:
                future.cancel()


def _run(free: SimpleQueue, items: Sequence[Item], convert: Callable[[str, Any], Any]) -> list[Answer]:
    pixels, errors = {}, {}
    for number, item in enumerate(items):
        try:
            pixels[number] = item.read()
        except ImageError as error:
            errors[number] = error
    predictor = free.get()
    try:
        found = dict(zip(pixels, predictor(list(pixels.values())), strict=True))
    finally:
        free.put(predictor)
    return [
        Answer(item.name, error=errors[number])
        if number in errors
        else Answer(item.name, convert(item.name, found[number]))
        for number, item in enumerate(items)
    ]


def _batches(items: Iterable[Item], size: int) -> Iterator[list[Item]]:
    items = iter(items)
    while batch := list(islice(items, size)):
        yield batch
