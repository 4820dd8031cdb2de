"""Test which images the report shows, and how."""

from __future__ import annotations

import io
from base64 import b64decode
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from spinenet_tf.data.dataset import Example
from spinenet_tf.evaluation.confusion import match
from spinenet_tf.evaluation.gallery import LARGEST, PICTURES, Judged, best_and_worst, gallery

NAMES = ("cat", "dog")


def judge(number: int, right: int, wrong: int, path: Path = Path("a.jpg"), size: tuple[int, int] = (64, 64)) -> Judged:
    """Return an image with `right` cats detected correctly, and `wrong` dogs detected as cats."""
    count = right + wrong
    top = np.arange(count) * 6.0
    boxes = np.stack([top, top, top + 5, top + 5], axis=1).astype(np.float32)
    classes = np.repeat([0, 1], [right, wrong]).astype(np.int32)
    example = Example(number, path, *size, boxes, classes, np.zeros(count, bool), np.full(count, 25, np.float32))
    found = {"boxes": boxes, "scores": np.full(count, 0.9), "classes": np.zeros(count, int)}
    return Judged(example, found, match(example, found, 2, 0.3))


def numbers(judged: list[Judged]) -> list[int]:
    return [image.example.image_id for image in judged]


def test_the_best_come_first_and_no_image_is_shown_twice() -> None:
    images = [judge(0, 0, 3), judge(1, 2, 0), judge(2, 0, 0), judge(3, 1, 1), judge(4, 0, 1), judge(5, 3, 1)]
    best, worst = best_and_worst(images)
    assert (numbers(best), numbers(worst)) == ([1, 5, 3], [0, 4])


def test_no_more_are_shown_than_fit() -> None:
    best, worst = best_and_worst([judge(n, n, 20 - n) for n in range(21)])
    assert numbers(best) == list(range(20, 20 - PICTURES, -1))
    assert numbers(worst) == list(range(PICTURES))


def test_nothing_is_shown_where_nothing_is() -> None:
    assert not list(gallery([judge(0, 0, 0)], NAMES, 0.3))


@pytest.mark.parametrize("size", [(64, 64), (1200, 1600), (1600, 1200), (40, 2000)])
def test_pictures_are_of_a_size_to_look_at(tmp_path: Path, size: tuple[int, int]) -> None:
    path = tmp_path / "a.png"
    Image.fromarray(np.full((*size, 3), 99, np.uint8)).save(path)
    elements = list(gallery([judge(0, 2, 2, path, size)], NAMES, 0.3))
    (figure,) = (element for element in elements if element.tag == "figure")
    true, found = (Image.open(io.BytesIO(b64decode(img.get("src").split(",")[1]))) for img in figure.iter("img"))
    assert true.size == found.size
    assert all(side <= limit for side, limit in zip(true.size, LARGEST, strict=True))
    assert max(true.size) >= 320
    assert true.width / true.height == pytest.approx(size[1] / size[0], rel=0.05)
    text = "".join(figure.itertext())
    assert "2 right, 2 missed, 2 wrong" in text
    assert "dog detected as cat (2 times)" in text


def test_numbers_in_pictures_are_explained_where_the_font_lacks_names(tmp_path: Path) -> None:
    Image.fromarray(np.full((64, 64, 3), 99, np.uint8)).save(path := tmp_path / "a.png")
    texts = ["".join(part.itertext()) for part in gallery([judge(0, 2, 2, path)], ("собака", "猫"), 0.3)]
    assert "Classes shown by number, since the font cannot draw their names: 1 猫." in texts
    assert any("猫 detected as собака (2 times)" in text for text in texts)
    assert not any("stand for" in "".join(part.itertext()) for part in gallery([judge(0, 2, 2, path)], NAMES, 0.3))


def test_an_image_that_is_gone_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"gone\.jpg"):
        list(gallery([judge(0, 1, 0, tmp_path / "gone.jpg")], NAMES, 0.3))
