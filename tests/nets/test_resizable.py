"""The message about an image size names the nearest sides that all connections of the net support."""

from __future__ import annotations

import pytest

import spinenet_tf
from spinenet_tf.nets.costs import without_values
from spinenet_tf.nets.resizable import is_resizable, resampling_layers, size_problem


@pytest.fixture(scope="module")
def build(tiny_mobile_spec):
    """Return a function from a size to a backbone without values, whose connections go up by one level."""
    return lambda *size, **style: without_values(
        lambda: spinenet_tf.backbone(tiny_mobile_spec, (*size, 3), max_level=5, endpoint=8, **style)
    )


def test_mobile_nets_support_all_sides_up_to_480_px():
    """docs/phones.md says so."""
    net = without_values(lambda: spinenet_tf.backbone("spinenet_mobile_49xs", (256, 256, 3)))
    assert size_problem(net) is None
    layers = resampling_layers(net)
    supported = [side for side in range(32, 1921) if is_resizable(layers, side)]
    assert set(range(32, 481)) <= set(supported)
    assert 481 not in supported
    assert len(supported) / len(range(32, 1921)) == pytest.approx(0.945, abs=0.001)


@pytest.mark.parametrize(
    ("size", "sides"),
    [
        ((788, 788), "784 or 793"),
        ((788, 64), "height 784 or 793"),
        ((64, 915), "width 912 or 921"),
        ((788, 915), "height 784 or 793, width 912 or 921"),
    ],
)
def test_the_nearest_sides_are_named(build, size, sides):
    problem = size_problem(build(*size))
    assert problem.endswith(f"The nearest sides that they support: {sides}. Received: image_size={size}")


def test_nets_of_the_tf1_zoo_need_integer_ratios(build):
    assert size_problem(build(128, 32, tf1_zoo=True)) is None
    assert ": height 64 or 96, width 32 or 64." in size_problem(build(72, 36, tf1_zoo=True))
