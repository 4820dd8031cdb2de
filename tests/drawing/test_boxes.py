"""Test what is drawn where, and that files are written atomically."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from spinenet_tf.drawing.boxes import LONGEST, MIN_SIDE, contact_sheet, draw_detections, save_png

GRAY = np.full((400, 500, 3), 128, np.uint8)
BOXES = np.array([[50.0, 60.0, 150.0, 200.0], [200.0, 300.0, 380.0, 450.0]])


def changed(picture: np.ndarray) -> np.ndarray:
    return (picture != 128).any(axis=-1)


def test_outlines_follow_the_boxes_and_the_inside_stays() -> None:
    drawn = changed(draw_detections(GRAY, BOXES, np.array([0, 1])))
    for top, left, bottom, right in BOXES.astype(int):
        assert drawn[top, left:right].all()
        assert drawn[bottom - 1, left:right].all()
        assert drawn[top:bottom, left].all()
        assert drawn[top:bottom, right - 1].all()
        assert not drawn[top + 20 : bottom - 20, left + 20 : right - 20].any()


def test_the_image_itself_is_left_alone() -> None:
    draw_detections(GRAY, BOXES, np.array([0, 1]))
    assert (GRAY == 128).all()


def test_low_scores_and_padding_are_left_out() -> None:
    scores = np.array([0.9, 0.2])
    drawn = changed(draw_detections(GRAY, BOXES, np.array([0, 1]), scores, ("cat", "dog"), threshold=0.3))
    assert drawn[50, 60]
    assert not drawn[200, 300]
    assert not changed(draw_detections(GRAY, BOXES, np.array([-1, -1]))).any()


def test_classes_have_colors_of_their_own() -> None:
    box = BOXES[:1]
    colors = {tuple(draw_detections(GRAY, box, np.array([label]))[149, 199]) for label in range(20)}
    assert len(colors) == 20


def test_small_images_are_enlarged_by_a_whole_factor() -> None:
    small = np.full((50, 70, 3), 128, np.uint8)
    picture = draw_detections(small, np.array([[10, 20, 30, 40]]), np.array([0]), class_names=("cat",))
    zoom = picture.shape[0] // 50
    assert picture.shape == (50 * zoom, 70 * zoom, 3)
    assert min(picture.shape[:2]) >= MIN_SIDE
    assert changed(picture)[10 * zoom, 20 * zoom]


@pytest.mark.parametrize("size", [(1, 800), (800, 1), (1, 1), (20, 300), (1, 5000), (2, 1100)])
def test_a_picture_is_enlarged_to_a_bounded_size(size: tuple[int, int]) -> None:
    image = np.full((*size, 3), 128, np.uint8)
    picture = draw_detections(image, np.array([[0, 0, *size]]), np.array([0]), np.array([0.9]), ("cat",))
    zoom = picture.shape[0] // size[0]
    assert picture.shape == (size[0] * zoom, size[1] * zoom, 3)
    assert zoom == {(1, 800): 1, (800, 1): 1, (1, 1): MIN_SIDE, (20, 300): 3}.get(size, 1)
    assert max(picture.shape) <= max(*size, LONGEST)
    assert changed(picture).any()


@pytest.mark.parametrize("box", [[0, 0, 400, 500], [0, 480, 5, 500], [399, 499, 400, 500], [10, 10, 10, 10]])
def test_boxes_at_the_edges_and_without_area_are_drawn(box: list[int]) -> None:
    picture = draw_detections(GRAY, np.array([box]), np.array([0]), np.array([1.0]), ("a long class name",))
    assert picture.shape == GRAY.shape
    assert changed(picture).any()


def test_a_sheet_holds_every_image_unchanged() -> None:
    images = [np.full((20 + i, 30 - i, 3), 10 * (i + 1), np.uint8) for i in range(5)]
    sheet = contact_sheet(images, columns=3, gap=4)
    assert sheet.shape == (2 * 28 + 4, 3 * 34 + 4, 3)
    for image in images:
        assert (sheet == image[0, 0]).all(axis=-1).sum() == image.shape[0] * image.shape[1]


def test_a_sheet_of_large_images_is_bounded() -> None:
    """Each image is scaled down to at most `LONGEST` px."""
    large = np.full((3000, 1500, 3), 128, np.uint8)
    large[:1500] = 60
    sheet = contact_sheet((image for image in [large, GRAY, np.full((2, 5000, 3), 200, np.uint8)]), columns=2, gap=4)
    assert sheet.shape == (2 * (LONGEST + 4) + 4, 2 * (LONGEST + 4) + 4, 3)
    cell = sheet[4 : 4 + LONGEST, 4 : 4 + LONGEST]
    assert [int((cell == value).all(axis=-1).sum()) for value in (60, 128)] == [(LONGEST // 2 - 2) * LONGEST // 2] * 2
    assert (sheet == 200).all(axis=-1).sum() == LONGEST


def test_a_sheet_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="Received: 0 images"):
        contact_sheet([])


def test_a_png_round_trips_and_replaces_the_old_one(tmp_path: Path) -> None:
    for value in (1, 2):
        save_png(tmp_path / "a.png", np.full((5, 6, 3), value, np.uint8))
        assert (np.asarray(Image.open(tmp_path / "a.png")) == value).all()
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    save_png(tmp_path / "a.png", GRAY)
    with pytest.raises(TypeError):
        save_png(tmp_path / "a.png", np.zeros((5, 6, 7), np.float64))
    assert (np.asarray(Image.open(tmp_path / "a.png")) == 128).all()
    assert len(list(tmp_path.iterdir())) == 1
