"""Options convert valid values to their type, and refuse others with the valid range or choices."""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
import pytest

from spinenet_tf.nets.options import Options, option, valid_values
from spinenet_tf.nets.style import Style


@dataclass(frozen=True)
class _Own(Options):
    count: int = option(1, 1, 9)
    share: float = option(0.5, 0, below=1)
    ratios: tuple[float, ...] = option((1.0,), above=0)
    shape: str = option("round", choices=("round", "square"))
    on: bool = option(False)
    level: int | None = option(None, 3)


def test_an_option_says_what_it_can_be():
    assert {one.name: valid_values(one) for one in fields(_Own)} == {
        "count": "a whole number at least 1 and at most 9",
        "share": "a number at least 0 and below 1",
        "ratios": "1 to 100 numbers above 0",
        "shape": "one of round, square",
        "on": "true or false",
        "level": "a whole number at least 3",
    }


def test_values_get_the_type_of_their_option():
    own = _Own(count=3.0, share=0, ratios=[1, np.float32(2)], level=np.int64(4))
    assert own == _Own(3, 0.0, (1.0, 2.0), level=4)
    assert [type(value) for value in own.plain().values()] == [int, float, list, str, bool, int]
    assert _Own.of(own.plain()) == own


@pytest.mark.parametrize(
    "given",
    [
        *({"count": value} for value in (0, 10, 1.5, True, None, "1", float("nan"), float("inf"), 10**400, -(10**400))),
        *({"share": value} for value in (-0.1, 1, False, "x", [0.5])),
        *({"ratios": value} for value in ([], [0], [1, None], 1.0, "12", [1] * 101, [True])),
        *({"shape": value} for value in ("", "roun", None, 1, ["round"])),
        *({"on": value} for value in (0, 1, None, "yes")),
        *({"level": value} for value in (2, 3.5, "3", True)),
    ],
)
def test_anything_else_is_refused_in_one_line(given):
    name = next(iter(given))
    with pytest.raises(ValueError, match=rf"{name}.*Received: {name}=") as error:
        _Own.of(given)
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 400


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("activation", "tanh", "Unknown activation 'tanh'. Valid: .*relu6.* Received: activation='tanh'"),
        ("se_gate", "sigmoide", r"Unknown se_gate 'sigmoide'. Did you mean 'sigmoid'\?"),
        ("norm_momentum", 1.5, "norm_momentum must be a number at least 0 and at most 1"),
        ("norm_epsilon", -1e-3, "norm_epsilon must be a number at least 0"),
        ("l2", -1.0, "l2 must be a number at least 0"),
        ("se_ratio", -0.2, "se_ratio must be a number at least 0"),
    ],
)
def test_a_style_names_its_valid_values(field, value, message):
    with pytest.raises(ValueError, match=message):
        Style(**{field: value})
