"""Test messages about long lists and unknown names."""

from __future__ import annotations

from spinenet_tf._files.messages import some_of


def test_the_first_ten_are_named_and_the_others_counted() -> None:
    assert some_of([]) == ""
    assert some_of(["a", 2, "c"]) == "a, 2, c"
    assert some_of(range(10)) == "0, 1, 2, 3, 4, 5, 6, 7, 8, 9"
    assert some_of(range(11)) == "0, 1, 2, 3, 4, 5, 6, 7, 8, 9 and 1 more"
    assert some_of(range(3000), "; ") == "0; 1; 2; 3; 4; 5; 6; 7; 8; 9 and 2990 more"


def test_what_is_named_is_cut() -> None:
    assert some_of(["a" * 1000, "b"]) == "a" * 297 + "..., b"


def test_names_may_be_quoted() -> None:
    assert some_of("abc", show=repr) == "'a', 'b', 'c'"
    assert some_of(map(str, range(8000)), show=repr) == "'0', '1', '2', '3', '4', '5', '6', '7', '8', '9' and 7990 more"
