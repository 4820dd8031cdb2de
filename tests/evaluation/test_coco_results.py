"""Test COCO's results format: what a row holds, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from spinenet_tf.evaluation.coco_results import result_rows, write_results

BOX = [[1.5, 2.0, 11.5, 7.0]]  # top, left, bottom, right


def test_a_row_has_the_box_from_its_left_top_corner_and_the_category_id_of_the_data_set() -> None:
    row = {"image_id": 7, "bbox": [2.0, 1.5, 5.0, 10.0], "score": 0.25}
    assert result_rows(np.int64(7), BOX, [0.25], [1], (18, 90)) == [row | {"category_id": 90}]
    assert result_rows(7, BOX, [0.25], [1]) == [row | {"category_id": 2}]


def test_padding_is_left_out_and_an_image_may_have_no_detections() -> None:
    boxes, scores = np.tile(BOX, (3, 1)), np.array([0.5, 0.25, 0.0], np.float32)
    rows = result_rows(1, boxes, scores, np.array([0, 2, -1]))
    assert [(row["category_id"], row["score"]) for row in rows] == [(1, 0.5), (3, 0.25)]
    assert result_rows(1, [], [], []) == result_rows(1, np.zeros((2, 4)), [0, 0], [-1, -1]) == []


@pytest.mark.parametrize("label", [-2, 2, 0.5, np.nan, np.inf])
def test_a_class_that_has_no_category_id_is_refused(label: float) -> None:
    with pytest.raises(ValueError, match=r"image 7: classes must be 0\.\.1\. Received"):
        result_rows(7, BOX, [0.5], [label], (3, 4))
    if label != 2:
        with pytest.raises(ValueError, match=r"image 7: classes must be 0\.\."):
            result_rows(7, BOX, [0.5], [label])


def test_a_results_file_is_replaced_as_a_whole_or_kept(tmp_path: Path) -> None:
    path, rows = tmp_path / "results.json", result_rows(1, BOX, [0.5], [0])
    write_results(path, rows)
    with pytest.raises(FileExistsError):
        write_results(path, [], overwrite=False)
    with pytest.raises(ValueError, match="JSON"):
        write_results(path, [rows[0] | {"score": float("nan")}])
    assert json.loads(path.read_text()) == rows


def test_ids_that_no_double_holds_stay_exact(tmp_path: Path) -> None:
    image_id = 202601011234567890
    write_results(tmp_path / "results.json", result_rows(image_id, BOX, [0.5], [0], (2**62 + 1,)))
    row = json.loads((tmp_path / "results.json").read_text())[0]
    assert (row["image_id"], row["category_id"]) == (image_id, 2**62 + 1)
