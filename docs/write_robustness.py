"""Write docs/robustness.md from the results of `make robustness`: cases and failures of each guarantee.

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

The guarantees for malicious files, faults and long runs, with the number of cases that `tests/robustness` tried
(TensorFlow {tensorflow}, Keras {keras}, Pillow {pillow}, Python {python}, {machine}).
A failed test has a separate line. [SECURITY.md](../SECURITY.md) lists what is not guaranteed. Written by
`make robustness`.

| guarantee | cases tried | failures |
|---|---|---|
"""


def main(cases: Path, results: Path, target: Path) -> None:
    """Write the table from rows `{"promise", "cases", "test"}` and pytest's JUnit XML; exit with 1 if a test failed.

    The cases of promises with the same text are added.
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
    """Return the names of the tests that failed or could not run."""
    tests = ElementTree.parse(results).iter("testcase")
    return sorted(
        f"{test.attrib['classname']}.{test.attrib['name']}"
        for test in tests
        if test.find("failure") is not None or test.find("error") is not None
    )


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
