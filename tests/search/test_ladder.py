"""The nets of the experiment are those of the paper, and results are counted as they should be."""

from __future__ import annotations

from statistics import stdev

import pytest

from spinenet_tf.nets.family import variant
from spinenet_tf.search.ladder import GROUPS, LADDER, chosen
from spinenet_tf.search.ladder_plot import draw_results
from spinenet_tf.search.ladder_results import pooled_spread, summarize
from spinenet_tf.search.proxy import count_costs
from spinenet_tf.training.config_file import find_config, read_config

RUNGS = {rung.name: rung for rung in LADDER}


def row(net: str, seed: int, ap: float, **more: float) -> dict:
    return {"net": net, "seed": seed, "AP": ap, "APs": ap, "parameters": 1_000_000, "multiply_adds": 2_000_000} | more


def test_the_ladder_is_made_of_the_familys_graphs() -> None:
    assert len(RUNGS) == len(LADDER)
    assert {rung.group for rung in LADDER} == set(GROUPS)
    for rung in LADDER:
        if rung.group == "ladder":
            assert rung.graph(0) is rung.graph(1) is variant(rung.name).graph
    assert all(RUNGS[name].graph(0) != RUNGS[name].graph(1) for name in ("hourglass", "fish"))


def test_nets_are_chosen_by_name_or_group_in_the_order_of_the_experiment() -> None:
    assert chosen() == LADDER
    assert [rung.name for rung in chosen(["fish", "ladder"])] == [
        *("spinenet_49", "r0_sp53", "r23_sp30", "r50_fpn"),
        "fish",
    ]
    with pytest.raises(ValueError, match="Did you mean 'hourglass'"):
        chosen(["hourglas"])


def test_nets_at_equal_cost_have_the_multiply_adds_of_r0_sp53() -> None:
    config = read_config(find_config("ladder")).model_copy(update={"class_names": ("digit",)})
    target = count_costs(config, RUNGS["r0_sp53"].graph(0)).multiply_adds
    for rung in chosen(["equal_cost"]):
        assert count_costs(rung.scaled(config), rung.graph(0)).multiply_adds == pytest.approx(target, rel=0.003)


def test_the_width_of_a_net_is_relative_to_that_of_the_proxy() -> None:
    config = read_config(find_config("ladder"))
    (rung, *_) = chosen(["equal_cost"])
    assert rung.width != 1
    assert rung.scaled(config).model.overrides == config.model.overrides | {"width": 0.25 * rung.width}
    assert RUNGS["r0_sp53"].scaled(config) is config


def test_results_are_means_over_the_trainings_of_a_net() -> None:
    rows = [{"unit": "proxy", "config": {}}, row("fish", 0, 0.25, multiply_adds=1_000_000), row("fish", 1, 0.35)]
    (result,) = summarize(rows)
    assert result.rung is RUNGS["fish"]
    assert result.AP == (0.25, 0.35)
    assert result.mean == pytest.approx(0.3)
    assert result.spread == pytest.approx(stdev([0.25, 0.35]))
    assert result.APs == pytest.approx(0.3)
    assert result.APm is None
    assert result.multiply_adds == 1_500_000
    (single,) = summarize([row("fish", 0, 0.2)])
    assert single.spread is None


def test_a_training_far_below_the_best_of_its_net_counts_as_failed_only() -> None:
    (result,) = summarize([row("r50_fpn", 0, 0.44), row("r50_fpn", 1, 0.21), row("r50_fpn", 2, 0.4)])
    assert result.failed == (0.21,)
    assert result.AP == (0.44, 0.4)
    assert result.APs == result.mean == pytest.approx(0.42)
    (result,) = summarize([row("chain", 0, 0.0), row("chain", 1, 0.1)])
    assert result.failed == ()


def test_the_spread_is_pooled_over_repeated_nets_of_one_graph() -> None:
    rows = [row("r0_sp53", 0, 0.2), row("r0_sp53", 1, 0.3), row("r50_fpn", 0, 0.5), row("r50_fpn", 1, 0.5)]
    found = pooled_spread(summarize(rows))
    assert found is not None
    assert found == (pytest.approx(stdev([0.2, 0.3]) / 2**0.5), 2)
    assert pooled_spread(summarize([*rows, row("fish", 0, 0.0), row("fish", 1, 1.0)])) == found
    assert pooled_spread(summarize([row("r0_sp53", 0, 0.1)])) is None


def test_the_picture_shows_every_net() -> None:
    results = summarize([row("fish", 0, 0.25), row("fish", 1, 0.35), row("r0_sp53", 0, 0.5)])
    assert draw_results(results)[:4] == b"\x89PNG"
    picture = draw_results(results, "svg").decode()
    assert picture == draw_results(results, "svg").decode()
    assert "fish" in picture
    with pytest.raises(ValueError, match="no results"):
        draw_results([])
