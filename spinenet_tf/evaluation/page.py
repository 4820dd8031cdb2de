"""Build self-contained HTML pages; all text is escaped."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Sequence
from pathlib import Path
from xml.etree.ElementTree import Element, SubElement, tostring

from spinenet_tf._files.writing import made, write_whole

STYLE = """
:root { color-scheme: light; }
body { font: 15px/1.5 system-ui, sans-serif; color: #1c2733; background: #fff; max-width: 66rem; margin: 2rem auto;
  padding: 0 1.5rem; }
h1 { font-size: 1.7rem; line-height: 1.2; margin: 0 0 .5rem; overflow-wrap: anywhere; }
h2 { font-size: 1.2rem; margin: 2.5rem 0 .5rem; padding-bottom: .2rem; border-bottom: 1px solid #d5dce3; }
h2, h3, h2 + p { break-after: avoid; }
p { margin: .5rem 0; max-width: 48rem; }
p, figcaption, .facts dt, td.means { color: #55616d; }
.facts { display: grid; grid-template-columns: max-content 1fr; gap: .1rem 1.2rem; margin: 1rem 0; }
.facts dd { margin: 0; overflow-wrap: anywhere; }
.columns { display: flex; flex-wrap: wrap; gap: 1rem 3rem; align-items: flex-start; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th { text-align: left; font-weight: 600; overflow-wrap: break-word; max-width: 24rem; }
th, td { padding: .2rem .7rem; border-bottom: 1px solid #e8ecf0; }
td { text-align: right; white-space: nowrap; }
tr { break-inside: avoid; }
thead { display: table-header-group; }
thead th { vertical-align: bottom; color: #55616d; font-size: .85rem; }
thead th:not(:first-child) { text-align: right; }
td.means, .words td, .words thead th:not(:first-child) { text-align: left; }
td, svg, img { print-color-adjust: exact; -webkit-print-color-adjust: exact; }
.matrix { overflow-x: auto; }
.matrix th, .matrix td { padding: .1rem .3rem; border: 1px solid #e8ecf0; font-size: .8rem; }
.matrix th { white-space: nowrap; overflow: hidden; text-overflow: ellipsis; max-width: 11rem; }
.matrix td { text-align: center; min-width: 1.3rem; }
.matrix thead th:not(:first-child) { writing-mode: vertical-rl; transform: rotate(180deg); text-align: left;
  padding: .3rem .1rem; max-height: 9rem; }
img { max-width: 100%; height: auto; display: block; }
svg.curve { width: 6rem; height: 1.6rem; display: block; margin-left: auto; }
figure { display: grid; grid-template-columns: 1fr 1fr 14rem; gap: .6rem; margin: 1rem 0; break-inside: avoid; }
figure img { max-height: 24rem; box-sizing: border-box; border: 1px solid #d5dce3; }
figcaption { font-size: .85rem; overflow-wrap: anywhere; }
figcaption strong { color: #1c2733; }
figcaption ul { margin: .3rem 0; padding-left: 1.1rem; }
@media (max-width: 45rem) { figure { grid-template-columns: 1fr 1fr; } figcaption { grid-column: 1 / 3; } }
@media print {
  body { max-width: none; margin: 0; padding: 0; font-size: 10pt; }
  th, td { padding: .15rem .4rem; }
  .columns { gap: 1rem; }
  figure img { max-height: 6cm; }
}
"""


def element(tag: str, *content: str | Element, **attributes: str) -> Element:
    """Return `<tag attributes>content</tag>`; write `class_` for class and `stroke_width` for stroke-width."""
    made = Element(tag, {name.rstrip("_").replace("_", "-"): value for name, value in attributes.items()})
    for part in content:
        if isinstance(part, Element):
            made.append(part)
        elif len(made):
            made[-1].tail = (made[-1].tail or "") + part
        else:
            made.text = (made.text or "") + part
    return made


def table(head: Sequence[str], rows: Iterable[Sequence[str | Element]]) -> Element:
    """Return a table; the first cell of a row is its header, and `td` elements are used unchanged."""
    made = element("table")
    if head:
        SubElement(made, "thead").append(element("tr", *(element("th", name, scope="col") for name in head)))
    body = SubElement(made, "tbody")
    for first, *others in rows:
        cells = (cell if isinstance(cell, Element) and cell.tag == "td" else element("td", cell) for cell in others)
        body.append(element("tr", element("th", first, scope="row"), *cells))
    return made


def picture(data: bytes, kind: str, text: str) -> Element:
    """Return an `img` element with embedded `data`, a file of the MIME type `image/kind`, and `text` as alt text."""
    return element("img", src=f"data:image/{kind};base64,{base64.b64encode(data).decode()}", alt=text)


def write_page(folder: Path, title: str, generator: str, body: Iterable[Element]) -> Path:
    """Write `folder/index.html` atomically, creating the folder if needed; return its path."""
    head = element("head", element("meta", charset="utf-8"), element("meta", name="generator", content=generator))
    head.append(element("meta", name="viewport", content="width=device-width, initial-scale=1"))
    head.extend([element("title", title), element("style", STYLE)])
    page = tostring(element("html", head, element("body", *body), lang="en"), encoding="utf-8", method="html")
    with made(folder):
        write_whole(folder / "index.html", b"<!DOCTYPE html>\n" + page)
    return folder / "index.html"
