"""A weights file is written and loaded completely or not at all, and contains its architecture."""

from __future__ import annotations

import h5py
import keras
import numpy as np
import pytest

from spinenet_tf import backbone, detector
from spinenet_tf.nets.base import SpineNetModel
from spinenet_tf.nets.weights import ArchitectureError, read_architecture, seal


@pytest.fixture(scope="module")
def saved(tiny_backbone, tmp_path_factory):
    path = tmp_path_factory.mktemp("saved") / "tiny.weights.h5"
    tiny_backbone.save_weights(path)
    return path


@pytest.fixture
def fresh(tiny_spec, randomize):
    """Return a model of the saved architecture, with another input size and other weights."""
    return randomize(backbone(tiny_spec, (32, 96, 3), max_level=5, endpoint=8), seed=1)


def _unchanged(model, before) -> bool:
    return all(np.array_equal(old, new) for old, new in zip(before, model.get_weights(), strict=True))


def test_weights_come_back_as_they_were_saved_whatever_the_image_size(saved, fresh, tiny_backbone):
    fresh.load_weights(saved)
    assert _unchanged(fresh, tiny_backbone.get_weights())


def test_a_file_says_what_it_belongs_to(saved, tiny_backbone):
    architecture = read_architecture(saved)
    assert architecture["model"] == "tiny"
    assert architecture["graph"]["blocks"][1]["parents"] == [0, 1]
    assert (architecture["endpoint"], architecture["activation"]) == (8, "relu")


@pytest.mark.parametrize(
    ("override", "difference"),
    [
        ({"endpoint": 16}, "endpoint: 8 in the file, 16 in the model"),
        ({"activation": "swish"}, "activation: relu in the file, swish in the model"),
        ({"norm_epsilon": 1e-5}, "norm_epsilon: 0.001 in the file, 1e-05 in the model"),
        ({"repeats": 2}, "repeats: 1 in the file, 2 in the model"),
        ({"max_level": 4}, "max_level: 5 in the file, 4 in the model"),
    ],
)
def test_another_architecture_is_refused_with_the_difference_and_nothing_is_written(
    saved, tiny_spec, override, difference
):
    model = backbone(tiny_spec, (64, 64, 3), **{"max_level": 5, "endpoint": 8} | override)
    before = model.get_weights()
    with pytest.raises(ArchitectureError) as error:
        model.load_weights(saved)
    message, table = str(error.value).splitlines(), "  weight "
    assert message[1] == f"  {difference}"
    assert message[2:3] == [] or message[2].startswith(table), "then the shapes that differ, if any do"
    assert str(saved) in str(error.value)
    assert _unchanged(model, before)


def test_another_graph_of_equal_shapes_is_refused(saved, tiny_spec):
    config = tiny_spec.get_config()
    config["blocks"][3]["parents"] = [0, 4]
    model = backbone(type(tiny_spec).from_config(config), (64, 64, 3), max_level=5, endpoint=8)
    with pytest.raises(ArchitectureError, match=r"graph.blocks.3.parents: \[1, 4\] in the file, \[0, 4\] in the model"):
        model.load_weights(saved)


def test_another_number_of_classes_is_refused(tiny_spec, tmp_path):
    arguments = {"input_shape": (64, 64, 3), "max_level": 5, "head_depth": 1, "head_width": 8, "endpoint": 8}
    path = tmp_path / "two.weights.h5"
    detector(tiny_spec, 2, **arguments).save_weights(path)
    with pytest.raises(ArchitectureError, match=r"  classes: 2 in the file, 3 in the model"):
        detector(tiny_spec, 3, **arguments).load_weights(path)


def test_a_damaged_file_leaves_the_model_as_it_was(saved, fresh, tmp_path):
    path = tmp_path / "damaged.weights.h5"
    path.write_bytes(saved.read_bytes())
    with h5py.File(path, "a") as file:
        last = sorted(name for name in file["layers"] if name.startswith("conv2d"))[-1]
        del file["layers"][last]["vars"]["0"]
    path.write_bytes(path.read_bytes() + seal(path.read_bytes()))
    before = fresh.get_weights()
    with pytest.raises(ValueError, match="damaged, nothing was loaded"):
        fresh.load_weights(path)
    assert _unchanged(fresh, before)


@pytest.mark.parametrize("kept", [0.0, 0.3, 0.9])
def test_a_truncated_file_leaves_the_model_as_it_was(saved, fresh, tmp_path, kept):
    path = tmp_path / "truncated.weights.h5"
    path.write_bytes(saved.read_bytes()[: int(kept * saved.stat().st_size)])
    before = fresh.get_weights()
    with pytest.raises(ValueError, match=r"truncated.weights.h5 has no checksum"):
        fresh.load_weights(path)
    assert _unchanged(fresh, before)


def test_a_file_without_an_architecture_is_refused(fresh, tmp_path):
    path = tmp_path / "plain.weights.h5"
    keras.Model.save_weights(fresh, path)
    with pytest.raises(ValueError, match="was not written by save_weights"):
        fresh.load_weights(path)


def test_a_missing_file_is_refused_by_its_name(fresh, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"Weights file not found: .*absent.weights.h5"):
        fresh.load_weights(tmp_path / "absent.weights.h5")


@pytest.mark.parametrize("act", ["save_weights", "load_weights"])
def test_another_suffix_is_refused(fresh, tmp_path, act):
    with pytest.raises(ValueError, match=r"must end in .weights.h5. Received: filepath='.*net.h5'"):
        getattr(fresh, act)(tmp_path / "net.h5")
    assert not list(tmp_path.iterdir())


def test_a_failed_save_leaves_no_file_and_keeps_the_old_one(fresh, tmp_path, monkeypatch):
    path = tmp_path / "net.weights.h5"
    path.write_bytes(b"the old file")
    monkeypatch.setattr(type(fresh), "architecture", lambda self: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        fresh.save_weights(path)
    assert [file.name for file in tmp_path.iterdir()] == ["net.weights.h5"]
    assert path.read_bytes() == b"the old file"


def test_an_existing_file_is_kept_unless_it_may_be_replaced(fresh, tmp_path):
    path = tmp_path / "net.weights.h5"
    fresh.save_weights(path)
    content = path.read_bytes()
    with pytest.raises(FileExistsError, match="overwrite=True"):
        fresh.save_weights(path, overwrite=False)
    assert path.read_bytes() == content


def of_two_layers(optimizer: str | keras.Optimizer | None) -> SpineNetModel:
    keras.utils.set_random_seed(1)
    x = keras.Input((4,))
    model = TwoLayers(x, keras.layers.Dense(2, name="second")(keras.layers.Dense(4, name="first")(x)))
    if optimizer is not None:
        model.compile(optimizer, "mse", run_eagerly=True)
    return model


class TwoLayers(SpineNetModel):
    def architecture(self):
        return {"model": "two layers"}

    def trained(self) -> TwoLayers:
        self.fit(np.ones((8, 4)), np.ones((8, 2)), verbose=0)
        return self


def state(model) -> list[np.ndarray]:
    return [np.array(variable.value) for variable in model.optimizer.variables]


def test_a_compiled_model_saves_and_restores_its_optimizer(tmp_path):
    model, path = of_two_layers("adam").trained(), tmp_path / "two.weights.h5"
    model.save_weights(path)
    other = of_two_layers("adam")
    other.load_weights(path)
    assert [value.shape for value in state(other)] == [(), (), (4, 4), (4, 4), (4,), (4,), (4, 2), (4, 2), (2,), (2,)]
    assert all(map(np.array_equal, state(other), state(model)))
    assert int(other.optimizer.iterations) == 1
    uncompiled = of_two_layers(None)
    uncompiled.load_weights(path)
    assert _unchanged(uncompiled, model.get_weights())


def test_a_file_without_an_optimizer_loads_and_leaves_the_models_own(tmp_path):
    path = tmp_path / "two.weights.h5"
    of_two_layers("adam").trained().save_weights(path, include_optimizer=False)
    with h5py.File(path) as file:
        assert "optimizer" not in file
    model = of_two_layers("adam").trained()
    before = state(model)
    model.load_weights(path)
    assert all(map(np.array_equal, state(model), before))


@pytest.mark.parametrize(
    "other",
    ["lion", keras.optimizers.SGD(0.1, momentum=0.9), keras.optimizers.RMSprop(momentum=0.9), "adam"],
    ids=["of as many variables", "of another step", "of the same shapes", "of other layers"],
)
def test_the_state_of_another_optimizer_is_left_out_and_told(tmp_path, other):
    path = tmp_path / "two.weights.h5"
    saved = of_two_layers(keras.optimizers.SGD(0.1, momentum=0.5) if other == "lion" else "adam")
    if other == "adam":
        saved.get_layer("first").trainable = False
    saved.trained().save_weights(path)
    model = of_two_layers(other).trained()
    before = state(model)
    with pytest.warns(UserWarning, match=r"two.weights.h5: the weights were loaded, but the optimizer's state was not"):
        model.load_weights(path)
    assert all(map(np.array_equal, state(model), before))
    assert _unchanged(model, saved.get_weights())


def test_the_same_optimizer_with_another_rate_goes_on(tmp_path):
    path = tmp_path / "two.weights.h5"
    of_two_layers(keras.optimizers.SGD(keras.optimizers.schedules.CosineDecay(0.1, 9), 0.9)).trained().save_weights(
        path
    )
    model = of_two_layers(keras.optimizers.SGD(keras.optimizers.schedules.CosineDecay(0.2, 5), 0.8))
    model.load_weights(path)
    assert int(model.optimizer.iterations) == 1


def test_pure_bfloat16_comes_back(tmp_path):
    path = tmp_path / "two.weights.h5"
    with_policy = keras.config.dtype_policy()
    keras.config.set_dtype_policy("bfloat16")
    try:
        model, other = of_two_layers("adam").trained(), of_two_layers("adam")
    finally:
        keras.config.set_dtype_policy(with_policy)
    model.save_weights(path)
    other.load_weights(path)
    assert all(map(np.array_equal, state(other), state(model)))
