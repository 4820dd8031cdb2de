"""The worker processes of one machine: start them, replace those that are killed, and stop them."""

from __future__ import annotations

import os
import signal
import sys
import threading
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from multiprocessing import get_context, parent_process
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from spinenet_tf._fast.pools import share_one_pool
from spinenet_tf.search.worker import SearchError, work

_SPAWN = get_context("spawn")  # TensorFlow does not survive a fork
_PATIENCE = 60  # seconds to save a training's state
_STREAMS = (1, 2)  # standard output and error


@dataclass
class _Place:
    """A process, and how often it was killed."""

    process: BaseProcess
    answer: Connection
    kills: int = 0

    def error(self) -> str | None:
        """Return the error that ended the process, if it was one."""
        try:
            return self.answer.recv() if self.answer.poll() else None
        except EOFError:  # it was killed, or its answer was read before
            return None


@dataclass
class Workers:
    """The processes of a search on this machine; each gets `arguments` of `worker.work`."""

    count: int
    folder: Path  # of their logs
    arguments: tuple[Any, ...]
    options: dict[str, Any] = field(default_factory=dict)
    max_kills: int = 5  # of one worker, before it is given up
    _places: list[_Place] = field(default_factory=list)
    _started: int = 0

    def start(self) -> None:
        """Start all processes; they share the cores."""
        self._places = [self._start() for _ in range(self.count)]

    def run_on(self) -> bool:
        """Replace processes that were killed or handed over, and return whether any runs.

        Raises:
            SearchError: a worker raised an error, or was killed too often.
        """
        for index, place in enumerate(self._places):
            if place.process.is_alive():
                continue
            code = place.process.exitcode
            if (message := place.error()) is not None:
                raise SearchError(f"A worker ended: {message} Its log is in {self.folder}.")
            if code == HANDED_OVER:
                self._places[index] = self._start(place.kills)
            elif code:
                if place.kills >= self.max_kills:
                    raise SearchError(f"A worker was killed {place.kills + 1} times, the last time with code {code}.")
                self._places[index] = self._start(place.kills + 1)
        return any(place.process.is_alive() for place in self._places)

    def stop(self) -> None:
        """Ask the processes to save their trainings and to queue their trials again; kill those that do not end."""
        for place in self._places:
            place.process.terminate()
        for place in self._places:
            place.process.join(_PATIENCE)
            place.process.kill()
            place.process.join()

    def _start(self, kills: int = 0) -> _Place:
        answer, sender = _SPAWN.Pipe(duplex=False)
        self._started += 1
        log = self.folder / f"worker-{os.getpid()}-{self._started}.log"
        process = _SPAWN.Process(
            target=_run, args=(sender, self.arguments, self.options), name=f"search-{self._started}"
        )
        with _shared_cores(self.count), _output_in(log):
            process.start()
        sender.close()
        return _Place(process, answer, kills)


HANDED_OVER = 3  # the exit code of a process that made room for a new one


def _run(answer: Connection, arguments: tuple[Any, ...], options: dict[str, Any]) -> None:
    """Run `work` in a new process."""
    share_one_pool()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all processes of a terminal; the parent decides
    signal.signal(signal.SIGTERM, _interrupt)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    error: str | None = None
    is_done = False
    try:
        is_done = work(*arguments, **options)
    except KeyboardInterrupt:
        is_done = True
    except Exception as caught:
        traceback.print_exc()
        error, is_done = f"{type(caught).__name__}: {caught}", True
    with suppress(OSError):  # the parent was killed
        answer.send(error)
    answer.close()
    sys.exit(0 if is_done else HANDED_OVER)


@contextmanager
def _output_in(log: Path) -> Iterator[None]:
    """Let processes that are started in this context write into a file; they print before they run own code."""
    log.parent.mkdir(parents=True, exist_ok=True)
    kept = {stream: os.dup(stream) for stream in _STREAMS}
    try:
        with log.open("ab") as file:
            for stream in _STREAMS:
                os.dup2(file.fileno(), stream)
        yield
    finally:
        for stream, copy in kept.items():
            os.dup2(copy, stream)
            os.close(copy)


def _interrupt(number: int, frame: Any) -> None:
    raise KeyboardInterrupt(f"Stopped by {signal.Signals(number).name}.")


def _end_with_parent() -> None:
    """Stop as after SIGTERM when the parent has ended, even by SIGKILL."""
    parent = parent_process()
    if parent is not None:
        parent.join()
        os.kill(os.getpid(), signal.SIGTERM)


@contextmanager
def _shared_cores(count: int) -> Iterator[None]:
    """Let processes that are started in this context use an equal part of the cores, and GPUs only as they need."""
    threads = str(max(1, (os.cpu_count() or 1) // count))
    names = ("TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS", "OMP_NUM_THREADS")
    values = dict.fromkeys(names, threads) | {"TF_FORCE_GPU_ALLOW_GROWTH": "true"}
    before = {name: os.environ.get(name) for name in values}
    os.environ.update({name: value for name, value in values.items() if before[name] is None})
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
