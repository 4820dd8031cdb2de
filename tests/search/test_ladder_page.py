"""The page of the ladder has the figures of the committed results, and says what they can tell."""

from __future__ import annotations

import importlib.util
import shutil
from pathlib import Path
from types import ModuleType

import pytest

from spinenet_tf._files.ledger import Ledger
from spinenet_tf.search.ladder_plot import draw_results
from spinenet_tf.search.ladder_results import summarize

DOCS = Path(__file__).parents[2] / "docs"
PAGE, RESULTS, PICTURE = DOCS / "ladder.md", DOCS / "ladder.jsonl", DOCS / "images" / "ladder.svg"


@pytest.fixture(scope="module")
def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("write_ladder", DOCS / "write_ladder.py")
    assert spec is not None
    assert spec.loader is not None
    found = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(found)
    return found


def rows(**aps: list[float]) -> dict[str, dict]:
    """Return the lines of trainings with these AP, by net."""
    return {
        f"{net}, seed {seed}": {"net": net, "seed": seed, "AP": ap, "parameters": 2e6, "multiply_adds": 3e8}
        for net, values in aps.items()
        for seed, ap in enumerate(values)
    }


def test_the_page_and_the_picture_have_the_measured_figures(script, tmp_path) -> None:
    page = Path(shutil.copy(PAGE, tmp_path))
    script.write(RESULTS, page)
    assert page.read_text() == PAGE.read_text(), "run docs/write_ladder.py"
    assert {name for _, name, _ in script.BLOCK.findall(page.read_text())} == set(script.BLOCKS)
    drawn = draw_results(summarize(Ledger(RESULTS).rows().values()), "svg").decode()
    assert drawn.count("<text") == PICTURE.read_text().count("<text"), "run docs/write_ladder.py"


def test_only_differences_above_the_spread_count(script) -> None:
    found = rows(r0_sp53=[0.50, 0.52, 0.54], r50_fpn=[0.40, 0.42, 0.44], chain=[0.60, 0.62, 0.64], fish=[0.51])
    table = script.differences(found).splitlines()
    # Of all trainings: a standard deviation of 0.02 with 6 degrees of freedom, for which Student's quantile is 2.447.
    # So the means of three differ by 2.447 * 0.02 * sqrt(2 / 3).
    assert "| `r50_fpn` | -0.029 | -0.100 | +-0.040 | 1.00 | same sign |" in table
    assert "| `chain` | -0.125 | +0.100 | +-0.040 | 1.00 | **opposite sign** |" in table
    assert "| `fish` | -0.032 | -0.010 | +-0.057 | 1.00 | not distinguishable here |" in table
    assert table[-1] == "Spearman's rank correlation with the published AP, over 4 nets: -0.40 (p = 0.60)."


def test_the_spread_is_that_of_repeated_nets(script) -> None:
    text = script.spread(rows(r0_sp53=[0.54, 0.50, 0.52], r50_fpn=[0.4]))
    assert "- `r0_sp53`, 3 trainings: AP 0.500, 0.520, 0.540; standard deviation 0.020.\n" in text
    assert "all repeated nets together is 0.0200, with 2 degrees of freedom" in text
    assert "by less than 0.070 in 95 %" in text
    assert "- `r0_sp53`, 2 trainings: AP 0.500, 0.520; standard deviation 0.014; failed: 0.150.\n" in script.spread(
        rows(r0_sp53=[0.15, 0.52, 0.5])
    )
    assert script.spread(rows(r0_sp53=[0.5])) == script.MISSING
    assert all(block({}) == script.MISSING for block in script.BLOCKS.values())
