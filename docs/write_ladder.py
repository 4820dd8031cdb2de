"""Write docs/ladder.md's figures and picture from the results of `spinenet-tf ladder`, a line per training.

python docs/write_ladder.py docs/ladder.jsonl docs/ladder.md docs/images/ladder.svg

Figures go between `<!-- measured: NAME -->` and `<!-- end of measured -->`.
"""

from __future__ import annotations

import math
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from scipy.stats import spearmanr
from scipy.stats import t as student

from spinenet_tf._files.ledger import Ledger
from spinenet_tf.search.ladder import LADDER
from spinenet_tf.search.ladder_plot import draw_results
from spinenet_tf.search.ladder_results import Result, Spread, pooled_spread, summarize
from spinenet_tf.training.optimization import PUBLISHED_BATCH

BLOCK = re.compile(r"(<!-- measured: (\w+) -->\n).*?(<!-- end of measured -->)", re.DOTALL)
MISSING = "Not measured yet.\n"
REFERENCE = "r0_sp53"  # the paper damages it, and permutes its blocks in the fixed orders
Rows = dict[str, dict[str, Any]]


def write(source: Path, page: Path) -> None:
    """Rewrite all blocks of a page.

    Raises:
        KeyError: the page names a block that is not in `BLOCKS`.
    """
    rows, text = Ledger(source).rows(), page.read_text(encoding="utf-8")
    page.write_text(BLOCK.sub(lambda found: f"{found[1]}{BLOCKS[found[2]](rows)}{found[3]}", text), encoding="utf-8")


def proxy(rows: Rows) -> str:
    """Return the settings of the proxy, and what the trainings took."""
    if not (found := _trainings(rows)):
        return MISSING
    config, machine = rows["proxy"]["config"], rows["machine"]
    style, head, data = config["model"]["overrides"], config["model"]["head"], config["data"]
    side, (smallest, largest) = " x ".join(map(str, config["model"]["image_size"])), data["train"]["digit_sizes"]
    seconds = [row["seconds"] for row in found]
    versions = ", ".join(f"{name} {machine['versions'][name]}" for name in ("tensorflow", "keras"))
    return (
        f"- Net: width {style['width']}, alpha {style['alpha']}, outputs P3 to P{style['max_level']} of "
        f"{style['endpoint']} channels; a RetinaNet head of {head['head_depth']} convs of {head['head_width']} "
        f"channels; image {side} px.\n"
        f"- Data: {data['train']['scenes']:,} scenes with digits of {smallest} to {largest} px, one class. AP is "
        f"measured on {data['val']['scenes']} other scenes.\n"
        f"- Training: {found[0]['steps']:,} steps of {config['batch_size']} images with {config['optimizer']['name']}, "
        f"learning rate {config['optimizer']['learning_rate'] * config['batch_size'] / PUBLISHED_BATCH:g}.\n"
        f"- {len(found)} of {sum(rung.seeds for rung in LADDER)} trainings are done. They took "
        f"{sum(seconds) / len(seconds) / 60:.1f} minutes on average, beside other work on {machine['cores']} CPU cores "
        f"({versions}).\n"
    )


def spread(rows: Rows) -> str:
    """Return what trainings of the same net differ by, and the difference of two nets that can then be seen."""
    results = _results(rows)
    repeated = [result for result in results if result.rung.group == "ladder" and result.spread is not None]
    pooled = pooled_spread(results)
    if pooled is None:
        return MISSING
    lines = [
        f"- `{result.rung.name}`, {len(result.AP)} trainings: AP {_aps(result.AP)}; standard deviation "
        f"{result.spread:.3f}{f'; failed: {_aps(result.failed)}' if result.failed else ''}.\n"
        for result in repeated
    ]
    return (
        f"{''.join(lines)}- The standard deviation of all repeated nets together is {pooled.deviation:.4f}, with "
        f"{pooled.freedom} degrees of freedom. The means of three trainings each of two equal nets then differ by less "
        f"than {_interval(pooled, 3, 3):.3f} in 95 % of cases: smaller differences mean nothing.\n"
    )


def results(rows: Rows) -> str:
    """Return the table of all nets."""
    head = ("net", "trainings", "failed", "AP", "spread", "best")
    head += ("APs", "APm", "M parameters", "M multiply-adds", "published AP")
    lines = [
        (
            f"`{result.rung.name}`",
            len(result.AP),
            len(result.failed),
            f"{result.mean:.3f}",
            *(_ap(value) for value in (result.spread, max(result.AP), result.APs, result.APm)),
            f"{result.parameters / 1e6:.2f}",
            f"{result.multiply_adds / 1e6:,.0f}",
            result.rung.published or "-",
        )
        for result in _results(rows)
    ]
    return _table(head, lines)


def differences(rows: Rows) -> str:
    """Return each net's difference from R0-SP53, here and as published, and whether the two agree."""
    by_name = {result.rung.name: result for result in _results(rows)}
    pooled, reference = pooled_spread(by_name.values()), by_name.get(REFERENCE)
    if pooled is None or reference is None:
        return MISSING
    lines = [_difference(result, reference, pooled) for name, result in by_name.items() if name != REFERENCE]
    head = ("net", "published AP", "AP here", "95 % interval", "relative multiply-adds", "compared with the paper")
    return f"{_table(head, lines)}\n{_correlation([*by_name.values()])}"


def _correlation(results: Sequence[Result]) -> str:
    """Return whether the proxy puts the nets into the published order."""
    pairs = [(result.mean, result.rung.published) for result in results if result.rung.published is not None]
    if len(pairs) < 3:
        return ""
    found = spearmanr(*zip(*pairs, strict=True))
    return (
        f"Spearman's rank correlation with the published AP, over {len(pairs)} nets: {found.statistic:.2f} "
        f"(p = {found.pvalue:.2f}).\n"
    )


def _difference(result: Result, reference: Result, pooled: Spread) -> tuple[str, ...]:
    own = pooled  # that of random connections includes the differences between graphs
    if result.rung.group == "orders" and result.spread is not None:
        own = Spread(max(result.spread, pooled.deviation), len(result.AP) - 1)
    error = _interval(own, len(result.AP), len(reference.AP))
    ours, published, expected = result.mean - reference.mean, result.rung.published, reference.rung.published
    there = None if published is None or expected is None else (published - expected) / 100
    return (
        f"`{result.rung.name}`",
        "-" if there is None else f"{there:+.3f}",
        f"{ours:+.3f}",
        f"+-{error:.3f}",
        f"{result.multiply_adds / reference.multiply_adds:.2f}",
        "-" if there is None else _verdict(ours, there, error),
    )


def _verdict(ours: float, there: float, error: float) -> str:
    if abs(ours) < error:
        return "not distinguishable here"
    return "same sign" if ours * there > 0 else "**opposite sign**"


def _interval(spread: Spread, first: int, second: int) -> float:
    """Return the half width of the 95 % interval of the difference of two means of so many trainings."""
    return student.ppf(0.975, spread.freedom) * spread.deviation * math.sqrt(1 / first + 1 / second)


def _trainings(rows: Rows) -> list[dict[str, Any]]:
    return [row for row in rows.values() if "net" in row]


def _results(rows: Rows) -> list[Result]:
    return summarize(rows.values())


def _aps(values: Sequence[float]) -> str:
    return ", ".join(map(_ap, sorted(values)))


def _ap(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _table(head: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    if not rows:
        return MISSING
    lines = [head, ["---"] * len(head), *rows]
    return "".join("| " + " | ".join(map(str, line)) + " |\n" for line in lines)


BLOCKS = {"proxy": proxy, "spread": spread, "results": results, "differences": differences}

if __name__ == "__main__":
    source, page, picture = map(Path, sys.argv[1:])
    write(source, page)
    picture.write_bytes(draw_results(_results(Ledger(source).rows()), picture.suffix[1:]))
