"""Test reading class names from TensorFlow's label maps."""

from __future__ import annotations

from pathlib import Path

import pytest

from spinenet_tf.data.dataset import DataError
from spinenet_tf.data.formats.label_map import read_label_map

TEXT = """# as the tools of TensorFlow write it
item {
  name: "/m/01g317"
  id: 1
  display_name: "person"
}
item: { id: 90, name: 'größer Hund' }
item {
  id: 3 name: "cow\\tbell"
  keypoints { id: 1 label: "nose" }
  ancestor_ids: [1, 2]
}
"""


def test_items_are_categories_by_the_name_that_is_shown(tmp_path: Path) -> None:
    (tmp_path / "map.pbtxt").write_text(TEXT, encoding="utf-8-sig")
    assert read_label_map(tmp_path / "map.pbtxt") == [
        {"id": 1, "name": "person"},
        {"id": 90, "name": "größer Hund"},
        {"id": 3, "name": "cow\tbell"},
    ]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "# nothing",
        "cat\ndog\n",
        '{"item": 3}',
        "item { id: one }",
        "item { id: 99999999999 }",
        "item { id: 1 ",
        "item { name: 3 }",
        "item {" * 50_000,
        "item { x {" + "y {" * 50_000,
        "#" * 1_000_001,
        "item { id: 1 name: '\\377' }",
    ],
)
def test_what_is_no_label_map_is_refused_in_one_line(tmp_path: Path, text: str) -> None:
    (tmp_path / "map.pbtxt").write_text(text)
    with pytest.raises(DataError, match=r"map\.pbtxt: not a label map") as caught:
        read_label_map(tmp_path / "map.pbtxt")
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 500


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"map\.pbtxt: cannot be read"):
        read_label_map(tmp_path / "map.pbtxt")
