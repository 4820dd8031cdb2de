"""The factory's names, overrides and errors, and the contracts of classifiers and detectors."""

from __future__ import annotations

import json
import subprocess
import sys

import h5py
import keras
import numpy as np
import pytest

import spinenet_tf
from spinenet_tf import backbone, classifier, detector, list_models, register
from spinenet_tf.heads.retinanet import RetinaNetOptions
from spinenet_tf.nets.family import KINDS
from spinenet_tf.nets.style import Style

SMALL = {"max_level": 5, "endpoint": 8}
HEAD = {"head_depth": 1, "head_width": 8}


@pytest.fixture(scope="module")
def tiny_detector(three_blocks, randomize):
    return randomize(detector(three_blocks, 3, (64, 64, 3), **SMALL, **HEAD))


@pytest.fixture(scope="module")
def compiled_detector(three_blocks):
    """Return a new compiled detector, which a test may train."""
    net = detector(three_blocks, 3, (64, 64, 3), **SMALL, **HEAD, l2=0.01)
    net.compile(keras.optimizers.SGD(0.03))
    return net


@pytest.fixture
def targets():
    boxes = np.array([[[4, 4, 30, 30], [20, 10, 60, 50]], [[8, 16, 40, 48], [-1, -1, -1, -1]]], "float32")
    return {"boxes": boxes, "classes": np.array([[0, 2], [1, -1]], "int32")}


def test_models_are_listed_by_kind():
    assert list_models() == [name for kind in KINDS for name in list_models(kind)]
    published = ["spinenet_mobile_49xs", "spinenet_mobile_49s", "spinenet_mobile_49"]
    assert list_models("mobile") == published + [f"{name}_lite" for name in published]
    efficient = [f"eff_spinenet_{size}" for size in ("m0", "m1", "m2", "d0", "d1", "d2")]
    assert list_models("efficient") == efficient + [f"{name}_lite" for name in efficient]
    with pytest.raises(ValueError, match=r"Valid kinds are .*'ladder'.*Received: kind='phone'"):
        list_models("phone")


@pytest.fixture
def family(monkeypatch):
    """Remove the models that a test registers."""
    monkeypatch.setattr(spinenet_tf.nets.family, "VARIANTS", dict(spinenet_tf.nets.family.VARIANTS))
    monkeypatch.setattr(spinenet_tf.nets.family, "_REGISTERED", set())


@pytest.mark.usefixtures("family")
def test_a_registered_graph_works_like_any_model(three_blocks, tiny_mobile_spec, tmp_path):
    from spinenet_tf.training.config_file import make_config

    register("mine", three_blocks)
    register("my-phone.2", tiny_mobile_spec)
    assert list_models()[-2:] == ["mine", "my-phone.2"]
    assert (list_models("backbone")[-1], list_models("mobile")[-1]) == ("mine", "my-phone.2")
    small = {"width": 0.5, "endpoint": 8}
    by_name, by_spec = (detector(name, 2, (64, 64, 3), **HEAD, **small) for name in ("mine", three_blocks))
    assert by_name.architecture() == by_spec.architecture()
    assert by_name.backbone.name == "mine"
    assert classifier("my-phone.2", 2, (64, 64, 3), **small).backbone.style.activation == "swish"
    assert backbone("mine", (64, 64, 3)).style == Style(min_level=3, max_level=5)
    by_name.save_weights(tmp_path / "mine.weights.h5")
    by_spec.load_weights(tmp_path / "mine.weights.h5")
    model = {"name": "mine", "image_size": [64, 64]}
    resolved = make_config({"model": model, "batch_size": 1, "epochs": 1}, "a test").model
    assert (resolved.name, resolved.graph) == ("spinenet_49", three_blocks.get_config())
    other = make_config({"model": model | {"graph": tiny_mobile_spec.get_config()}, "batch_size": 1, "epochs": 1}, "")
    assert other.model.graph == tiny_mobile_spec.get_config()


ELSEWHERE = """
import sys
from pathlib import Path
import numpy as np
import spinenet_tf
from spinenet_tf.export.from_run import export_run
from spinenet_tf.training.run import Run

folder, image = Path(sys.argv[1]), np.load(sys.argv[2])
assert "mine" not in spinenet_tf.list_models()
export_run(folder, "tflite")
found = {name: spinenet_tf.load(path)(image) for name, path in (("run", folder), ("file", folder / "model.tflite"))}
keys = ("boxes", "scores", "classes")
np.savez(sys.argv[3], **{f"{name} {key}": getattr(one, key) for name, one in found.items() for key in keys})
"""


@pytest.mark.usefixtures("family")
def test_a_run_loads_where_its_graph_is_not_registered(three_blocks, randomize, tmp_path):
    from spinenet_tf.training.config_file import make_config
    from spinenet_tf.training.run import Run, build_model

    register("mine", three_blocks)
    head = {"kind": "retinanet", "head_depth": 1, "head_width": 8, "score_threshold": 0.001}
    model = {"name": "mine", "image_size": [64, 64], "head": head, "overrides": {"endpoint": 8}}
    config = make_config({"model": model, "batch_size": 1, "epochs": 1, "class_names": ["a", "b"]}, "a test")
    run = tmp_path / "run"
    Run(run).create(config, model=randomize(build_model(config)))
    image = np.random.default_rng(0).integers(0, 256, (50, 90, 3), np.uint8)
    np.save(tmp_path / "image.npy", image)
    arguments = [run, tmp_path / "image.npy", tmp_path / "found.npz"]
    child = subprocess.run([sys.executable, "-c", ELSEWHERE, *map(str, arguments)], capture_output=True, text=True)
    assert child.returncode == 0, child.stderr[-2000:]
    found, expected = dict(np.load(tmp_path / "found.npz")), spinenet_tf.load(run)(image)
    assert len(expected) > 0
    for key in ("boxes", "scores", "classes"):
        value = getattr(expected, key)
        np.testing.assert_allclose(found[f"run {key}"], value, rtol=1e-4, atol=1e-4)
        np.testing.assert_allclose(found[f"file {key}"], value, rtol=1e-3, atol=1e-2)


@pytest.mark.usefixtures("family")
def test_register_refuses_a_taken_name_and_other_types(three_blocks):
    register("mine", three_blocks)
    for name in ("mine", "spinenet_49"):
        with pytest.raises(ValueError, match=f"this name exists; choose another name. Received: name='{name}'"):
            register(name, three_blocks)
    for name in ("", "a/b", "a b", "ä", "_a", "..", "x" * 101, None, 3):
        with pytest.raises(ValueError, match=r"A name must have .* start with a letter or a digit.*Received: name="):
            register(name, three_blocks)
    with pytest.raises(ValueError, match=r"`spec` must be an ArchitectureSpec\. Received: spec='tiny'"):
        register("other", "tiny")
    assert list_models()[-1] == "mine"


def test_a_lite_model_has_the_same_graph_with_relu6_and_no_se():
    lite, full = (backbone(f"spinenet_mobile_49xs{suffix}", (64, 64, 3)) for suffix in ("_lite", ""))
    assert lite.spec == full.spec
    assert (lite.style.activation, lite.style.se_ratio) == ("relu6", 0.0)
    assert (full.style.activation, full.style.se_ratio) == ("swish", 0.2)
    assert {layer.name for layer in full.layers} - {layer.name for layer in lite.layers} == {
        layer.name for layer in full.layers if "_se_" in layer.name
    }


@pytest.mark.parametrize("build", [backbone, lambda name: classifier(name, 2), lambda name: detector(name, 2)])
def test_an_unknown_name_lists_the_valid_ones(build):
    with pytest.raises(ValueError, match="Unknown model 'spinenet49'") as error:
        build("spinenet49")
    assert all(name in str(error.value) for name in list_models())
    assert "Did you mean 'spinenet_49'?" in str(error.value)


@pytest.mark.parametrize("name", [None, 49, ["spinenet_49"], b"spinenet_49"])
def test_a_name_that_is_not_text_lists_the_valid_ones(name):
    with pytest.raises(ValueError, match=r"Unknown model .*Valid: spinenet_49s, .*Received: name="):
        detector(name, 2)


@pytest.mark.parametrize("build", [backbone, lambda spec, **given: detector(spec, 91, **given)])
def test_a_custom_graph_has_no_published_weights(three_blocks, build):
    with pytest.raises(ValueError, match=r"COCO weights are published for .*Received: a spec, 'three_blocks'"):
        build(three_blocks, weights="coco")
    with pytest.raises(ValueError, match=r"COCO weights are published for .*Received: name='spinenet_190'"):
        build("spinenet_190", weights="coco")


def test_an_unknown_override_lists_the_valid_ones():
    with pytest.raises(ValueError, match=r"Unknown override 'widht'. Did you mean 'width'\?") as error:
        backbone("spinenet_49", widht=0.5)
    assert all(name in str(error.value) for name in Style.names())
    with pytest.raises(ValueError, match="Unknown override 'head_dept'") as error:
        detector("spinenet_49", 2, head_dept=0.5)
    assert all(name in str(error.value) for name in Style.names() + RetinaNetOptions.names())
    with pytest.raises(ValueError, match="Unknown override 'head_width'"):
        classifier("spinenet_49", 2, head_width=8)


@pytest.mark.parametrize("build", [classifier, detector])
def test_there_is_at_least_one_class(build, three_blocks):
    with pytest.raises(ValueError, match=r"at least one class. Received: num_classes=0"):
        build(three_blocks, 0, (64, 64, 3), **SMALL)


def test_an_unknown_head_lists_the_valid_ones():
    with pytest.raises(
        ValueError, match=r"Unknown head 'retinanett'. Did you mean 'retinanet'\? .*Received: head='retinanett'"
    ):
        detector("spinenet_49", 2, head="retinanett")
    with pytest.raises(ValueError, match=r"Unknown head 'classifier'"):
        detector("spinenet_49", 2, head="classifier")


def test_a_detector_follows_the_family_table():
    net = detector("spinenet_mobile_49xs", 2, (64, 64, 3))
    assert (net.options.head_depth, net.options.head_width, net.options.anchor_size) == (4, 24, 3.0)
    assert isinstance(net.get_layer("class_conv3"), keras.layers.SeparableConv2D)
    assert net.backbone.style.activation == "swish"


def test_a_model_has_its_published_head_by_default():
    net = detector("resnet_18", 2, (64, 64, 3), width=0.125)
    assert (net.head, net.options.stride, net.options.head_width) == ("centernet", 4, 64)
    assert list(net.output["heatmap"]) == ["P2"]
    with pytest.raises(ValueError, match=r"Unknown override 'head_depth'"):
        detector("resnet_18", 2, head_depth=1)


@pytest.mark.parametrize(
    ("build", "told"),
    [
        (
            lambda: detector("resnet_18", 2, head="retinanet"),
            "The RetinaNet head needs a level P3 or coarser. Received: r",
        ),
        (
            lambda: classifier("resnet_18", 2),
            "The classification head needs a level P3 or coarser. Received: resnet_18, ",
        ),
        (
            lambda: detector("resnet_18", 2, stride=8),
            "that of the backbone's finest level, P2. Received: stride=8",
        ),
        (lambda: detector("resnet_18", 91, weights="coco"), "COCO weights are published for spinenet_49, "),
        (lambda: backbone("resnet_18", min_level=3), r"resnet_18 outputs the levels \(2,\). Received: min_level=3"),
    ],
)
def test_a_model_with_only_p2_refuses_unfit_options_in_one_line(build, told):
    with pytest.raises(ValueError, match=told) as caught:
        build()
    assert len(str(caught.value).splitlines()) == 1


def test_overrides_reach_backbone_and_head(three_blocks):
    overrides = {"num_scales": 1, "aspect_ratios": (1.0,), "anchor_size": 2.0, "focal_gamma": 2.0, "box_weight": 10.0}
    net = detector(three_blocks, 3, (64, 64, 3), **SMALL, **HEAD, **overrides, max_detections=7, activation="gelu")
    assert net.get_layer("class_predictor").filters == 3, "one anchor of three classes"
    assert (net.anchor_spec.size, net.anchor_spec.min_level, net.anchor_spec.max_level) == (2.0, 3, 5)
    assert (net.options.focal_gamma, net.options.box_weight, net.options.focal_alpha) == (2.0, 10.0, 0.25)
    assert (net.options.max_detections, net.backbone.style.activation) == (7, "gelu")
    assert len([layer for layer in net.layers if layer.name.startswith("class_conv") and "_P" not in layer.name]) == 1


@pytest.mark.parametrize("shape", [(64, 64, 3), (100, 75, 3), (None, None, 3)])
def test_a_classifier_outputs_logits_at_any_size(three_blocks, images, shape):
    net = classifier(three_blocks, 5, shape, **SMALL)
    logits = net(images(shape[0] or 96, shape[1] or 160))
    assert (tuple(logits.shape), keras.backend.standardize_dtype(logits.dtype)) == ((2, 5), "float32")


def test_a_classifier_learns_its_own_images(three_blocks, images):
    net = classifier(three_blocks, 2, (32, 32, 3), **SMALL, norm_momentum=0.5)
    net.compile(keras.optimizers.Adam(0.01), keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    history = net.fit(images(32, 32, 4), np.array([0, 1, 0, 1]), epochs=40, verbose=0).history["loss"]
    assert history[-1] < 0.5 * history[0]


def test_raw_outputs_have_the_promised_names_and_shapes(tiny_detector, images):
    raw = tiny_detector(images(64, 64))
    assert set(raw) == {"class_logits", "box_deltas"}
    for output, values in (("class_logits", 3), ("box_deltas", 4)):
        assert sorted(raw[output]) == ["P3", "P4", "P5"]
        for level, side in (("P3", 8), ("P4", 4), ("P5", 2)):
            assert raw[output][level].shape == (2, side, side, 9 * values)
    logits, deltas = tiny_detector.flatten(raw)
    assert (tuple(logits.shape), tuple(deltas.shape)) == ((2, 9 * 84, 3), (2, 9 * 84, 4))


def test_predictions_are_boxes_in_the_image_sorted_by_score(tiny_detector, images):
    found = tiny_detector.predict(images(64, 64), verbose=0)
    assert {name: array.shape for name, array in found.items()} == {
        "boxes": (2, 100, 4),
        "scores": (2, 100),
        "classes": (2, 100),
        "num_detections": (2,),
    }
    assert 0 <= found["boxes"].min() <= found["boxes"].max() <= 64
    assert (np.diff(found["scores"]) <= 0).all()
    slots = np.arange(100) < found["num_detections"][:, None]
    assert ((found["classes"] >= 0) == slots).all(), "-1 is padding and nothing else"


def test_predictions_follow_new_weights(three_blocks, images, randomize):
    net = randomize(detector(three_blocks, 3, (64, 64, 3), **SMALL, **HEAD))
    before = net.predict(images(64, 64), verbose=0)["boxes"]
    randomize(net, seed=5)
    assert not np.allclose(before, net.predict(images(64, 64), verbose=0)["boxes"])


def test_a_detector_needs_only_an_optimizer_to_learn(compiled_detector, images, targets):
    history = compiled_detector.fit(images(64, 64), targets, epochs=40, verbose=0).history
    assert history["loss"][-1] < 0.8 * history["loss"][0]


def test_a_detectors_loss_is_the_sum_of_class_box_and_l2_losses(compiled_detector, images, targets):
    result = compiled_detector.evaluate(images(64, 64), targets, verbose=0, return_dict=True)
    penalty = float(sum(compiled_detector.losses))
    assert penalty > 0.01
    np.testing.assert_allclose(result["loss"], result["class_loss"] + result["box_loss"] + penalty, rtol=1e-4)


def test_a_batch_without_objects_trains_to_finite_weights(compiled_detector, images, targets):
    nothing = {"boxes": np.full_like(targets["boxes"], -1.0), "classes": np.full_like(targets["classes"], -1)}
    history = compiled_detector.fit(images(64, 64), nothing, verbose=0).history
    assert history["box_loss"] == [0.0]
    assert all(np.isfinite(weight).all() for weight in compiled_detector.get_weights())


def test_a_detector_with_dynamic_size_trains(three_blocks, images, targets):
    net = detector(three_blocks, 3, (None, None, 3), **SMALL, **HEAD)
    net.compile("sgd")
    assert np.isfinite(net.fit(images(100, 75), targets, verbose=0).history["loss"]).all()


@pytest.mark.parametrize("kind", ["classifier", "detector"])
def test_models_are_restored_from_config_and_keras_file(three_blocks, tiny_detector, images, randomize, tmp_path, kind):
    net = tiny_detector if kind == "detector" else randomize(classifier(three_blocks, 5, (64, 64, 3), **SMALL))
    copy = type(net).from_config(json.loads(json.dumps(net.get_config())))
    assert copy.get_config() == net.get_config()
    net.save(tmp_path / "net.keras")
    copy = keras.models.load_model(tmp_path / "net.keras")
    assert type(copy) is type(net)
    ours, theirs = (keras.tree.flatten(model(images(64, 64))) for model in (net, copy))
    for mine, other in zip(ours, theirs, strict=True):
        np.testing.assert_array_equal(mine, other)


def test_predicting_does_not_change_the_saved_weights(three_blocks, tiny_detector, images, tmp_path):
    """The prediction model refers to the detector, and Keras must not store its weights a second time."""
    expected = tiny_detector.predict(images(64, 64), verbose=0)
    path = tmp_path / "net.weights.h5"
    tiny_detector.save_weights(path)
    with h5py.File(path) as file:
        assert "predictor" not in " ".join(file)
    copy = detector(three_blocks, 3, (64, 64, 3), **SMALL, **HEAD)
    copy.load_weights(path)
    np.testing.assert_array_equal(copy.predict(images(64, 64), verbose=0)["boxes"], expected["boxes"])
