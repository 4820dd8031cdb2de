"""Configs of searches: names, files, bases and overrides; errors are one line and name the key."""

from __future__ import annotations

from importlib.resources import files

import pytest
import synthetic
import yaml

from spinenet_tf.search.config import SearchConfig, check_same, read_search_config
from spinenet_tf.training.config import ConfigError

pytestmark = pytest.mark.unseeded
SHIPPED = sorted(entry.name for entry in files("spinenet_tf.configs.search").iterdir() if entry.name.endswith(".yaml"))
LATENCY = {"kind": "int8_latency", "model": "spinenet_mobile_49xs_lite", "reference": "spinenet_mobile_49xs_lite"}


@pytest.mark.parametrize("name", SHIPPED)
def test_each_built_in_search_is_valid_and_survives_a_trip_through_yaml(name, tmp_path):
    config = read_search_config(name.removesuffix(".yaml"))
    (tmp_path / "again.yaml").write_text(config.to_yaml())
    assert read_search_config(tmp_path / "again.yaml") == config
    assert config.search_space().size() > 1e9


def test_there_are_built_in_searches():
    assert SHIPPED == ["demo.yaml", "digits.yaml", "mobile.yaml", "paper.yaml"]


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"tials": 3}, "Unknown key 'tials'. Did you mean 'trials'?"),
        ({"space": "spinet"}, "space: Unknown space 'spinet'. Did you mean 'spinenet'?"),
        ({"space": {"name": "spinenet", "windw": 4}}, "space: Unknown key of a space 'windw'. Did you mean 'window'?"),
        ({"space": {"name": "spinenet", "window": 1}}, "`window` must be at least 2"),
        ({"trials": 0}, "trials: Input should be greater than or equal to 1"),
        ({"sampler": "evolutoin"}, "sampler: Unknown sampler 'evolutoin'. Did you mean 'evolution'?"),
        ({"sampler": {"name": "evolution", "population": 1}}, "population"),
        ({"objective": {"kind": "limit"}}, "objective: `costs` must have one or more for this kind."),
        ({"objective": {"kind": "ap", "costs": [LATENCY]}}, "objective: `costs` must have no cost for this kind."),
        (
            {"objective": {"kind": "front", "costs": [LATENCY]}, "sampler": "evolution", "pruning": {}},
            "`pruning` needs one objective",
        ),
        ({"objective": {"kind": "limit", "costs": [{"kind": "multiply_adds"}]}}, "A cost needs a `reference` or a"),
        (
            {"objective": {"kind": "limit", "costs": [{"kind": "int8_latency", "target": 5}]}},
            "A latency needs a `model`",
        ),
        ({"proxy": "digits-classification"}, "proxy: The proxy must train a detector."),
        ({"proxy": "nowhere"}, "There is no config nowhere"),
        ({"proxy": synthetic.PROXY | {"epoch": 3}}, "proxy: Unknown key 'epoch'. Did you mean 'epochs'?"),
    ],
)
def test_a_mistake_is_named_with_its_key(changed, message):
    with pytest.raises(ConfigError) as error:
        synthetic.config(**changed)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_a_proxy_is_a_name_a_file_or_a_mapping_with_a_base(tmp_path):
    (tmp_path / "small.yaml").write_text(yaml.safe_dump(synthetic.PROXY))
    found = {}
    for name, proxy in (("name", "demo"), ("file", "small.yaml"), ("base", {"base": "small.yaml", "epochs": 7})):
        (tmp_path / f"{name}.yaml").write_text(yaml.safe_dump({"space": "spinenet", "proxy": proxy, "trials": 3}))
        found[name] = (
            read_search_config(tmp_path / f"{name}.yaml", ["proxy.batch_size=6"])
            if name == "base"
            else (read_search_config(tmp_path / f"{name}.yaml"))
        )
    assert found["name"].proxy.model.name == "spinenet_mobile_49xs"
    assert found["file"].proxy == synthetic.config().proxy
    assert (found["base"].proxy.epochs, found["base"].proxy.batch_size) == (7, 6)


def test_a_search_goes_on_only_with_the_config_that_it_was_started_with():
    config = synthetic.config()
    check_same(config, synthetic.config(trials=100, retries=5), "study.journal")
    with pytest.raises(ConfigError, match=r"was started with another config. .* Received: other seed"):
        check_same(config, synthetic.config(seed=3), "study.journal")


def test_own_values_of_a_space_replace_those_of_the_named_one():
    config = synthetic.config(space={"name": "spinenet", "window": 4, "kinds": ["bottleneck"]})
    assert isinstance(config, SearchConfig)
    space = config.search_space()
    assert (space.window, space.kinds) == (4, ("bottleneck",))
