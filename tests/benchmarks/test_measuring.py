"""Comparisons alternate, stop in time, and run each side in a separate process."""

from __future__ import annotations

from functools import partial

import pytest

from benchmarks.contender import Contender, ContenderError, Fresh, contest
from benchmarks.measuring import Effort, alternate, median, spread


def test_turns_alternate_and_the_warm_up_does_not_count():
    order = []

    def turn(name):
        order.append(name)
        return float(len(order))

    figures = alternate({"a": partial(turn, "a"), "b": partial(turn, "b")}, Effort(seconds=0, least=3))
    assert "".join(order) == "abababab"
    assert figures == {"a": [3.0, 5.0, 7.0], "b": [4.0, 6.0, 8.0]}


@pytest.mark.parametrize(("effort", "rounds"), [(Effort(0, 1, 9), 1), (Effort(60, 1, 9), 9), (Effort(0, 4, 3), 3)])
def test_rounds_are_limited_by_time_and_number(effort, rounds):
    assert len(alternate({"a": lambda: 1.0}, effort)["a"]) == rounds


def test_median_and_spread_ignore_a_single_slow_turn():
    quiet = [1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0]
    assert median([*quiet[1:], 50.0]) == 1.0
    assert spread([*quiet[1:], 50.0]) == spread(quiet) == 0.0
    assert spread([1.0, 2.0, 3.0]) == 0.5
    assert spread([1.0]) == 0.0


def turns(sizes):
    """Return the turns of a contender for these tests."""
    return {
        "sum": lambda: sum(sizes),
        "fresh": Fresh(lambda: list(sizes), lambda made: made.pop()),
        "memory": lambda: len(bytearray(64 << 20)),
        "broken": lambda: 1 / 0,
    }


def exits(code):
    raise SystemExit(code)


def test_a_contender_runs_in_a_separate_process():
    with contest(one=partial(Contender, turns, (1, 2, 3)), two=partial(Contender, turns, (5,))) as pair:
        assert [pair[name].value("sum") for name in pair] == [6, 5]
        assert pair["one"].value("fresh") == pair["one"].value("fresh") == 3
        assert 0 <= pair["one"].time("sum") < 1
        before = pair["one"].memory()
        pair["one"].value("memory")
        assert before is None or pair["one"].memory() - before > 60 << 20
        with pytest.raises(ContenderError, match="ZeroDivisionError"):
            pair["one"].value("broken")
        assert pair["one"].value("sum") == 6


def test_a_failed_preparation_names_its_side():
    with pytest.raises(ContenderError, match="theirs: SystemExit"), contest(theirs=partial(Contender, exits, 3)):
        pass
