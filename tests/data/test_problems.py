"""Test that problems are recorded only for a check, and raised or logged otherwise."""

from __future__ import annotations

from pathlib import Path

import pytest

from spinenet_tf.data.dataset import DataError
from spinenet_tf.data.problems import Place, Problem, Problems

PLACE = Place(Path("a.json"), "image 1")


def test_notes_are_kept_for_a_check_alone() -> None:
    reading, checking = Problems(), Problems(keep_going=True)
    for problems in (reading, checking):
        problems.note(PLACE, "read without its last part")
    assert reading.found == []
    assert checking.found == [Problem(PLACE, "read without its last part", refused=False)]


def test_a_note_is_one_line_that_can_be_printed() -> None:
    problems = Problems(keep_going=True)
    problems.note(PLACE, "a\nb \ud800 " + "x" * 5000)
    (found,) = problems.found
    assert found.message.startswith("a b \\ud800 xxx")
    assert len(found.message) == 1000


def test_a_fault_is_listed_in_a_check_and_raised_elsewhere() -> None:
    checking = Problems(keep_going=True)
    with checking.at(PLACE):
        raise DataError("the id is used twice")
    assert checking.found == [Problem(PLACE, "the id is used twice", refused=True)]
    with pytest.raises(DataError, match=r"^a\.json: image 1: the id is used twice$"), Problems().at(PLACE):
        raise DataError("the id is used twice")
