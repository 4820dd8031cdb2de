"""Mask R-CNN's sizes, outputs, training, saving and errors."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest

from spinenet_tf import detector
from spinenet_tf.heads.ground_truth import GroundTruthError
from spinenet_tf.heads.mask_rcnn.decoding import decode, masks_of, select_detections
from spinenet_tf.heads.mask_rcnn.model import ROW, MaskRCNN
from spinenet_tf.heads.mask_rcnn.options import MaskRCNNOptions
from spinenet_tf.heads.mask_rcnn.roi_heads import box_head, mask_head
from spinenet_tf.heads.mask_rcnn.rpn import rpn_head
from spinenet_tf.heads.table import options_of
from spinenet_tf.nets.costs import count_params, multiply_adds, without_values
from spinenet_tf.nets.family import variant
from spinenet_tf.nets.style import Style
from spinenet_tf.nets.weights import ArchitectureError
from spinenet_tf.training.finetuning import copy_what_fits
from spinenet_tf.training.quantization import QuantizationAware

SIZE = (64, 64, 3)
SMALL: dict[str, Any] = {"max_level": 5, "endpoint": 8, "max_detections": 5, **ROW.smallest}
# The backbone, of tests/nets/test_costs.py, and the whole, with 91 outputs of the box head.
SIZES = {
    "spinenet_49s": (9_089_215, 13_946_608),
    "spinenet_49": (21_831_488, 40_753_521),
    "spinenet_96": (36_262_976, 55_185_009),
    "spinenet_143": (60_247_616, 79_169_649),
    "spinenet_190": (126_587_664, 168_210_497),
}


def head_params(name: str) -> int:
    """Return the number of parameters of the heads on a net, with 91 outputs of the box head."""
    options, style = options_of(name, ROW), Style.of(variant(name).style)
    features = {f"P{level}": keras.Input((8, 8, style.endpoint)) for level in range(3, 8)}
    roi_heads = [make(style.endpoint, 91, options, False, style) for make in (box_head, mask_head)]
    return sum(map(count_params, [rpn_head(features, options, False, style), *roi_heads]))


@pytest.mark.parametrize("name", SIZES)
def test_published_sizes_are_exact(name: str) -> None:
    backbone, whole = SIZES[name]
    assert backbone + without_values(lambda: head_params(name)) == whole


def test_a_whole_net_has_its_published_size_and_costs() -> None:
    net = without_values(lambda: detector("spinenet_49s", 90, (640, 640, 3), "mask_rcnn"))
    assert count_params(net) == SIZES["spinenet_49s"][1]
    assert multiply_adds(net, published_order=True) == pytest.approx(59.7e9, rel=0.005)


@pytest.fixture(scope="module")
def build(three_blocks) -> Callable[..., MaskRCNN]:
    """Return `build(classes=3, **options)`: a detector on a small graph."""
    return lambda classes=3, **options: detector(three_blocks, classes, SIZE, "mask_rcnn", **SMALL | options)


@pytest.fixture(scope="module")
def net(build, randomize) -> MaskRCNN:
    return randomize(build(score_threshold=0.0))


def truth(batch: int = 2) -> dict[str, np.ndarray]:
    boxes = np.tile(np.float32([[4, 4, 30, 30], [30, 20, 60, 60], [-1] * 4]), (batch, 1, 1))
    masks = np.ones((batch, 3, 112, 112), "float32") * np.float32([1, 0.5, -1])[:, None, None]
    return {"boxes": boxes, "classes": np.tile(np.int32([0, 2, -1]), (batch, 1)), "masks": masks}


def nothing(batch: int = 2) -> dict[str, np.ndarray]:
    """Return the ground truth of images without objects."""
    found = truth(batch)
    return found | {"classes": np.full_like(found["classes"], -1), "boxes": np.full_like(found["boxes"], -1)}


def test_predict_gives_detections_with_masks_inside_the_image(net, images) -> None:
    found = net.predict(images(64, 64), verbose=0)
    assert {name: x.shape for name, x in found.items()} == {
        "boxes": (2, 5, 4),
        "scores": (2, 5),
        "classes": (2, 5),
        "num_detections": (2,),
        "masks": (2, 5, 28, 28),
    }
    assert (found["num_detections"] == 5).all()
    assert ((found["boxes"] >= 0) & (found["boxes"] <= 64)).all()
    assert np.isin(found["classes"], range(3)).all()
    assert (np.diff(found["scores"], axis=1) <= 0).all()
    assert ((found["masks"] >= 0) & (found["masks"] <= 1)).all()
    assert found["masks"].std() > 0.01


def test_a_batch_gives_what_its_images_give_alone(net, images) -> None:
    batch = images(64, 64, 3)
    together = net.predict_on_batch(batch)
    for row in range(3):
        alone = net.predict_on_batch(batch[row : row + 1])
        np.testing.assert_allclose(together["scores"][row], alone["scores"][0], atol=1e-5)
        np.testing.assert_allclose(together["masks"][row], alone["masks"][0], atol=1e-4)


def test_training_returns_the_first_stage_alone(net, images) -> None:
    """The second stage must not update its batch statistics on proposals."""
    before = keras.ops.convert_to_numpy(net.box_head.get_layer("box_conv0_bn").moving_mean)
    raw = net(images(64, 64), training=True)
    assert list(raw) == ["features", "rpn_logits", "rpn_deltas"]
    assert {name: x.shape for name, x in raw["rpn_logits"].items()} == {
        "P3": (2, 8, 8, 3), "P4": (2, 4, 4, 3), "P5": (2, 2, 2, 3),
    }  # fmt: skip
    assert raw["rpn_deltas"]["P4"].shape == (2, 4, 4, 12)
    np.testing.assert_array_equal(net.box_head.get_layer("box_conv0_bn").moving_mean, before)


def detected(rois: np.ndarray, logits: np.ndarray, deltas: np.ndarray, options: MaskRCNNOptions) -> dict[str, Any]:
    selected = select_detections(rois, logits, deltas.reshape(len(logits), -1), (64, 64), options)
    return decode(selected | {"masks": np.ones((1, 4, 28, 28), "float32")}, options, (64, 64))


def test_detections_equal_those_of_numpy() -> None:
    """One box for each class and ROI, relative to the ROI, with the background in channel 0."""
    rois = np.float32([[[10, 10, 30, 50], [5, 5, 15, 15], [0, 0, 0, 0]]])
    logits = np.float32([[0, 3, 0], [0, 0, 2], [9, 0, 0]])
    deltas = np.zeros((3, 3, 4), "float32")
    deltas[0, 1] = [1.0, -1.0, 5 * math.log(2), 0.0]  # y + 20 / 10, x - 40 / 10, height x 2
    options = MaskRCNNOptions(score_threshold=0.5, max_detections=4)
    found = detected(rois, logits, deltas, options)
    scores = np.exp([3, 2]) / (np.exp([3, 2]) + 2)
    np.testing.assert_allclose(found["scores"], [[*scores, 0, 0]], rtol=1e-6)
    np.testing.assert_array_equal(found["classes"], [[0, 1, -1, -1]])
    np.testing.assert_allclose(found["boxes"][0, :2], [[2, 6, 42, 46], [5, 5, 15, 15]], atol=1e-4)
    assert found["num_detections"] == 2
    as_model_garden = MaskRCNNOptions(score_threshold=0.5, max_detections=4, background=True)
    found = detected(rois, logits, deltas, as_model_garden)
    np.testing.assert_array_equal(found["classes"], [[1, 2, -1, -1]])


def test_a_proposal_of_zeros_hides_no_other_detection() -> None:
    """NMS reads candidates in blocks of 128 by descending score, and these have a score of 0."""
    rows, columns = np.divmod(np.arange(200), 20)
    rois = np.stack([4 * rows, 4 * columns, 4 * rows + 3, 4 * columns + 3], axis=1).astype("float32")
    rois[[0, 128]] = 0.0  # the second is the first of its block
    logits = np.stack([np.zeros(200), np.linspace(5, 1, 200)], axis=1).astype("float32")
    options = MaskRCNNOptions(score_threshold=0.0, max_detections=200)
    found = select_detections(rois[None], logits, np.zeros((200, 8), "float32"), (100, 100), options)
    assert found["num_detections"] == 198


def test_each_roi_gets_the_mask_of_its_class() -> None:
    logits = np.random.default_rng(0).normal(size=(6, 2, 2, 4)).astype("float32")
    channels = np.int32([[1, 3, 0], [2, 2, 1]])
    expected = np.stack([logit[..., channel] for logit, channel in zip(logits, channels.ravel(), strict=True)])
    np.testing.assert_array_equal(masks_of(logits, channels), expected.reshape(2, 3, 2, 2))


def test_decoding_empties_slots_that_are_not_used_and_keeps_the_best(net, images) -> None:
    raw = {name: np.array(x) for name, x in net(images(64, 64)).items()}
    raw["num_detections"][:] = [1, 4]
    found = decode(raw, MaskRCNNOptions(max_detections=3), (64, 64))
    np.testing.assert_array_equal(found["num_detections"], [1, 3])
    np.testing.assert_array_equal(found["classes"] == -1, [[False, True, True], [False] * 3])
    np.testing.assert_array_equal(found["masks"][1], raw["masks"][1, :3])
    for name in ("boxes", "scores", "masks"):
        assert not np.any(found[name][0, 1:])


def test_fit_logs_five_losses_and_reduces_them(build, images) -> None:
    model = build(norm_momentum=0.9)
    model.compile(keras.optimizers.Adam(3e-3))
    history = model.fit(images(64, 64), truth(), batch_size=2, epochs=8, verbose=0).history
    assert set(history) == {"loss", "rpn_score_loss", "rpn_box_loss", "class_loss", "box_loss", "mask_loss"}
    assert np.mean(history["loss"][-2:]) < 0.9 * history["loss"][0]
    assert history["mask_loss"][-1] < history["mask_loss"][0]
    evaluated = model.evaluate(images(64, 64), truth(), verbose=0, return_dict=True)
    assert set(evaluated) == set(history)
    assert all(np.isfinite(value) for value in evaluated.values())


def losses(model: MaskRCNN, images: np.ndarray, y: dict[str, np.ndarray], training: bool = False) -> dict[str, float]:
    raw = model.first_stage(images, training)
    return {name: float(x) for name, x in model.losses_of(raw, y, (64, 64), None, training).items()}


def test_images_without_objects_have_finite_losses(net, images) -> None:
    found = losses(net, images(64, 64), nothing())
    assert all(np.isfinite(value) for value in found.values())
    assert found["box_loss"] == found["mask_loss"] == found["rpn_box_loss"] == 0.0
    assert found["class_loss"] > 0.0


def test_the_score_loss_of_model_garden_is_divided_by_the_number_of_rois(build, images) -> None:
    y, options = truth(), {"rpn_samples": 300, "rpn_positive_share": 1.0, "roi_samples": 600}  # all anchors count
    ours = build(**options)
    theirs = build(rpn_normalizer="model_garden", **options)
    theirs.set_weights(ours.get_weights())
    one, other = (losses(model, images(64, 64), y)["rpn_score_loss"] for model in (ours, theirs))
    assert one == pytest.approx(2.0 * other, rel=1e-5)


def test_ground_truth_without_masks_is_refused(build, images) -> None:
    model = build()
    model.compile(keras.optimizers.SGD(0.01))
    boxes = {name: x for name, x in truth().items() if name != "masks"}
    with pytest.raises(GroundTruthError, match=r'"boxes", "classes" and "masks"'):
        model.fit(images(64, 64), boxes, verbose=0)
    with pytest.raises(GroundTruthError, match=r"within 0\.\.1"):
        model.train_on_batch(images(64, 64), truth() | {"masks": truth()["masks"] * 255})


def test_weights_and_config_restore_the_same_detector(net, images, tmp_path) -> None:
    net.save_weights(tmp_path / "a.weights.h5")
    copy = MaskRCNN.from_config(net.get_config())
    copy.load_weights(tmp_path / "a.weights.h5")
    assert copy.options == net.options
    expected, actual = net(images(64, 64)), copy(images(64, 64))
    for name, value in expected.items():
        np.testing.assert_array_equal(value, actual[name])


def test_another_head_is_refused_in_words(build, net, tmp_path) -> None:
    net.save_weights(tmp_path / "a.weights.h5")
    with pytest.raises(ArchitectureError, match=r"options\.mask_depth: 1 in the file, 2 in the model"):
        build(mask_depth=2).load_weights(tmp_path / "a.weights.h5")
    build(score_threshold=0.5, roi_samples=8).load_weights(tmp_path / "a.weights.h5")


def test_classes_are_taken_by_name_with_the_background(build, net, randomize) -> None:
    model = randomize(build(2), seed=5)
    fresh = {weight.path: np.array(weight.value) for weight in model.weights}
    assert copy_what_fits(net, model, ("cat", "dog", "cow"), ("emu", "cat")) == []
    for layer, values in {"box_class_predictor": 1, "box_delta_predictor": 4, "mask_predictor": 1}.items():
        theirs, ours = (
            {weight.path: np.array(weight.value) for weight in each.weights}[f"{layer}/kernel"] for each in (net, model)
        )
        theirs, ours, before = (x.reshape(*x.shape[:-1], -1, values) for x in (theirs, ours, fresh[f"{layer}/kernel"]))
        np.testing.assert_array_equal(ours[..., [0, 2], :], theirs[..., [0, 1], :])
        np.testing.assert_array_equal(ours[..., 1, :], before[..., 1, :])


def test_convs_are_separable_on_mobile_nets_alone() -> None:
    def kinds(name: str, **options: Any) -> set[str]:
        model = without_values(lambda: detector(name, 3, SIZE, "mask_rcnn", **SMALL, width=0.125, **options))
        convs = [model.rpn.get_layer("rpn_conv0"), model.box_head.get_layer("box_conv0")]
        return {type(conv).__name__ for conv in [*convs, model.mask_head.get_layer("mask_conv0")]}

    assert kinds("spinenet_mobile_49xs") == {"SeparableConv2D"}
    assert kinds("spinenet_mobile_49xs", tower="full") == {"Conv2D"}


def test_quantization_aware_training_is_refused(net) -> None:
    with pytest.raises(ValueError, match=r"a detector whose outputs are maps.*Received: detector=MaskRCNN"):
        QuantizationAware(net)


def test_half_precision_keeps_boxes_and_losses_in_float32(build, images) -> None:
    model = build(dtype="mixed_bfloat16", score_threshold=0.0)
    found = model.predict(images(64, 64), verbose=0)
    assert {name: str(x.dtype) for name, x in found.items()} == {
        "boxes": "float32", "scores": "float32", "classes": "int32", "num_detections": "int32", "masks": "float32",
    }  # fmt: skip
    raw = model.first_stage(images(64, 64), training=True)
    assert keras.backend.standardize_dtype(raw["features"]["P3"].dtype) == "bfloat16"
    found = model.losses_of(raw, truth(), (64, 64), None)
    assert {keras.backend.standardize_dtype(x.dtype) for x in found.values()} == {"float32"}
