"""Test that pages escape text, and are written atomically."""

from __future__ import annotations

from html.parser import HTMLParser
from pathlib import Path

import pytest

from spinenet_tf.evaluation.page import element, picture, table, write_page


class Reader(HTMLParser):
    """Collect tags, and the text between them."""

    def __init__(self, page: str):
        super().__init__()
        self.tags: list[str] = []
        self.texts: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list) -> None:
        self.tags.append(tag)

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


NASTY = ["<script>alert(1)</script>", "a & b &amp; c", "\"quoted\" 'too'", "</td></style>", "猫 é $x$", "<!-- x"]


@pytest.mark.parametrize("text", NASTY)
def test_text_stays_text_wherever_it_stands(tmp_path: Path, text: str) -> None:
    body = [element("p", text, element("b", text), text), table((text,), [(text, text)]), picture(b"1", "png", text)]
    page = Reader(write_page(tmp_path / "page", text, "test", body).read_text(encoding="utf-8"))
    assert page.tags == [
        *("html", "head", "meta", "meta", "meta", "title", "style", "body"),
        *("p", "b", "table", "thead", "tr", "th", "tbody", "tr", "th", "td", "img"),
    ]
    assert page.texts.count(text) == 7


def test_a_name_that_is_no_unicode_is_written_all_the_same(tmp_path: Path) -> None:
    page = write_page(tmp_path / "page", "a\udcff.jpg", "test", [])
    assert "&#56575;" in page.read_text(encoding="utf-8")


def test_a_page_replaces_the_old_one_and_leaves_its_neighbors(tmp_path: Path, contents) -> None:
    folder = tmp_path / "page"
    write_page(folder, "one", "test", [])
    (folder / "notes.txt").write_text("mine")
    path = write_page(folder, "two", "test", [])
    assert path == folder / "index.html"
    assert "<title>two</title>" in path.read_text(encoding="utf-8")
    assert contents(tmp_path).keys() == {"page/index.html", "page/notes.txt"}


def test_a_page_that_cannot_be_written_leaves_nothing(tmp_path: Path, monkeypatch) -> None:
    def full(*_: object) -> None:
        raise OSError("No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(OSError, match="No space left"):
        write_page(tmp_path / "page", "one", "test", [])
    assert not list(tmp_path.iterdir())
