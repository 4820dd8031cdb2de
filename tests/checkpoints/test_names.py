"""Canonical names depend only on the order of creation; all variables of a net have one."""

from __future__ import annotations

from dataclasses import replace

import pytest

import spinenet_tf
from spinenet_tf.checkpoints.names import canonical_names, variables_by_name


def test_ranks_replace_numbers():
    names = [
        "conv2d_77/kernel",
        "conv2d_80/kernel",
        "conv2d_9/kernel",
        "sync_batch_normalization_4/gamma",
        "bottleneck_block/conv2d_1/kernel",
        "bottleneck_block/conv2d/kernel",
        "bottleneck_block_12/batch_normalization_3/moving_mean",
        "inverted_bottleneck_block_2/squeeze_excitation/conv2d_2/bias",
        "retina_net_model/retina_net_head/classnet-conv-norm_5_3/beta",
        "retina_net_head/scores/bias",
    ]
    by_name = {name: canonical for canonical, name in canonical_names(names).items()}
    assert [by_name[name] for name in names] == [
        "conv2d:1/kernel",
        "conv2d:2/kernel",
        "conv2d:0/kernel",
        "norm:0/gamma",
        "bottleneck_block:0/conv2d:1/kernel",
        "bottleneck_block:0/conv2d:0/kernel",
        "bottleneck_block:1/norm:0/moving_mean",
        "inverted_bottleneck_block:0/squeeze_excitation:0/conv2d:0/bias",
        "retina_net_head/classnet-conv-norm_5_3/beta",
        "retina_net_head/scores/bias",
    ]


def test_two_variables_of_one_name_are_refused():
    with pytest.raises(ValueError, match="the same canonical name, norm:0/gamma"):
        canonical_names(["batch_normalization_3/gamma", "sync_batch_normalization_3/gamma"])


@pytest.mark.parametrize("name", ["spinenet_49s", "spinenet_mobile_49xs"])
def test_every_variable_has_one_name(name):
    detector = spinenet_tf.detector(name, 3, (64, 64, 3))
    named = variables_by_name(detector)
    assert {id(variable) for variable in named.values()} == {id(variable) for variable in detector.variables}
    assert len(named) == len(detector.variables)


def test_a_resnet_fpn_is_refused():
    with pytest.raises(ValueError, match="only nets of scale-permuted blocks"):
        variables_by_name(spinenet_tf.backbone("r50_fpn", (64, 64, 3)))


def test_a_block_that_other_projects_do_not_have_is_refused(tiny_mobile_spec):
    spec = replace(tiny_mobile_spec, blocks=(replace(tiny_mobile_spec.blocks[0], kind="fused_mbconv", is_output=True),))
    with pytest.raises(ValueError, match=r"only blocks of kind \('bottleneck', .*Received: \['fused_mbconv'\]"):
        variables_by_name(spinenet_tf.backbone(spec, (64, 64, 3)))
