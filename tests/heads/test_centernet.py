"""CenterNet's inputs, outputs, training, saving and errors."""

from __future__ import annotations

from collections.abc import Callable

import keras
import numpy as np
import pytest
from inside import assert_inside

import spinenet_tf
from spinenet_tf import ArchitectureSpec, BlockSpec
from spinenet_tf.heads.centernet import CenterNet, CenterNetOptions, candidates, decode, flatten, select_candidates
from spinenet_tf.heads.ground_truth import GroundTruthError
from spinenet_tf.nets.weights import ArchitectureError

SIZE = (64, 64, 3)


@pytest.fixture(scope="module")
def build(three_blocks) -> Callable[..., CenterNet]:
    """Return `build(stride=8, max_level=5, classes=3, size=SIZE, **options)`: a detector on the tiny graph."""

    def made(stride: int = 8, max_level: int = 5, classes: int = 3, size=SIZE, **options) -> CenterNet:
        backbone = spinenet_tf.backbone(three_blocks, size, max_level=max_level, endpoint=8)
        return CenterNet(backbone, classes, CenterNetOptions(stride=stride, **{"head_width": 16} | options))

    return made


@pytest.fixture(scope="module")
def detector(build, randomize) -> CenterNet:
    return randomize(build())


def _targets(batch: int) -> dict[str, np.ndarray]:
    boxes = np.tile(np.float32([[4, 4, 30, 30], [30, 20, 60, 60], [0, 0, 0, 0]]), (batch, 1, 1))
    return {"boxes": boxes, "classes": np.tile(np.int32([0, 2, -1]), (batch, 1))}


@pytest.mark.parametrize(("stride", "max_level"), [(8, 3), (8, 5), (4, 3), (4, 5)])
@pytest.mark.parametrize("size", [(64, 64), (75, 101)])
def test_raw_outputs_are_one_map_each_of_the_stride(build, stride, max_level, size, images):
    model = build(stride, max_level, size=(*size, 3))
    raw = model(images(*size))
    level = {8: "P3", 4: "P2"}[stride]
    assert list(raw) == ["heatmap", "sizes", "offsets"]
    for name, channels in (("heatmap", 3), ("sizes", 2), ("offsets", 2)):
        assert list(raw[name]) == [level]
        assert raw[name][level].shape == (2, -(-size[0] // stride), -(-size[1] // stride), channels)


def test_every_weight_is_trained_whatever_the_levels(build, images):
    """Levels that no output reads are not built: Keras would warn about their weights."""
    for stride, max_level in ((8, 3), (4, 5)):
        model = build(stride, max_level)
        model.compile(keras.optimizers.SGD(0.01))
        model.train_on_batch(images(64, 64), _targets(2))
    assert build(8, 3).count_params() < build(8, 5).count_params()


def test_a_fresh_heatmap_says_one_in_ten(build, images):
    heatmap = keras.ops.sigmoid(build()(images(64, 64))["heatmap"]["P3"])
    np.testing.assert_allclose(heatmap, 0.1, atol=0.01)


def test_towers_are_separable_on_mobile_nets_alone(build):
    mobile = CenterNet(spinenet_tf.backbone("spinenet_mobile_49xs", SIZE, max_level=3, width=0.25), 3)
    models = {"mobile": mobile, "standard": build(), "separable": build(tower="separable")}
    kinds = {name: type(model.get_layer("heatmap_conv")).__name__ for name, model in models.items()}
    assert kinds == {"mobile": "SeparableConv2D", "standard": "Conv2D", "separable": "SeparableConv2D"}


def test_predict_gives_detections_inside_the_image(detector, images):
    assert_inside(detector.predict(images(64, 64), verbose=0), 64)


def test_the_two_halves_of_decoding_are_the_whole(detector, images):
    raw, size = detector(images(64, 64)), (64, 64)
    options = CenterNetOptions(score_threshold=0.2, max_detections=30)
    whole = decode(raw, options, size)
    boxes, scores = candidates(raw, options, size)
    assert boxes.shape == (2, 64, 4)
    assert scores.shape == (2, 64, 3)
    for name, value in select_candidates(boxes, scores, options).items():
        np.testing.assert_array_equal(value, whole[name])
    assert {name: x.shape for name, x in flatten(raw, options).items()} == {
        "heatmap": (2, 64, 3),
        "sizes": (2, 64, 2),
        "offsets": (2, 64, 2),
    }


def test_a_batch_gives_what_its_images_give_alone(detector, images):
    batch = images(64, 64, 3)
    together = detector.predict_on_batch(batch)
    for row in range(3):
        alone = detector.predict_on_batch(batch[row : row + 1])
        np.testing.assert_allclose(together["scores"][row], alone["scores"][0], atol=1e-5)


def test_weights_and_config_restore_the_same_detector(detector, images, tmp_path):
    detector.save_weights(tmp_path / "a.weights.h5")
    copy = CenterNet.from_config(detector.get_config())
    copy.load_weights(tmp_path / "a.weights.h5")
    assert copy.options == detector.options
    for name, value in detector(images(64, 64)).items():
        np.testing.assert_array_equal(value["P3"], copy(images(64, 64))[name]["P3"])


def test_a_keras_file_restores_the_compiled_detector(build, images, tmp_path):
    model = build(stride=4, radius="exact", score_threshold=0.25)
    model.compile(keras.optimizers.SGD(0.01, momentum=0.9))
    model.fit(images(64, 64), _targets(2), batch_size=2, verbose=0)
    model.save(tmp_path / "a.keras")
    copy = keras.saving.load_model(tmp_path / "a.keras")
    assert isinstance(copy, CenterNet)
    assert copy.options == model.options
    for name, value in model.predict(images(64, 64), verbose=0).items():
        np.testing.assert_allclose(value, copy.predict(images(64, 64), verbose=0)[name], atol=1e-5)
    expected = model.evaluate(images(64, 64), _targets(2), verbose=0, return_dict=True)
    assert copy.evaluate(images(64, 64), _targets(2), verbose=0, return_dict=True) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(
    ("other", "told"),
    [
        ({"classes": 4}, r"classes: 3 in the file, 4 in the model"),
        ({"stride": 4}, r"options\.stride: 8 in the file, 4 in the model"),
        ({"tower": "separable"}, r"options\.tower: auto in the file, separable in the model"),
    ],
)
def test_another_head_is_refused_in_words(build, detector, tmp_path, other, told):
    detector.save_weights(tmp_path / "a.weights.h5")
    with pytest.raises(ArchitectureError, match=told):
        build(**other).load_weights(tmp_path / "a.weights.h5")


def test_options_of_training_and_decoding_are_no_part_of_the_weights(build, detector, tmp_path):
    detector.save_weights(tmp_path / "a.weights.h5")
    build(score_threshold=0.5, size_weight=0.2, radius="exact").load_weights(tmp_path / "a.weights.h5")


def test_fit_needs_an_optimizer_alone_and_logs_every_loss(build, images):
    model = build()
    model.compile(keras.optimizers.Adam(1e-3))
    history = model.fit(images(64, 64), _targets(2), batch_size=2, epochs=4, verbose=0).history
    assert set(history) == {"loss", "heatmap_loss", "size_loss", "offset_loss"}
    assert history["loss"][-1] < history["loss"][0]


def test_the_loss_is_finite_without_any_object(build, images):
    model = build()
    model.compile(keras.optimizers.SGD(0.01))
    targets = {"boxes": np.zeros((2, 3, 4), np.float32), "classes": np.full((2, 3), -1, np.int32)}
    history = model.fit(images(64, 64), targets, batch_size=2, verbose=0).history
    assert np.isfinite(history["loss"]).all()
    assert history["size_loss"] == history["offset_loss"] == [0.0]


def test_an_image_of_weight_zero_is_not_there(detector, images):
    detector.compile(keras.optimizers.SGD(0.0))
    x, y = images(64, 64), _targets(2)
    weighed = detector.evaluate(x, y, sample_weight=np.float32([1, 0]), batch_size=2, verbose=0, return_dict=True)
    alone = detector.evaluate(x[:1], {name: value[:1] for name, value in y.items()}, verbose=0, return_dict=True)
    assert weighed == pytest.approx(alone, rel=1e-4)


def test_ground_truth_is_looked_at(build, images):
    model = build()
    model.compile(keras.optimizers.SGD(0.01))
    with pytest.raises(GroundTruthError, match=r"Classes must be 0 to 2, .* Received: class 3"):
        model.fit(images(64, 64), _targets(2) | {"classes": np.full((2, 3), 3)}, verbose=0)


def test_maps_are_as_fine_as_the_finest_level_or_finer(three_blocks, images):
    coarse = spinenet_tf.backbone(three_blocks, SIZE, min_level=4, max_level=5, endpoint=8)
    assert CenterNet(coarse, 3, CenterNetOptions(stride=8))(images(64, 64))["heatmap"]["P3"].shape == (2, 8, 8, 3)
    two = BlockSpec(2, "residual", (0, 1), is_output=True)
    fine = spinenet_tf.backbone(ArchitectureSpec("fine", (2, 2), (two,), {2: 4}), SIZE, endpoint=8)
    assert CenterNet(fine, 3)(images(64, 64))["heatmap"]["P2"].shape == (2, 16, 16, 3)
    with pytest.raises(ValueError, match=r"at most 4, that of the backbone's finest level, P2\. Received: stride=8"):
        CenterNet(fine, 3, CenterNetOptions(stride=8))


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("stride", 16),
        ("stride", 6),
        ("tower", "thin"),
        ("radius", "half"),
        ("head_width", 0),
        ("max_detections", 0),
        ("focal_beta", -1.0),
        ("min_overlap", 0.0),
        ("score_threshold", 1.5),
    ],
)
def test_an_option_out_of_range_is_refused(option, value):
    with pytest.raises(ValueError, match=rf"Received: {option}="):
        CenterNetOptions(**{option: value})


def test_a_detector_has_a_class(detector):
    with pytest.raises(ValueError, match=r"at least one class. Received: num_classes=0"):
        CenterNet(detector.backbone, 0)
