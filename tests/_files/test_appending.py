"""What a killed process leaves of a line is cut off before the next line is written."""

from __future__ import annotations

from pathlib import Path

import pytest

from spinenet_tf._files.appending import append_line, complete_lines, cut_incomplete_line


@pytest.mark.parametrize(
    ("content", "kept"),
    [
        (b"", b""),
        (b"{}\n", b"{}\n"),
        (b"{}\n{}\n{", b"{}\n{}\n"),
        (b"{", b""),
        (b"{}\n" + 10_000 * b"x", b"{}\n"),
    ],
)
def test_what_follows_the_last_line_break_is_cut_off(tmp_path: Path, content: bytes, kept: bytes) -> None:
    path = tmp_path / "file"
    path.write_bytes(content)
    with path.open("rb+") as file:
        assert cut_incomplete_line(file) == len(content) - len(kept)
    assert path.read_bytes() == kept


def test_a_new_line_replaces_an_incomplete_one(tmp_path: Path) -> None:
    path = tmp_path / "new" / "lines"
    append_line(path, "first")
    with path.open("ab") as file:
        file.write(b"sec")
    assert list(complete_lines(path)) == [b"first"]
    append_line(path, "second")
    assert list(complete_lines(path)) == [b"first", b"second"]


def test_a_missing_file_has_no_lines(tmp_path: Path) -> None:
    assert list(complete_lines(tmp_path / "missing")) == []
