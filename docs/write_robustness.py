"""Write docs/robustness.md from what `make robustness` tried: each promise, how many cases, how many failures.

python docs/write_robustness.py build/robustness.jsonl build/robustness.xml docs/robustness.md
"""

from __future__ import annotations

import json
import platform
import sys
from collections import Counter
from importlib.metadata import version
from pathlib import Path
from xml.etree import ElementTree

HEADER = """# Robustness

What is promised of hostile files, faults and long runs, and what the tests of `tests/robustness` tried
(TensorFlow {tensorflow}, Keras {keras}, Pillow {pillow}, Python {python}, {machine}).
A promise counts the cases that its tests went through; a test that failed has a line of its own.
[SECURITY.md](../SECURITY.md) tells what is not promised. Written by `make robustness`.

| promise | cases tried | failures |
|---|---|---|
"""


def main(cases: Path, results: Path, target: Path) -> None:
    """Read rows `{"promise", "cases", "test"}` and pytest's JUnit XML, write the table, and fail if a test did.

    Promises of the same words are one: their cases are added up.
    """
    counts: Counter[str] = Counter()
    for row in map(json.loads, cases.read_text().splitlines()):
        counts[row["promise"]] += row["cases"]
    failed = failures(results)
    header = HEADER.format(
        **{name: version(name) for name in ("tensorflow", "keras", "pillow")},
        python=platform.python_version(),
        machine=f"{platform.machine()} {platform.system()}",
    )
    lines = [f"| {promise} | {count:,} | 0 |" for promise, count in sorted(counts.items())]
    lines += [f"| `{test}` | - | 1 |" for test in failed]
    target.write_text(header + "\n".join(lines) + "\n")
    if failed:
        sys.exit(f"{len(failed)} tests of promises failed: see {target}")


def failures(results: Path) -> list[str]:
    """Return the names of the tests that failed, or could not run."""
    tests = ElementTree.parse(results).iter("testcase")
    return sorted(
        f"{test.attrib['classname']}.{test.attrib['name']}"
        for test in tests
        if test.find("failure") is not None or test.find("error") is not None
    )


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
