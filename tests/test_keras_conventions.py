"""What a Keras user expects of any model works here, or is refused with a reason: the rows of `docs/keras.md`."""

from __future__ import annotations

import copy
import json
import pickle
import re
from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np
import pytest

from spinenet_tf import ArchitectureSpec, BlockSpec, backbone, classifier, detector
from spinenet_tf.heads.retinanet import RetinaNet
from spinenet_tf.nets.backbone import Backbone

SHAPE = (32, 32, 3)
BLOCKS = (
    BlockSpec(4, "residual", (0, 1)),
    BlockSpec(3, "bottleneck", (1, 2), is_output=True),
    BlockSpec(4, "residual", (2, 3), is_output=True),
)
SPEC = ArchitectureSpec("three", (2, 2), BLOCKS, {2: 4, 3: 4, 4: 8})
OPTIONS = {"retinanet": {"head_depth": 1, "head_width": 8}, "centernet": {"head_width": 8, "stride": 8}}
ROUNDS = {"float16": 2e-2, "bfloat16": 1e-1}  # differences of outputs in half precision, relative to the largest


def build(kind: str, **overrides):
    """Build a model of three blocks and two levels with new weights."""
    if kind == "backbone":
        return backbone(SPEC, SHAPE, endpoint=8, **overrides)
    if kind == "classifier":
        return classifier(SPEC, 3, SHAPE, endpoint=8, **overrides)
    return detector(SPEC, 3, SHAPE, head=kind, endpoint=8, **OPTIONS[kind], **overrides)


@pytest.fixture(scope="module")
def models(randomize) -> dict[str, keras.Model]:
    """Return a model of each kind with random weights. They are shared: do not change them."""
    return {kind: randomize(build(kind)) for kind in KINDS}


KINDS = ("backbone", "classifier", "retinanet", "centernet")
each_kind = pytest.mark.parametrize("kind", KINDS)


def outputs(model, images) -> list[np.ndarray]:
    """Return the outputs of a call as float32 arrays."""
    return [np.asarray(keras.ops.cast(x, "float32")) for x in keras.tree.flatten(model(images, training=False))]


def assert_same(ours, theirs) -> None:
    """Check that two lists of arrays are equal."""
    for mine, other in zip(ours, theirs, strict=True):
        np.testing.assert_array_equal(mine, other)


def assert_near(found, expected, tolerance: float) -> None:
    """Check that two lists of arrays differ by at most `tolerance` times the largest value of each array."""
    for mine, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(mine, other, atol=tolerance * np.abs(other).max())


def truth(count: int = 4) -> dict[str, np.ndarray]:
    """Return boxes and classes for `count` images."""
    boxes = np.array([[[4, 4, 20, 20], [10, 10, 30, 28]], [[8, 4, 24, 30], [-1, -1, -1, -1]]], "float32")
    classes = np.array([[0, 2], [1, -1]], "int32")
    return {"boxes": np.tile(boxes, (count // 2, 1, 1)), "classes": np.tile(classes, (count // 2, 1))}


# Building and restoring


@each_kind
def test_a_config_in_json_rebuilds_the_model(models, kind):
    net = models[kind]
    config = json.loads(json.dumps(net.get_config()))
    built = type(net).from_config(config)
    assert built.get_config() == net.get_config()
    assert built.architecture() == net.architecture()
    assert [weight.path for weight in built.weights] == [weight.path for weight in net.weights]
    assert keras.models.model_from_json(net.to_json()).get_config() == net.get_config()


def test_set_random_seed_repeats_the_initial_weights():
    weights = []
    for seed in (1, 1, 2):
        keras.utils.set_random_seed(seed)
        weights.append(build("retinanet").get_weights())
    assert_same(weights[0], weights[1])
    assert not np.array_equal(weights[0][0], weights[2][0])


@each_kind
def test_load_model_restores_class_and_outputs(models, images, tmp_path, kind):
    net = models[kind]
    net.save(tmp_path / "net.keras")
    restored = keras.saving.load_model(tmp_path / "net.keras")
    assert type(restored) is type(net)
    assert_same(outputs(restored, images(32, 32)), outputs(net, images(32, 32)))


def test_load_model_restores_the_optimizer_and_what_is_frozen(images, tmp_path):
    net = build("retinanet")
    net.backbone.trainable = False
    net.get_layer("box_conv0").trainable = False
    net.compile(keras.optimizers.SGD(0.01, momentum=0.9))
    net.fit(images(32, 32), truth(2), verbose=0)
    net.save(tmp_path / "net.keras")
    restored = keras.saving.load_model(tmp_path / "net.keras")
    assert not restored.backbone.trainable
    assert not restored.get_layer("box_conv0").trainable
    assert [weight.path for weight in restored.trainable_weights] == [weight.path for weight in net.trainable_weights]
    ours, theirs = ([np.array(one.value) for one in model.optimizer.variables] for model in (net, restored))
    assert len(ours) == 2 + len(net.trainable_weights)
    assert_same(theirs, ours)
    before = restored.backbone.get_weights()
    restored.fit(images(32, 32), truth(2), verbose=0)
    assert_same(restored.backbone.get_weights(), before)


@each_kind
def test_clone_model_copies_the_graph_as_a_plain_model(models, images, kind):
    net = models[kind]
    restored = keras.models.clone_model(net)
    assert type(restored).__name__ == "Functional"
    restored.set_weights(net.get_weights())
    assert_same(outputs(restored, images(32, 32)), outputs(net, images(32, 32)))


def test_the_clone_of_a_detector_cannot_train(images):
    net = build("retinanet")
    net.compile("sgd")
    with pytest.raises(ValueError, match="No loss"):
        keras.models.clone_model(net).fit(images(32, 32), truth(2), verbose=0)


def test_pickle_and_deepcopy_copy_the_model(models, images):
    net = models["retinanet"]
    for other in (copy.deepcopy(net), pickle.loads(pickle.dumps(net))):
        assert type(other) is type(net)
        assert_same(outputs(other, images(32, 32)), outputs(net, images(32, 32)))


@each_kind
def test_dtype_reaches_all_layers_and_comes_back(tmp_path, kind):
    net = build(kind, dtype="mixed_bfloat16")
    assert keras.config.dtype_policy().name == "float32", "the global policy is unchanged"
    named = {layer.dtype_policy.name for part in parts(net) for layer in part.layers if layer.weights}
    assert named - {"float32"} == {"mixed_bfloat16"}
    assert [layer.name for part in parts(net) for layer in part.layers if is_float32(layer)] == (
        ["head_logits"] if kind == "classifier" else []
    )
    net.save(tmp_path / "net.keras")
    restored, clone = keras.saving.load_model(tmp_path / "net.keras"), keras.models.clone_model(net)
    assert restored.get_config() == net.get_config()
    for other in (restored, clone):
        assert [layer.dtype_policy.name for layer in other.layers] == [layer.dtype_policy.name for layer in net.layers]
    exact = net.with_dtype("float32")
    assert {layer.compute_dtype for part in parts(exact) for layer in (part, *part.layers)} == {"float32"}
    assert exact.architecture() == net.architecture()
    assert_same(exact.get_weights(), net.get_weights())


def parts(net) -> list[keras.Model]:
    """Return a model and its backbone."""
    return [net, net.backbone] if hasattr(net, "backbone") else [net]


def is_float32(layer) -> bool:
    return bool(layer.weights) and not isinstance(layer, keras.Model) and layer.dtype_policy.name == "float32"


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16", "bfloat16"])
def test_weights_load_into_another_dtype(models, images, tmp_path, policy):
    net, exact = build("retinanet", dtype=policy), models["retinanet"]
    exact.save_weights(tmp_path / "float32.weights.h5")
    net.load_weights(tmp_path / "float32.weights.h5")
    tolerance = ROUNDS[policy.removeprefix("mixed_")]
    assert_near(outputs(net, images(32, 32)), outputs(exact, images(32, 32)), tolerance)
    net.save_weights(tmp_path / "half.weights.h5")
    back = build("retinanet")
    back.load_weights(tmp_path / "half.weights.h5")
    assert_near(back.get_weights(), exact.get_weights(), tolerance if policy == "bfloat16" else 0.0)


@pytest.mark.parametrize("default", ["mixed_bfloat16", None])
def test_dtype_policy_map_sets_the_dtype_of_single_layers(images, tmp_path, default):
    policies = keras.dtype_policies.DTypePolicyMap(default)
    policies["endpoint_P3"] = "float16"
    policies["class_.*"] = keras.DTypePolicy("mixed_float16")
    net = build("retinanet", dtype=policies)
    expected = {"endpoint_P3": "float16", "endpoint_P4": "bfloat16" if default else "float32"}
    assert {name: net.backbone.get_layer(name).compute_dtype for name in expected} == expected
    assert net.get_layer("class_conv0").compute_dtype == "float16"
    assert net.get_layer("box_conv0").compute_dtype == expected["endpoint_P4"]
    net.save(tmp_path / "net.keras")
    restored = keras.saving.load_model(tmp_path / "net.keras")
    for ours, theirs in zip(parts(net), parts(restored), strict=True):
        dtypes = [(layer.name, layer.compute_dtype, layer.variable_dtype) for layer in ours.layers]
        assert [(layer.name, layer.compute_dtype, layer.variable_dtype) for layer in theirs.layers] == dtypes
    assert_same(outputs(restored, images(32, 32)), outputs(net, images(32, 32)))
    assert dict(policies) == {"endpoint_P3": policies["endpoint_P3"], "class_.*": policies["class_.*"]}, "unchanged"


def test_the_global_dtype_policy_is_the_default():
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        net = build("retinanet")
    finally:
        keras.config.set_dtype_policy("float32")
    assert {part.dtype_policy.name for part in parts(net)} == {"mixed_bfloat16"}
    head = RetinaNet(Backbone.from_config(net.backbone.get_config()), 3, net.options)
    assert head.dtype_policy.name == "mixed_bfloat16", "a head follows its backbone"
    assert RetinaNet(net.backbone, 3, net.options, dtype="float32").get_layer("class_conv0").compute_dtype == "float32"


@pytest.mark.parametrize("dtype", ["int32", "float17", "int8_from_float32", 3])
def test_a_dtype_that_cannot_train_is_refused(dtype):
    with pytest.raises(ValueError, match=rf"{dtype}"):
        build("backbone", dtype=dtype)
    assert keras.config.dtype_policy().name == "float32"


# Looking at a model


@each_kind
def test_summary_lists_layers_and_parameters(models, kind):
    net, lines = models[kind], []
    net.summary(print_fn=lambda text, **_: lines.append(text), expand_nested=True)
    text = "\n".join(lines)
    assert f"Total params: {net.count_params():,}" in text
    assert all(name in text for name in ("stem_conv", "block3_conv1"))
    assert net.count_params() == sum(weight.size for weight in net.get_weights())


def test_get_layer_finds_layers_by_readable_names(models):
    assert models["retinanet"].get_layer("class_predictor").filters == 27
    assert models["retinanet"].get_layer("three") is models["retinanet"].backbone
    assert models["backbone"].get_layer("endpoint_P3_bn").gamma.shape == (8,)


@each_kind
def test_plot_model_draws_all_layers(models, kind):
    net = models[kind]
    dot = keras.utils.model_to_dot(net, show_shapes=True, show_layer_names=True, expand_nested=True)
    text = dot.to_string()
    assert all(layer.name in text for part in parts(net) for layer in part.layers if layer.weights)


@each_kind
def test_quantize_refuses_and_names_the_int8_export(models, images, kind):
    net = models[kind]
    before = outputs(net, images(32, 32))
    with pytest.raises(NotImplementedError, match=r"does not quantize convs.*export.tflite.*Received: mode='int8'"):
        net.quantize("int8")
    assert_same(outputs(net, images(32, 32)), before)


# A backbone in other models


def test_a_model_of_a_backbones_outputs(models, images):
    net = models["backbone"]
    assert list(net.pyramid_outputs) == ["P3", "P4"]
    assert net.pyramid_levels == (3, 4)
    assert [tuple(net.pyramid_outputs[name].shape) for name in ("P3", "P4")] == [(None, 4, 4, 8), (None, 2, 2, 8)]
    x = keras.ops.convert_to_tensor(images(32, 32))  # a list of one input takes no array without a warning
    expected = net(x)
    assert_same(outputs(keras.Model(net.inputs, net.outputs), x), list(expected.values()))
    some = keras.Model(net.inputs, {"fine": net.pyramid_outputs["P3"], "stem": net.get_layer("stem_conv").output})
    assert_same([some(x)["fine"]], [expected["P3"]])


def test_a_backbone_is_a_layer_of_another_model(images, tmp_path):
    net = build("backbone")
    inputs = keras.Input(SHAPE)
    pooled = [keras.layers.GlobalAveragePooling2D()(x) for x in net(keras.layers.Rescaling(1 / 255)(inputs)).values()]
    model = keras.Model(inputs, keras.layers.Dense(2)(keras.layers.Concatenate()(pooled)))
    model.compile("sgd", "mse")
    before = net.get_weights()
    model.fit(255 * images(32, 32), np.ones((2, 2)), verbose=0)
    assert any(not np.array_equal(old, new) for old, new in zip(before, net.get_weights(), strict=True))
    model.save(tmp_path / "net.keras")
    restored = keras.saving.load_model(tmp_path / "net.keras")
    assert [type(layer) for layer in restored.layers] == [type(layer) for layer in model.layers]
    assert_same(outputs(restored, images(32, 32)), outputs(model, images(32, 32)))


def test_a_classifier_in_a_sequential_model(models, images):
    inner = models["classifier"]
    model = keras.Sequential([keras.Input(SHAPE), keras.layers.Rescaling(1 / 255), inner, keras.layers.Softmax()])
    expected = keras.ops.softmax(inner(images(32, 32)))
    np.testing.assert_allclose(model.predict(255 * images(32, 32), verbose=0), expected, atol=1e-5)


# Training and prediction


class Pairs(keras.utils.PyDataset):
    """Batches of two images."""

    def __init__(self, x, y):
        super().__init__()
        self.x, self.y = x, y

    def __len__(self) -> int:
        return len(self.x) // 2

    def __getitem__(self, index: int):
        part = slice(2 * index, 2 * index + 2)
        return self.x[part], {name: values[part] for name, values in self.y.items()}


def as_dataset(x, y):
    import tensorflow as tf

    return tf.data.Dataset.from_tensor_slices((x, y)).batch(2)


def by_hand(net, x, y) -> None:
    for batch in range(2):
        net.train_on_batch(*Pairs(x, y)[batch])


FEEDS = {
    "arrays": lambda net, x, y: net.fit(x, y, batch_size=2, shuffle=False, verbose=0),
    "tf.data": lambda net, x, y: net.fit(as_dataset(x, y), verbose=0),
    "PyDataset": lambda net, x, y: net.fit(Pairs(x, y), shuffle=False, verbose=0),
    "generator": lambda net, x, y: net.fit((batch for batch in Pairs(x, y)), steps_per_epoch=2, verbose=0),
    "train_on_batch": by_hand,
}


@pytest.fixture(scope="module")
def start() -> list[np.ndarray]:
    """Return the weights from which all models train."""
    return build("retinanet").get_weights()


@pytest.fixture(scope="module")
def trained(start, images) -> Callable:
    """Return `trained(feed, **compiled)`, which returns what two steps of training change in the weights."""

    def run(feed: str, **compiled) -> np.ndarray:
        net = build("retinanet")
        net.set_weights(start)
        net.compile(keras.optimizers.SGD(0.01), **compiled)
        FEEDS[feed](net, images(32, 32, 4), truth())
        return np.concatenate([np.ravel(new - old) for old, new in zip(start, net.get_weights(), strict=True)])

    return run


@pytest.fixture(scope="module")
def usual(trained) -> np.ndarray:
    """Return what the two steps change with arrays and `compile(optimizer)`."""
    return trained("arrays")


def assert_same_steps(found: np.ndarray, usual: np.ndarray) -> None:
    assert np.linalg.norm(usual) > 0.01
    assert np.linalg.norm(found - usual) < 1e-3 * np.linalg.norm(usual)


@pytest.mark.parametrize("feed", [name for name in FEEDS if name != "arrays"])
def test_fit_takes_all_kinds_of_data(trained, usual, feed):
    assert_same_steps(trained(feed), usual)


@pytest.mark.parametrize(
    "compiled",
    [{"steps_per_execution": 2}, {"jit_compile": True}, {"run_eagerly": True}],
    ids=lambda compiled: next(iter(compiled)),
)
def test_compile_options_take_the_same_steps(trained, usual, compiled):
    assert_same_steps(trained("arrays", **compiled), usual)


def test_evaluate_and_test_on_batch_return_the_losses(images):
    net = build("retinanet")
    net.compile("sgd")
    losses = net.evaluate(images(32, 32), truth(2), verbose=0, return_dict=True)
    assert list(losses) == ["box_loss", "class_loss", "loss"]
    again = net.test_on_batch(images(32, 32), truth(2), return_dict=True)
    assert again == pytest.approx(losses, rel=1e-5)
    from_dataset = net.evaluate(as_dataset(images(32, 32), truth(2)), verbose=0, return_dict=True)
    assert from_dataset == pytest.approx(losses, rel=1e-5)


def test_validation_split_holds_out_arrays(images):
    net = build("retinanet")
    net.compile("sgd")
    history = net.fit(images(32, 32, 4), truth(), validation_split=0.5, verbose=0).history
    held_out = {name: values[2:] for name, values in truth().items()}
    losses = net.evaluate(images(32, 32, 4)[2:], held_out, verbose=0, return_dict=True)
    assert {name: history[f"val_{name}"][0] for name in losses} == pytest.approx(losses, rel=1e-4)


def test_class_weight_is_for_classifiers(images):
    net = build("classifier")
    net.compile_for_labels(keras.optimizers.SGD(0.0))
    labels, x = np.array([0, 2]), images(32, 32)
    once, twice = (net.fit(x, labels, class_weight=dict.fromkeys(range(3), by), verbose=0) for by in (1.0, 2.0))
    assert twice.history["loss"][0] == pytest.approx(2 * once.history["loss"][0], rel=1e-3)
    net = build("retinanet")
    net.compile("sgd")
    with pytest.raises(ValueError, match="class_weight"):
        net.fit(x, truth(2), class_weight={0: 2.0}, verbose=0)


def test_a_backbone_trains_with_a_loss_for_each_level(images):
    net = build("backbone")
    net.compile(keras.optimizers.SGD(0.01), {"P3": "mse", "P4": "mae"}, loss_weights={"P3": 2.0, "P4": 1.0})
    targets = {name: np.ones((2, *x.shape[1:])) for name, x in net.pyramid_outputs.items()}
    before, found = net.get_weights(), net(images(32, 32), training=False)
    expected = 2 * np.mean((found["P3"] - 1) ** 2) + np.mean(np.abs(found["P4"] - 1))
    assert net.evaluate(images(32, 32), targets, verbose=0)[0] == pytest.approx(expected, rel=1e-4)
    net.fit(images(32, 32), targets, verbose=0)
    assert any(not np.array_equal(old, new) for old, new in zip(before, net.get_weights(), strict=True))


def test_a_loop_of_ones_own_uses_compute_loss_and_stateless_call(models, images):
    net, x, y = models["retinanet"], images(32, 32), truth(2)
    variables = [[one.value for one in part] for part in (net.trainable_variables, net.non_trainable_variables)]
    raw, _ = net.stateless_call(*variables, x, training=False)
    assert_same([np.asarray(one) for one in keras.tree.flatten(raw)], outputs(net, x))
    loss = net.compute_loss(x, y, raw)
    assert tuple(loss.shape) == ()
    found = net.losses_of(raw, y, (32, 32), None)
    np.testing.assert_allclose(loss, sum(float(one) for one in found.values()), rtol=1e-5)


@each_kind
def test_predict_returns_the_same_for_all_kinds_of_data(models, images, kind):
    net, x = models[kind], images(32, 32, 4)
    by_batch = keras.tree.map_structure(np.asarray, net.predict_on_batch(x))
    expected = by_batch if kind in ("retinanet", "centernet") else net(x, training=False)
    expected = [np.asarray(one) for one in keras.tree.flatten(expected)]
    import tensorflow as tf

    for data in (x, tf.data.Dataset.from_tensor_slices(x).batch(3)):
        found = keras.tree.flatten(net.predict(data, batch_size=None if data is not x else 3, verbose=0))
        assert_near(found, expected, 1e-4)
    assert_near(keras.tree.flatten(by_batch), expected, 1e-4)


def test_a_classifier_trains_with_keras_losses_and_metrics(images):
    net = build("classifier")
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    net.compile("adam", loss, metrics=["accuracy"], weighted_metrics=["accuracy"])
    labels, weights = np.array([0, 2, 1, 1]), np.array([1.0, 2.0, 1.0, 1.0])
    validation = (images(32, 32, 4), labels)
    history = net.fit(images(32, 32, 4), labels, sample_weight=weights, validation_data=validation, verbose=0).history
    assert {"loss", "accuracy", "weighted_accuracy", "val_loss", "val_accuracy"} <= set(history)
    assert net.evaluate(*validation, verbose=0)[0] == pytest.approx(history["val_loss"][0], rel=1e-4)


def test_callbacks_save_and_stop(images, tmp_path):
    net = build("retinanet")
    net.compile(keras.optimizers.SGD(0.01, momentum=0.9))
    data = images(32, 32), truth(2)
    callbacks = [
        keras.callbacks.ModelCheckpoint(tmp_path / "best.keras", monitor="val_loss", save_best_only=True),
        keras.callbacks.ModelCheckpoint(tmp_path / "{epoch}.weights.h5", save_weights_only=True),
        keras.callbacks.EarlyStopping("val_loss", min_delta=1e6, patience=1, restore_best_weights=True),
    ]
    history = net.fit(*data, epochs=9, validation_data=data, callbacks=callbacks, verbose=0)
    assert history.epoch == [0, 1]
    first, second = build("retinanet"), build("retinanet")
    first.load_weights(tmp_path / "1.weights.h5")
    assert_same(net.get_weights(), first.get_weights())
    second.load_weights(tmp_path / "2.weights.h5")
    assert any(not np.array_equal(old, new) for old, new in zip(first.get_weights(), second.get_weights(), strict=True))
    best = keras.saving.load_model(tmp_path / "best.keras")
    assert best.evaluate(*data, verbose=0)[0] == pytest.approx(min(history.history["val_loss"]), rel=1e-4)


def test_trainable_false_freezes_backbone_and_statistics(images):
    net = build("retinanet")
    net.backbone.trainable = False
    net.compile("sgd")
    before, head = net.backbone.get_weights(), net.get_layer("class_predictor").get_weights()
    net.fit(images(32, 32), truth(2), verbose=0)
    assert_same(net.backbone.get_weights(), before)
    assert not np.array_equal(net.get_layer("class_predictor").get_weights()[1], head[1])
    net.trainable = False
    net.compile("sgd")
    before = net.get_weights()
    with pytest.warns(UserWarning, match="does not have any trainable weights"):
        net.fit(images(32, 32), truth(2), verbose=0)
    assert_same(net.get_weights(), before)


def test_lora_of_a_layer_is_merged_into_the_saved_weights(images, tmp_path):
    net, layer = build("retinanet"), "class_predictor"
    net.get_layer(layer).enable_lora(2)
    for part in net.layers:
        part.trainable = part.name == layer
    net.compile(keras.optimizers.SGD(1.0))
    before = net.get_layer(layer).kernel + 0.0
    net.fit(images(32, 32), truth(2), verbose=0)
    assert len(net.trainable_weights) == 3, "two factors of the kernel, and the bias"
    assert not np.array_equal(net.get_layer(layer).kernel, before)
    net.save_weights(tmp_path / "net.weights.h5")
    plain = build("retinanet")
    plain.load_weights(tmp_path / "net.weights.h5")
    assert_near(outputs(plain, images(32, 32)), outputs(net, images(32, 32)), 1e-5)


def test_float16_scales_the_loss(images, tmp_path):
    net, other = build("retinanet", dtype="mixed_float16"), build("retinanet", dtype="mixed_float16")
    for one in (net, other):
        one.compile(keras.optimizers.SGD(0.01, momentum=0.9))
        assert isinstance(one.optimizer, keras.optimizers.LossScaleOptimizer)
    before = net.get_weights()
    losses = net.fit(images(32, 32), truth(2), epochs=4, verbose=0).history["loss"]
    assert np.isfinite(losses).all()
    assert losses[-1] < losses[0]
    assert any(not np.array_equal(old, new) for old, new in zip(before, net.get_weights(), strict=True))
    net.save_weights(tmp_path / "half.weights.h5")
    other.load_weights(tmp_path / "half.weights.h5")
    ours, theirs = ([np.array(one.value) for one in model.optimizer.variables] for model in (net, other))
    assert_same(theirs, ours)


def test_exports_of_half_precision_compute_in_float32(images, randomize, tmp_path):
    from spinenet_tf.export import tflite

    net = randomize(build("retinanet", dtype="mixed_bfloat16"))
    before = net.get_config(), net.get_weights()
    found = tflite(net, tmp_path / "net.tflite")
    assert found.difference["max"] < 1e-4, "compared with a copy in float32"
    assert net.get_config() == before[0]
    assert_same(net.get_weights(), before[1])


# The page


ROOT = Path(__file__).parents[1]


def test_each_row_of_the_page_names_a_test_and_each_test_has_a_row():
    page = (ROOT / "docs" / "keras.md").read_text(encoding="utf-8")
    rows = [line.strip("| ").split(" | ") for line in page.splitlines() if line.startswith("| `")]
    assert all(len(row) == 3 and row[1] for row in rows)
    named = {name for row in rows for name in re.findall(r"`([\w/.]+)`", row[2])}
    here = {name for name in globals() if name.startswith("test_")} - {
        "test_each_row_of_the_page_names_a_test_and_each_test_has_a_row"
    }
    assert {name for name in named if name.startswith("test_")} == here
    files = {name for name in named if not name.startswith("test_")}
    assert all((ROOT / name).is_file() for name in files)
    assert len(rows) > 25
