"""Test that the first bad images are logged, and all are counted."""

from __future__ import annotations

import logging

import pytest

from spinenet_tf.data.bad_images import BadImages
from spinenet_tf.data.dataset import DataError


def _add(bad: BadImages, count: int) -> None:
    for number in range(count):
        bad.add(f"images/{number:04d}.jpg", DataError(f"images/{number:04d}.jpg: no such image file"))


def test_a_partial_download_is_told_by_ten_images_and_a_count(caplog: pytest.LogCaptureFixture) -> None:
    bad = BadImages(0.5)
    with caplog.at_level(logging.WARNING):
        _add(bad, 3000)
        bad.add("images/0000.jpg", DataError("again"))
        with pytest.raises(DataError) as caught:
            bad.count_among(f"images/{number:04d}.jpg" for number in range(4000))
    assert [record.getMessage() for record in caplog.records] == [
        *(
            f"Bad image {number + 1}, skipped in training: images/{number:04d}.jpg: no such image file"
            for number in range(10)
        ),
        "More images are bad and skipped: `spinenet-tf dataset check` lists all of them.",
    ]
    message = str(caught.value)
    assert message.startswith("3000 of 4000 images are bad, more than max_bad_images=0.5 allows: images/0000.jpg: ")
    assert message.count("no such image file") == 10
    assert message.endswith(" and 2990 more")
    assert len(message) < 1000
    assert len(bad) == 3000


@pytest.mark.parametrize(
    ("count", "among", "lines", "last"),
    [
        (10, 100, 10, "Bad image 10, skipped in training: images/0009.jpg: no such image file"),
        (30, 1000, 12, "30 of 1000 images are bad and skipped in training."),
    ],
)
def test_few_bad_images_are_named_and_many_that_may_be_are_counted(
    caplog: pytest.LogCaptureFixture, count: int, among: int, lines: int, last: str
) -> None:
    bad = BadImages(0.1)
    with caplog.at_level(logging.WARNING):
        _add(bad, count)
        bad.count_among(f"images/{number:04d}.jpg" for number in range(among))
        bad.log_count()
    assert len(caplog.records) == lines
    assert caplog.records[-1].getMessage() == last
