"""Merge the rows of a run with those of earlier runs, and write them as JSON and as a page."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from benchmarks.measuring import median, spread
from spinenet_tf._files.writing import write_whole

GARDEN = "TF Model Garden"
HEADINGS = (
    "model",
    "against",
    "theirs",
    "ours",
    "unit",
    "ratio",
    "goal",
    "met",
    "of the limit",
    "spread",
    "rounds",
    "machine",
)


@dataclass(frozen=True)
class Row:
    """One comparison. Smaller values are better, so with a ratio above 1 ours is better."""

    work: str  # "training/step, fp32, batch 8": the group is before the slash
    model: str
    theirs: float
    ours: float
    unit: str
    ratio: float  # theirs / ours
    goal: float | None = None  # smallest ratio that meets the goal
    against: str = GARDEN  # what "theirs" is
    limit: dict[str, Any] = field(default_factory=dict)  # "peak": its name; "theirs", "ours": fractions of it
    spread: float = 0.0  # the larger interquartile range of both sides, divided by the median
    rounds: int = 1
    x: float | None = None  # the amount of work, if the row is a point of a series
    machine: int = 0  # number of the machine that it was measured on, 0 if that is unknown

    @property
    def met(self) -> bool | None:
        """Whether the goal is reached; None without a goal."""
        return None if self.goal is None else self.ratio >= self.goal

    @property
    def key(self) -> tuple[str, str, str]:
        """The comparison that the row belongs to; a later row with the same key replaces it."""
        return self.work, self.model, self.against

    def __str__(self) -> str:
        goal = "" if self.goal is None else f" (goal {self.goal:.3g}{'' if self.met else ', missed'})"
        return f"{self.work}, {self.against}: {self.theirs:g} / {self.ours:g} {self.unit} = {self.ratio:.2f}{goal}"

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return asdict(self) | {"met": self.met}


def compare(
    work: str,
    model: str,
    theirs: Sequence[float],
    ours: Sequence[float],
    unit: str = "ms",
    goal: float | None = None,
    against: str = GARDEN,
    limit: Mapping[str, Any] | None = None,
) -> Row:
    """Return the row that compares two series, in seconds if the unit is "ms"; its ratio is that of the medians."""
    scale = {"ms": 1e3, "MB": 1e-6}.get(unit, 1.0)
    their_median, our_median = median(list(theirs)), median(list(ours))
    return Row(
        work=work,
        model=model,
        theirs=_rounded(scale * their_median),
        ours=_rounded(scale * our_median),
        unit=unit,
        ratio=_rounded(their_median / our_median) if our_median else math.inf,
        goal=goal,
        against=against,
        limit=dict(limit or {}),
        spread=round(max(spread(list(theirs)), spread(list(ours))), 3),
        rounds=min(len(theirs), len(ours)),
    )


class Results:
    """All rows so far, read from `path` if it exists, and written after each change."""

    def __init__(self, path: Path, page: Path | None = None):
        self.path, self._page = path, page or path.with_suffix(".md")
        content = json.loads(path.read_text()) if path.exists() else {}
        self.machines: list[dict[str, Any]] = content.get("machines", [])
        self._current = len(self.machines)
        self.rows = [_row(row) for row in content.get("rows", [])]
        self.failures: dict[str, str] = content.get("failures", {})
        self.seconds: dict[str, float] = content.get("seconds", {})

    def measure_on(self, machine: dict[str, Any]) -> None:
        """Set the machine of the rows to come."""
        if machine not in self.machines:
            self.machines.append(machine)
        self._current = self.machines.index(machine) + 1

    def add(self, row: Row) -> None:
        """Add a row, or replace the older one of the same comparison."""
        row = replace(row, machine=self._current)
        keys = [old.key for old in self.rows]
        if row.key in keys:
            self.rows[keys.index(row.key)] = row
        else:
            self.rows.append(row)
        self.write()

    def end(self, part: str, seconds: float, failure: str | None = None) -> None:
        """Store the time of a part and the reason for its failure, if it failed; its older rows are kept."""
        self.seconds[part] = round(seconds, 1)
        self.failures.pop(part, None)
        if failure is not None:
            self.failures[part] = failure
        self.write()

    def write(self) -> None:
        """Write both files, each completely or not at all."""
        self._forget_machines()
        content = {
            "machines": self.machines,
            "rows": [row.to_dict() for row in self.rows],
            "failures": self.failures,
            "seconds": self.seconds,
        }
        write_whole(self.path, json.dumps(content, indent=1) + "\n")
        write_whole(self._page, markdown(self))

    def _forget_machines(self) -> None:
        """Drop the machines without rows, except for the current one, and number the others again."""
        used = sorted({self._current, *(row.machine for row in self.rows)} - {0})
        numbers = {0: 0} | {old: new for new, old in enumerate(used, 1)}
        self.machines = [self.machines[old - 1] for old in used]
        self.rows = [replace(row, machine=numbers[row.machine]) for row in self.rows]
        self._current = numbers[self._current]


def markdown(results: Results) -> str:
    """Return the results as a page with a table for each group."""
    lines = ["# Comparison with TF Model Garden", "", *_preface(results), ""]
    goals = [row for row in results.rows if row.goal is not None]
    missed = [row for row in goals if not row.met]
    lines += [f"**{len(goals) - len(missed)} of {len(goals)} goals are reached.**", ""]
    if missed:
        lines += ["Missed:", ""]
        lines += [f"- {row.work}, {row.model}, {row.against}: {row.ratio:.2f} of {row.goal:g}" for row in missed] + [""]
    for work in dict.fromkeys(row.work.partition("/")[0] for row in results.rows):
        rows = [row for row in results.rows if _work(row) == work]
        lines += [f"## {work.capitalize()}", "", *_pictures(rows), *_table(rows), ""]
    if results.failures:
        lines += ["## Failed", "", *(f"- `{part}`: {why}" for part, why in results.failures.items()), ""]
    return "\n".join(lines)


def _preface(results: Results) -> list[str]:
    machines = ["; ".join(f"{name}: {value}" for name, value in machine.items()) for machine in results.machines]
    return [
        "Written by `make bench`. [NOTES.md](NOTES.md) explains how it is measured and which optimizations were tried.",
        "The values are medians of alternating rounds; ratio = theirs / ours, so above 1 ours is better. The batch",
        'size of networks is 1 unless it is stated. "Of the limit" is the rate of multiply-adds, theirs and ours, as a',
        "fraction of the machine's rate in matrix products; both count the multiply-adds of our graph. Spread is the",
        "interquartile range divided by the median.",
        *(line for number, text in enumerate(machines, 1) for line in ("", f"Machine {number}: {text}.")),
    ]


def picture(row: Row) -> str:
    """Return the file name of the plot of a row: "scaling/batch, time" is in scaling-batch.png."""
    return row.work.partition(",")[0].replace("/", "-").replace(" ", "-") + ".png"


def _pictures(rows: Iterable[Row]) -> list[str]:
    names = dict.fromkeys(picture(row) for row in rows if row.x is not None)
    return [line for name in names for line in (f"![{name.removesuffix('.png')}](../docs/images/{name})", "")]


def _table(rows: Iterable[Row]) -> list[str]:
    lines = [" | ".join(("", "what", *HEADINGS, "")).strip(), "|---" * (len(HEADINGS) + 1) + "|"]
    for row in rows:
        goal = "" if row.goal is None else f"{row.goal:g}"
        met = {None: "", True: "yes", False: "**no**"}[row.met]
        limit = f"{row.limit['theirs']:.2f} / {row.limit['ours']:.2f} of {row.limit['peak']}" if row.limit else ""
        what = row.work.partition("/")[2]
        cells = [what, row.model, row.against, f"{row.theirs:g}", f"{row.ours:g}", row.unit, f"{row.ratio:.2f}"]
        cells += [goal, met, limit, f"{row.spread:.2f}", str(row.rounds), str(row.machine)]
        lines.append("| " + " | ".join(cells) + " |")
    return lines


def _work(row: Row) -> str:
    return row.work.partition("/")[0]


def _row(content: Mapping[str, Any]) -> Row:
    return Row(**{name: value for name, value in content.items() if name != "met"})


def _rounded(value: float) -> float:
    return float(f"{value:.4g}")
