"""Run one side of a comparison in a separate process, with its own memory and its own state of Keras.

Model Garden runs on Keras 2 and this package on Keras 3; both keep global state. The processes alternate: one waits
idle on a pipe while the other is measured.
"""

from __future__ import annotations

import os
import re
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from multiprocessing import get_context
from pathlib import Path
from typing import Any

LIMIT = 600  # seconds that an answer may take
HOME = Path("build/benchmarks")  # the exported files, and the output of all processes
LOG = HOME / "log.txt"
BUSY = "BENCHMARKS_BUSY"  # if set, measure CPU time, for a machine that other programs use
THEIRS = ("tensorflow", "official.vision.tasks.retinanet")
OURS = ("tensorflow", "spinenet_tf")
LITERT = ("ai_edge_litert.interpreter",)
_STATUS, _RESET = Path("/proc/self/status"), Path("/proc/self/clear_refs")


class ContenderError(RuntimeError):
    """Preparation or a turn of a contender failed, or its process has ended."""


@dataclass(frozen=True)
class Fresh:
    """A turn that needs a new input each time; only `run` is timed."""

    make: Callable[[], Any]
    run: Callable[[Any], Any]


class Contender:
    """A process with named turns, each of which can be timed.

    `prepare(*arguments)` runs in the process and returns the turns: functions without arguments, or `Fresh` ones.
    `libraries` are imported first and count in neither time nor memory. `cores` limits the number of cores.

    Raises:
        ContenderError: from every method, if the process fails.
    """

    def __init__(
        self,
        prepare: Callable[..., Mapping[str, Callable | Fresh]],
        *arguments: Any,
        libraries: tuple[str, ...] = (),
        cores: int | None = None,
    ):
        HOME.mkdir(parents=True, exist_ok=True)
        context = get_context("spawn")
        self._pipe, theirs = context.Pipe()
        target = partial(_serve, theirs, prepare, arguments, libraries, cores)
        self._process = context.Process(target=target, daemon=True)
        self._process.start()
        theirs.close()

    def ready(self) -> None:
        """Wait until `prepare` has returned."""
        self._answer()

    def time(self, name: str) -> float:
        """Run a turn and return its time in seconds."""
        return self._ask("time", name)

    def value(self, name: str) -> Any:
        """Run a turn and return its result."""
        return self._ask("value", name)

    def memory(self) -> int | None:
        """Return the largest growth of its resident memory in bytes since the libraries were imported.

        None on systems other than Linux, which do not report it.
        """
        return self._ask("memory", None)

    def turn(self, name: str) -> Callable[[], float]:
        """Return a function that times a turn, for `measuring.alternate`."""
        return partial(self.time, name)

    def close(self) -> None:
        """End the process."""
        self._pipe.close()
        self._process.terminate()
        self._process.join()

    def _ask(self, kind: str, name: str | None) -> Any:
        try:
            self._pipe.send((kind, name))
        except (BrokenPipeError, OSError) as error:
            raise ContenderError(f"The process has ended, exit code {self._process.exitcode}.") from error
        return self._answer()

    def _answer(self) -> Any:
        if not self._pipe.poll(LIMIT):
            raise ContenderError(f"No answer for {LIMIT} s.")
        try:
            failed, answer = self._pipe.recv()
        except EOFError as error:
            self._process.join(5)
            raise ContenderError(f"The process ended with exit code {self._process.exitcode}.") from error
        if failed:
            raise ContenderError(answer)
        return answer


@contextmanager
def contest(**contenders: Callable[[], Contender]) -> Iterator[dict[str, Contender]]:
    """Start contenders, prepare them in parallel, and always stop all of them."""
    with ExitStack() as stack:
        started = {}
        for name, start in contenders.items():
            started[name] = start()
            stack.callback(started[name].close)
        for name, contender in started.items():
            try:
                contender.ready()
            except ContenderError as error:
                raise ContenderError(f"{name}: {error}") from error
        yield started


def sides(theirs: Callable, ours: Callable, *arguments: Any, cores: int | None = None):
    """Return the contest of "theirs" and "ours", functions that prepare turns from the same arguments."""
    return contest(
        theirs=partial(Contender, theirs, *arguments, libraries=THEIRS, cores=cores),
        ours=partial(Contender, ours, *arguments, libraries=OURS, cores=cores),
    )


def _serve(pipe, prepare, arguments, libraries, cores) -> None:
    """Answer the requests of `Contender` until the pipe is closed."""
    try:
        _redirect()
        _hold_to(cores)
        for library in libraries:
            import_module(library)
        before = _baseline()
        turns = prepare(*arguments)
        pipe.send((False, None))
    except BaseException as error:
        _report(pipe, error)
        return
    while True:
        try:
            kind, name = pipe.recv()
        except EOFError:
            return
        try:
            pipe.send((False, _memory(before) if kind == "memory" else _take(turns[name], kind)))
        except Exception as error:
            _report(pipe, error)


def _take(turn: Callable | Fresh, kind: str) -> Any:
    run = partial(turn.run, turn.make()) if isinstance(turn, Fresh) else turn
    clock = time.process_time if os.environ.get(BUSY) else time.perf_counter
    start = clock()
    value = run()
    return clock() - start if kind == "time" else value


def _report(pipe, error: BaseException) -> None:
    traceback.print_exc()
    first = (str(error).strip() or "no message").splitlines()[0]
    pipe.send((True, f"{type(error).__name__}: {first}"))


def _redirect() -> None:
    """Redirect the output of the process to the log."""
    target = os.open(LOG, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    for stream in (1, 2):
        os.dup2(target, stream)
    os.close(target)


def _hold_to(cores: int | None) -> None:
    if cores is not None:
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:cores])


def _baseline() -> int | None:
    try:
        _RESET.write_text("5")
    except OSError:
        return None
    return _resident("VmRSS")


def _memory(before: int | None) -> int | None:
    return None if before is None else max(0, _resident("VmHWM") - before)


def _resident(field: str) -> int:
    found = re.search(rf"{field}:\s+(\d+) kB", _STATUS.read_text())
    return 1024 * int(found[1]) if found else 0
