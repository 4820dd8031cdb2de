"""Fixtures: small standard and mobile models, and checkpoints of them with Model Garden's names."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

import spinenet_tf
from spinenet_tf.checkpoints.model_garden import GardenCheckpoint
from spinenet_tf.checkpoints.names import variables_by_name


@pytest.fixture(scope="session")
def garden_checkpoint(as_garden) -> Callable:
    """Return `garden_checkpoint(model)`: the result of `read_checkpoint` for a trainer's checkpoint of the weights."""

    def make(model) -> GardenCheckpoint:
        found = {as_garden(name): np.array(variable) for name, variable in variables_by_name(model).items()}
        return GardenCheckpoint("ckpt-7", found)

    return make


@pytest.fixture(scope="session")
def tiny_mobile_row(three_blocks, as_mobile, tiny_row):
    """Return a row for a mobile net that is wide enough to infer its SE gate."""
    spec = replace(as_mobile(three_blocks), name="tiny_mobile", widths=dict.fromkeys(range(6), 32))
    return replace(tiny_row, kind="mobile", graph=spec, style=tiny_row.style | {"activation": "swish"})


@pytest.fixture
def tiny_models(tiny_model, tiny_mobile_row, monkeypatch) -> tuple[str, str]:
    """Add "tiny" and "tiny_mobile" to the family for one test."""
    monkeypatch.setitem(spinenet_tf.nets.family.VARIANTS, "tiny_mobile", tiny_mobile_row)
    return tiny_model, "tiny_mobile"
