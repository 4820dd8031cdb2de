"""Costs of a graph: multiply-adds of the proxy or of a named model, and int8 latencies beside a reference."""

from __future__ import annotations

import pytest
import synthetic

from spinenet_tf import detector
from spinenet_tf.nets.costs import multiply_adds, without_values
from spinenet_tf.nets.family import variant
from spinenet_tf.search.config import CostConfig
from spinenet_tf.search.costs import measure_latency, measured
from spinenet_tf.search.proxy import count_costs

pytestmark = pytest.mark.unseeded


def test_multiply_adds_are_those_of_the_proxy_by_default(tmp_path, tiny_spec):
    proxy = synthetic.config().proxy
    costs = [CostConfig(kind="multiply_adds", reference="r23_sp30"), CostConfig(kind="multiply_adds", target=1e6)]
    relative, absolute = measured(costs, tiny_spec, proxy, tmp_path)
    counted = count_costs(proxy, tiny_spec).multiply_adds
    assert (relative.value, relative.target) == (counted, count_costs(proxy, variant("r23_sp30").graph).multiply_adds)
    assert (absolute.value, absolute.relative) == (counted, counted / 1e6)


def test_multiply_adds_of_a_named_model_are_those_at_its_size(tmp_path, tiny_model, three_blocks):
    cost = CostConfig(kind="multiply_adds", model=tiny_model, reference=tiny_model, classes=3, image_size=(64, 96))
    (found,) = measured([cost], three_blocks, synthetic.config().proxy, tmp_path)
    expected = multiply_adds(without_values(lambda: detector(tiny_model, 3, (64, 96, 3))))
    assert found.value == found.target == expected


def test_a_latency_is_measured_beside_the_reference_whose_file_is_kept(tmp_path, tiny_model, three_blocks):
    cost = CostConfig(
        kind="int8_latency", model=tiny_model, reference=tiny_model, classes=2, image_size=(64, 64), calls=20
    )
    value, target = measure_latency(cost, three_blocks, tmp_path / "references")
    assert 0.2 < value / target < 5  # of two equal files, on a busy machine
    assert (tmp_path / "references" / "tiny64x64-int8.tflite").is_file()
