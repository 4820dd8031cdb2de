"""Compare speed and memory with TF Model Garden, and write benchmarks/results.json and results.md.

    python -m benchmarks                        # everything, about half an hour on two idle cores
    python -m benchmarks --quick                # a subset, five minutes
    python -m benchmarks --only training        # a group or a part, also --only "end to end"; results are merged
    python -m benchmarks --list

Parts are independent. If one fails, the others still run, and the exit status is 1.
"""

from __future__ import annotations

import argparse
import logging
import os
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
os.environ["KERAS_BACKEND"] = "tensorflow"

from benchmarks import (
    assignment,
    end_to_end,
    evaluation,
    inference,
    input_pipeline,
    instance_segmentation,
    peak,
    plots,
    postprocessing,
    scaling,
    startup,
    training,
)
from benchmarks.contender import BUSY
from benchmarks.measuring import Effort
from benchmarks.results import Results
from benchmarks.work import Part, Settings

WORKS = (
    *(startup, inference, end_to_end, training, instance_segmentation),
    *(postprocessing, assignment, input_pipeline, evaluation, scaling),
)
RESULTS = Path("benchmarks/results.json")
QUICK = Effort(seconds=2.0, least=3, most=20)


def main() -> int:
    """Measure the selected parts and return the exit status."""
    arguments = _parser().parse_args()
    parts = [part for work in WORKS for part in work.parts(arguments.quick) if _is_wanted(part, arguments.only)]
    if arguments.list or not parts:
        print(
            "\n".join(part.name for part in parts)
            or f"No part has a name that begins with this. Received: --only {arguments.only}"
        )
        return 0 if parts else 2
    results = Results(arguments.results)
    effort = QUICK if arguments.quick else Effort()
    if arguments.seconds is not None:
        effort = replace(effort, seconds=arguments.seconds, least=arguments.least)
    if arguments.busy:
        os.environ[BUSY] = "1"
    began = time.perf_counter()
    peaks = peak.measure(effort)
    _describe(results, peaks)
    settings = Settings(effort, peaks, arguments.quick)
    failed = [part.name for number, part in enumerate(parts) if not _carry_out(part, settings, results, number, parts)]
    if arguments.plots:
        plots.draw(results.rows, arguments.plots)
    print(f"{len(parts) - len(failed)} of {len(parts)} parts in {time.perf_counter() - began:.0f} s; {results.path}")
    return 1 if failed else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--only", action="append", default=[], help="parts whose name begins with this; may be repeated"
    )
    parser.add_argument("--quick", action="store_true", help="a subset, with fewer rounds")
    parser.add_argument("--list", action="store_true", help="list the parts and exit")
    parser.add_argument(
        "--results", type=Path, default=RESULTS, help="the JSON file to update, with a .md file beside it"
    )
    parser.add_argument("--plots", type=Path, help="folder for the scaling plots")
    parser.add_argument("--busy", action="store_true", help="measure CPU time, for a machine that other programs use")
    parser.add_argument("--seconds", type=float, help="start no new round of a comparison after this many seconds")
    parser.add_argument("--least", type=int, default=5, help="with --seconds: minimum number of rounds of a comparison")
    return parser


def _is_wanted(part: Part, only: list[str]) -> bool:
    return not only or any(part.name.startswith(name) for name in only)


def _describe(results: Results, peaks: list[peak.Peak]) -> None:
    rates = {f"{x.title}, {x.engine}": f"{2e-9 * x.rate:.0f}" for x in peaks}
    load = os.getloadavg()[0]
    machine = {**peak.describe(), "load when it began": round(load, 1), "matmul, GFLOP/s": rates}
    clock = "processor time" if os.environ.get(BUSY) else "elapsed time"
    results.measure_on(machine | {"commit": _commit(), "clock": clock})
    results.write()
    print(f"matmul, GFLOP/s: {rates}; load {load:.1f}", flush=True)


def _commit() -> str:
    found = subprocess.run(["git", "describe", "--always", "--dirty"], capture_output=True, text=True)
    return found.stdout.strip() or "unknown"


def _carry_out(part: Part, settings: Settings, results: Results, number: int, parts: list[Part]) -> bool:
    """Measure one part, print its rows as they are measured, and return whether it succeeded."""
    print(f"[{number + 1}/{len(parts)}] {part.name}", flush=True)
    start, failure = time.perf_counter(), None
    try:
        for row in part.rows(settings):
            results.add(row)
            print(f"    {row}", flush=True)
    except Exception as error:
        logging.exception("%s failed", part.name)
        failure = f"{type(error).__name__}: {error}"
    results.end(part.name, time.perf_counter() - start, failure)
    return failure is None


if __name__ == "__main__":
    sys.exit(main())
