"""A proxy trains a graph in place of its config's, resumes it, and counts its costs."""

from __future__ import annotations

from dataclasses import replace

import keras
import pytest

from spinenet_tf.nets.costs import count_params, multiply_adds
from spinenet_tf.search.proxy import count_costs, train_proxy
from spinenet_tf.training.config import TrainConfig
from spinenet_tf.training.config_file import make_config
from spinenet_tf.training.run import Run, RunError

pytestmark = [
    pytest.mark.usefixtures("eagerly"),
    pytest.mark.filterwarnings("ignore:Even though the `tf.config.experimental_run_functions_eagerly`"),
]


@pytest.fixture(scope="module")
def config(tmp_path_factory) -> TrainConfig:
    """Return a config whose net is never built: each test passes a tiny graph."""
    data = {"digits": str(tmp_path_factory.mktemp("data")), "classes": 1}
    values = {
        "model": {
            "name": "spinenet_49",
            "image_size": [64, 64],
            "overrides": {"max_level": 5, "endpoint": 8},
            "head": {"head_depth": 1, "head_width": 8, "score_threshold": 0.001},
        },
        "data": {"train": {"scenes": 8} | data, "val": {"scenes": 4} | data},
        "optimizer": {"warmup_steps": 0, "decay_epochs": []},
        "batch_size": 2,
        "steps_per_epoch": 2,
        "epochs": 1,
        "log_images": 0,
    }
    return make_config(values, "proxy")


@pytest.fixture(scope="module")
def trained(config, tiny_spec, tmp_path_factory) -> tuple[float, Run]:
    """Return the AP of a training with seed 3, and its run."""
    folder = tmp_path_factory.mktemp("proxy") / "run"
    return train_proxy(config, tiny_spec, folder, seed=3), Run(folder)


def test_the_graph_and_the_seed_are_those_of_the_arguments(trained, tiny_spec) -> None:
    ap, run = trained
    assert run.config.seed == 3
    assert run.load().backbone.spec == tiny_spec
    assert ap == run.log[-1]["val_AP"]
    assert 0 <= ap <= 1


def test_costs_are_those_of_the_trained_detector(config, trained, tiny_spec) -> None:
    costs, model = count_costs(config, tiny_spec), trained[1].load()
    assert costs.parameters == count_params(model)
    assert costs.multiply_adds == multiply_adds(model)
    wide = replace(tiny_spec, widths={2: 4, 3: 4, 4: 8, 5: 12})
    assert count_costs(config, wide).multiply_adds > costs.multiply_adds


def test_a_folder_of_another_training_is_refused(config, trained, tiny_spec) -> None:
    with pytest.raises(RunError, match="started with another config"):
        train_proxy(config, tiny_spec, trained[1].folder, seed=4)


def test_an_interrupted_training_goes_on_and_a_finished_one_stays(config, tiny_spec, tmp_path) -> None:
    def fail(batch, logs):
        raise ValueError("stopped")

    steps: list[int] = []
    stop, count = (
        keras.callbacks.LambdaCallback(on_train_batch_end=call)
        for call in (fail, lambda batch, logs: steps.append(batch))
    )
    with pytest.raises(ValueError, match="stopped"):
        train_proxy(config, tiny_spec, tmp_path / "run", seed=0, callbacks=[stop])
    ap = train_proxy(config, tiny_spec, tmp_path / "run", seed=0, callbacks=[count])
    assert steps == [1], "the second of two steps"
    assert train_proxy(config, tiny_spec, tmp_path / "run", seed=0, callbacks=[count]) == ap
    assert steps == [1]
