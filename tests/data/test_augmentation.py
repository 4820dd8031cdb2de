"""Test that `Augment` refuses invalid options, and that configs have the same options with the same defaults."""

from __future__ import annotations

import re
from dataclasses import fields
from typing import Any

import pytest

from spinenet_tf.data.augmentation import Augment
from spinenet_tf.training.data_config import DataConfig, ImageDataConfig

COCO = {"annotations": "a.json", "images": "a"}
FOLDER = {"folder": "a"}


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ({"flip": 1}, "flip must be true or false. Received: flip=1"),
        ({"scale": (1.2, 0.8)}, "scale must be (smallest, largest). Received: scale=(1.2, 0.8)"),
        ({"scale": (0.0, 1.0)}, "scale must be 2 numbers above 0. Received: scale=(0.0, 1.0)"),
        ({"scale": (1.0,)}, "scale must be 2 numbers above 0. Received: scale=(1.0,)"),
        ({"mosaic": 1.5}, "mosaic must be a number at least 0 and at most 1. Received: mosaic=1.5"),
        ({"area": (0.5, 0.1)}, "area must be (smallest, largest). Received: area=(0.5, 0.1)"),
        ({"area": (0.5, 1.1)}, "area must be 2 numbers above 0 and at most 1. Received: area=(0.5, 1.1)"),
        ({"color_jitter": -0.1}, "color_jitter must be a number at least 0 and at most 1. Received: color_jitter=-0.1"),
        ({"rand_augment": 1.5}, "rand_augment must be a whole number at least 0. Received: rand_augment=1.5"),
        ({"magnitude": 2}, "magnitude must be a number at least 0 and at most 1. Received: magnitude=2"),
    ],
)
def test_invalid_options_are_refused(fault: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        Augment(**fault)


def test_options_of_the_other_task_are_refused() -> None:
    for task, other, change in (
        ("detection", "classification", {"scale": (0.5, 2.0)}),
        ("detection", "classification", {"mosaic": 0.5}),
        ("classification", "detection", {"area": (0.5, 1.0)}),
    ):
        Augment(**change).check_task(task)
        with pytest.raises(ValueError, match=f"`{next(iter(change))}` has no effect in {other}. Received: "):
            Augment(**change).check_task(other)


def test_an_argument_selects_the_augmentation() -> None:
    given = Augment(flip=False)
    assert [Augment.chosen(x) for x in (None, False, True, given)] == [None, None, Augment(), given]
    with pytest.raises(ValueError, match=r"must be an Augment, True or None\. Received: augment={'flip': False}"):
        Augment.chosen({"flip": False})


def test_a_config_has_every_option_with_the_same_default() -> None:
    detection, classification = set(DataConfig.model_fields), set(ImageDataConfig.model_fields)
    names = set(Augment.names())
    assert names - detection == {"area"}
    assert names - classification == {"scale", "mosaic"}
    for config in (DataConfig(train=COCO, val=COCO), ImageDataConfig(train=FOLDER, val=FOLDER)):
        assert config.augment() == Augment()


@pytest.mark.parametrize("name", [field.name for field in fields(Augment)])
def test_a_config_passes_each_option_on(name: str) -> None:
    values = {"flip": False, "scale": (0.1, 2.0), "mosaic": 0.5, "area": (0.3, 0.9), "color_jitter": 0.4}
    value = (values | {"rand_augment": 2, "magnitude": 0.7})[name]
    config = (
        ImageDataConfig(train=FOLDER, val=FOLDER, area=value)
        if name == "area"
        else DataConfig(train=COCO, val=COCO, **{name: value})
    )
    assert config.augment() == Augment(**{name: value})
    assert config.options()["augment"] == config.augment()
