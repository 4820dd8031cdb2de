"""The activation and the SE gate of a checkpoint are inferred from its BN statistics; unclear cases are refused."""

from __future__ import annotations

import pytest

import spinenet_tf
from spinenet_tf.checkpoints import activation
from spinenet_tf.checkpoints.activation import candidates_of, find_functions
from spinenet_tf.checkpoints.checkpoint import CheckpointError
from spinenet_tf.models import backbone_builder

OPTIONS = {"max_level": 5}


def find(source, name: str, overrides: dict) -> dict[str, str]:
    return find_functions(source, name, backbone_builder(name, overrides), overrides)


@pytest.fixture
def trained(settle, tiny_models):
    """Return `trained(name, ...)`: a net with the BN statistics that training with these functions converges to."""

    def make(name: str, **functions: str):
        return settle(spinenet_tf.backbone(name, (256, 256, 3), **functions, **OPTIONS))

    return make


@pytest.mark.parametrize("name", ["relu", "swish"])
def test_the_activation_of_a_standard_net_is_found(trained, garden_checkpoint, name) -> None:
    assert find(garden_checkpoint(trained("tiny", activation=name)), "tiny", OPTIONS) == {"activation": name}


@pytest.mark.parametrize("gate", ["hard_sigmoid", "sigmoid"])
@pytest.mark.parametrize("name", ["swish", "hard_swish"])
def test_activation_and_gate_of_a_mobile_net_are_found(trained, garden_checkpoint, name, gate) -> None:
    functions = {"activation": name, "se_gate": gate}
    source = garden_checkpoint(trained("tiny_mobile", **functions))
    assert find(source, "tiny_mobile", OPTIONS) == functions


def test_what_is_given_is_not_sought(monkeypatch, tiny_models, garden_checkpoint) -> None:
    monkeypatch.setattr(activation, "shifts_by_norm", None)
    source = garden_checkpoint(spinenet_tf.backbone("tiny", (64, 64, 3), **OPTIONS))
    assert find(source, "tiny", OPTIONS | {"activation": "gelu"}) == {"activation": "gelu"}
    given = {"activation": "relu6", "se_gate": "sigmoid"}
    assert find(source, "tiny_mobile", given) == given


def test_the_gate_alone_is_found(trained, garden_checkpoint) -> None:
    functions = {"activation": "hard_swish", "se_gate": "sigmoid"}
    source = garden_checkpoint(trained("tiny_mobile", **functions))
    assert find(source, "tiny_mobile", OPTIONS | {"activation": "hard_swish"}) == functions


def test_the_candidates_are_what_code_bases_trained_with(tiny_models) -> None:
    assert list(candidates_of("tiny", {})) == [{"activation": "relu"}, {"activation": "swish"}]
    assert list(candidates_of("tiny_mobile", {"se_ratio": 0})) == [
        {"activation": "swish"},
        {"activation": "hard_swish"},
    ]
    assert len(list(candidates_of("spinenet_mobile_49", {}))) == 4
    lite = [functions["activation"] for functions in candidates_of("spinenet_mobile_49_lite", {})]
    assert lite == ["relu6", "swish", "hard_swish"]


def test_a_tie_is_refused(trained, garden_checkpoint) -> None:
    """Statistics halfway between both candidates: neither is chosen."""
    net = trained("tiny", activation="relu")
    weights = net.get_weights()
    other = trained("tiny", activation="swish")
    for index, (ours, theirs) in enumerate(zip(weights, other.get_weights(), strict=True)):
        weights[index] = (ours + theirs) / 2
    net.set_weights(weights)
    with pytest.raises(CheckpointError, match=r"do not show whether .* activation=relu or activation=swish: set one"):
        find(garden_checkpoint(net), "tiny", OPTIONS)


def test_a_net_that_was_not_trained_is_refused(tiny_models, garden_checkpoint) -> None:
    """Initial moving means are 0 for any activation: one candidate is nearer, but none fits."""
    net = spinenet_tf.backbone("tiny", (64, 64, 3), **OPTIONS)
    with pytest.raises(CheckpointError, match=r"do not show whether .* swish is 0\.\d\d deviations off"):
        find(garden_checkpoint(net), "tiny", OPTIONS)
