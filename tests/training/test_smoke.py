"""Every config of the package trains with its optimizer, schedule, loss, regularization, data options and overrides."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest

from spinenet_tf import ArchitectureSpec, BlockSpec
from spinenet_tf.nets.family import VARIANTS
from spinenet_tf.training import recipe
from spinenet_tf.training.config import ConfigError, TrainConfig
from spinenet_tf.training.config_file import find_config, read_config
from spinenet_tf.training.optimization import make_optimizer
from spinenet_tf.training.run import Run, build_model
from spinenet_tf.training.smoke import smoke

SHIPPED = sorted(
    entry.name.removesuffix(".yaml") for entry in files("spinenet_tf.configs").iterdir() if entry.name.endswith(".yaml")
)
pytestmark = [
    pytest.mark.usefixtures("eagerly"),
    pytest.mark.filterwarnings("ignore:Even though the `tf.config.experimental_run_functions_eagerly`"),
]


def graph(kind: str, widths: dict[int, int]) -> ArchitectureSpec:
    """Return the smallest graph with outputs P3 to P7, in which the next two nodes read every node."""
    blocks = tuple(BlockSpec(level, kind, (node, node + 1), is_output=True) for node, level in enumerate(range(3, 8)))
    if kind != "mbconv":
        return ArchitectureSpec(f"least_{kind}", (2, 2), blocks, widths)
    parts = {"stem_conv": "mobile", "stem_block": "mbconv", "resampling": "depthwise"}
    return ArchitectureSpec(f"least_{kind}", (1, 2), blocks, widths, **parts)


@pytest.fixture(scope="module")
def least_family() -> Iterator[None]:
    """Replace each graph with these levels by the smallest one; tests/test_models.py builds the full graphs."""
    standard, mobile = (graph(kind, {level: 64 for level in range(8)}) for kind in ("bottleneck", "mbconv"))
    with pytest.MonkeyPatch.context() as patch:
        for name, row in VARIANTS.items():
            if row.graph.levels == (3, 7):
                patch.setitem(VARIANTS, name, replace(row, graph=mobile if row.graph.is_separable else standard))
        yield


@pytest.fixture(scope="module")
def digits(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("digits")


@pytest.fixture(scope="module")
def train(tmp_path_factory, least_family) -> Callable[[TrainConfig], Run]:
    """Return `train(config)`, which returns the run of a shrunk config; configs that differ only by name train once."""
    runs: dict[str, Run] = {}

    def carry_out(config: TrainConfig) -> Run:
        graph = VARIANTS[config.model.name].graph.name
        key = config.to_yaml().replace(f"name: {config.model.name}\n", f"name: {graph}\n")
        if key not in runs:
            runs[key] = Run(tmp_path_factory.mktemp("smoke") / "run")
            recipe.train(config, runs[key].folder)
        return runs[key]

    return carry_out


@pytest.mark.parametrize("name", SHIPPED)
def test_every_shipped_config_trains(name: str, train, digits: Path) -> None:
    config = smoke(read_config(find_config(name)), digits)
    run = train(config)
    (row,) = run.log
    assert row["step"] == 2
    assert np.isfinite(list(row.values())).all()
    assert {"detection": "val_AP50", "instance segmentation": "val_mask_AP50", "classification": "val_top1"}[
        config.task
    ] in row
    assert run.weights_path.is_file()


ON_JAX = """
import pickle, sys
from pathlib import Path
import keras
from spinenet_tf.nets.family import VARIANTS
from spinenet_tf.training.config_file import find_config, read_config
from spinenet_tf.training.recipe import prepare
from spinenet_tf.training.smoke import smoke

assert keras.backend.backend() == "jax"
VARIANTS.update(pickle.load(open(sys.argv[1], "rb")))
models = {}
for name in sys.argv[2:]:
    config = smoke(read_config(find_config(name)), Path("nowhere")).model_copy(update={"class_names": ("a", "b")})
    key = f"{VARIANTS[config.model.name].graph.name} {config.model.head} {config.model.overrides} {config.optimizer}"
    models[key] = models.get(key) or prepare(config, steps=2)
    print(name, len(models[key].trainable_variables))
"""


def test_every_shipped_config_builds_on_jax_with_as_many_weights(tmp_path: Path, least_family, jax_process) -> None:
    pytest.importorskip("jax")
    (tmp_path / "family").write_bytes(pickle.dumps(dict(VARIANTS)))
    command = [sys.executable, "-c", ON_JAX, str(tmp_path / "family"), *SHIPPED]
    child = subprocess.run(command, env=os.environ | jax_process, capture_output=True, text=True, check=False)
    assert child.returncode == 0, child.stderr[-2000:]
    counts = dict(line.split() for line in child.stdout.splitlines())
    assert list(counts) == SHIPPED
    for name in ("spinenet-190-1280-c", "imagenet-spinenet-49"):
        config = smoke(read_config(find_config(name)), tmp_path).model_copy(update={"class_names": ("a", "b")})
        assert int(counts[name]) == len(build_model(config).trainable_variables)


def test_no_shipped_config_says_over_which_devices_statistics_are_taken() -> None:
    assert not any("sync_bn" in read_config(find_config(name)).model.overrides for name in SHIPPED)


def test_the_graph_and_what_varies_the_images_stay_and_sizes_shrink(tmp_path: Path) -> None:
    whole = read_config(find_config("spinenet-190-1280-c"))
    small = smoke(whole, tmp_path)
    assert small.model.name == "spinenet_190"
    assert small.model.overrides.items() >= whole.model.overrides.items()
    assert small.data.scale == whole.data.scale == (0.1, 1.9)
    assert small.optimizer.learning_rate == whole.optimizer.learning_rate == 0.3
    assert (small.epochs, small.steps_per_epoch, small.model.image_size) == (1, 2, (64, 64))
    assert not any(tmp_path.iterdir()), "nothing is written before training reads its data"


def test_what_accumulates_more_than_the_two_batches_still_makes_an_update(tmp_path: Path) -> None:
    assert smoke(read_config(find_config("digits"), ["optimizer.accumulate=8"]), tmp_path).optimizer.accumulate == 2
    assert smoke(read_config(find_config("digits")), tmp_path).optimizer.accumulate == 1


@pytest.mark.parametrize("override", ["optimizer.decay_epochs=[3, 1]", "optimizer={warmup_steps: 700}", "optimizer={}"])
def test_the_schedule_shrinks_with_the_run(override: str, tmp_path: Path) -> None:
    config = smoke(read_config(find_config("spinenet-49-640-b"), [override]), tmp_path)
    make_optimizer(config.optimizer, config.batch_size, config.steps_per_epoch, config.epochs)


def test_a_config_without_data_is_refused(tmp_path: Path) -> None:
    config = read_config(find_config("digits")).model_copy(update={"data": None})
    with pytest.raises(ConfigError, match="has no data"):
        smoke(config, tmp_path)


def test_the_command_tries_a_published_net_and_writes_nothing_but_its_run(tmp_path: Path, succeed, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    succeed("train", "spinenet-49s-640-b", "--smoke", "--run", "tried")
    assert [path.name for path in tmp_path.iterdir()] == ["tried"]
    assert Run("tried").config.model.name == "spinenet_49s"
    assert len(Run("tried").log) == 1
