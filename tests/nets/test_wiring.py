"""Test the list of a graph's nodes and connections against the layers of the Keras model."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from spinenet_tf.models import backbone
from spinenet_tf.nets.calls import maker_of
from spinenet_tf.nets.family import VARIANTS, list_models
from spinenet_tf.nets.graphs import R0_SP53, R50_FPN, RESNET_18
from spinenet_tf.nets.wiring import Edge, dangling, wiring

NARROW = {"width": 0.25, "endpoint": 8}
# Each block reads one node, and the first one is at level 1.
DAMAGED = replace(
    R0_SP53,
    blocks=tuple(
        replace(block, parents=block.parents[:1], level=block.level - (index == 0))
        for index, block in enumerate(R0_SP53.blocks)
    ),
)
_NODE = re.compile(r"(?:stem_)?block(\d+)_")


def _connections(net) -> set[Edge]:
    """Return the connections between the blocks of a model: what a connection reads, and what a sum takes directly."""
    found = set()
    for layer in net.layers:
        is_sum = re.fullmatch(r"block\d+_fuse\d*", layer.name)
        if not is_sum and not re.match(r"block\d+_resample", layer.name):
            continue
        target = int(_NODE.match(layer.name)[1])
        for x in layer.input if isinstance(layer.input, list) else [layer.input]:
            source = _NODE.match(maker_of(x).name)
            if source and int(source[1]) != target:
                found.add(Edge(int(source[1]), target, dangles=bool(is_sum)))
    return found


@pytest.mark.parametrize(
    "model",
    [
        "spinenet_49",
        "r0_sp53",
        "r23_sp30",
        "spinenet_mobile_49xs",
        "eff_spinenet_m0",
        pytest.param(DAMAGED, id="damaged"),
    ],
)
def test_the_connections_are_those_of_the_model(model):
    net = backbone(model, (None, None, 3), **NARROW)
    nodes, edges = wiring(net.spec, net.pyramid_levels, net.style.width)
    between = {edge for edge in edges if edge.target >= len(net.spec.stem)}
    assert between == _connections(net)
    assert [node.level for node in nodes if node.is_output] == [
        block.level for block in net.spec.blocks if block.is_output and block.level >= 3
    ]
    last = {int(_NODE.match(layer.name)[1]): layer for layer in net.layers if _NODE.match(layer.name)}
    assert {node.number: node.channels for node in nodes} == {node: x.output.shape[-1] for node, x in last.items()}


def test_an_output_that_is_not_built_is_left_out_with_what_only_it_needs():
    spec = VARIANTS["spinenet_49"].graph
    assert [node.number for node in wiring(spec, range(2, 8))[0]] == list(range(18))
    assert [node.number for node in wiring(spec, range(3, 8))[0]] == list(range(17))
    nodes, edges = wiring(spec, [3])
    assert [node.number for node in nodes] == [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 13]
    assert {edge.target for edge in edges} == {1, *range(2, 11), 13}


def test_each_unread_node_joins_the_first_output_of_its_shape(tiny_spec):
    assert dangling(tiny_spec) == {5: (2,), 6: (), 7: ()}
    assert dangling(VARIANTS["spinenet_49"].graph)[14] == (11,)


@pytest.mark.parametrize("name", list_models("efficient"))
def test_learned_widths_leave_the_connections_of_spinenet_49_at_every_multiplier(name):
    row, width = VARIANTS[name], VARIANTS[name].style["width"]
    nodes, edges = wiring(row.graph, range(3, 8), width)
    expected_nodes, expected_edges = wiring(VARIANTS["spinenet_49"].graph, range(3, 8))
    assert edges == expected_edges, "node 11 joins node 14 only if both are as wide"
    assert [node.level for node in nodes[2:]] == [node.level for node in expected_nodes[2:]], "the stem starts finer"
    assert all(node.channels % 8 == 0 for node in nodes)
    assert [node.channels for node in nodes[2:]] == pytest.approx(
        [block.width * width for block in row.graph.blocks], abs=4
    )


def test_an_fpn_reads_the_last_stage_of_each_level():
    nodes, edges = wiring(R50_FPN, range(3, 8), endpoint=64)
    pyramid = {node.number: node.level for node in nodes if node.part == "pyramid"}
    assert pyramid == {16: 5, 17: 4, 18: 3, 19: 6, 20: 7}
    assert {(edge.source, edge.target) for edge in edges if edge.target in pyramid} == {
        *((15, 16), (12, 17), (16, 17), (6, 18), (17, 18)),
        *((16, 19), (19, 20)),
    }
    assert {node.channels for node in nodes if node.is_output} == {64}


def test_transposed_convs_halve_their_channels_up_to_the_output():
    nodes, edges = wiring(RESNET_18, [2], endpoint=64)
    assert [(node.level, node.channels, node.is_output) for node in nodes[8:]] == [
        *((4, 256, False), (3, 128, False), (2, 64, True)),
    ]
    assert [(edge.source, edge.target) for edge in edges] == [(node, node + 1) for node in range(10)]
