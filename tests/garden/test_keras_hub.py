"""Our backbones work in keras-hub's tasks. Tested here because it needs Model Garden's tensorflow-text."""

from __future__ import annotations

import keras
import keras_hub
import numpy as np
import pytest

import spinenet_tf


def assert_restored(task, images, folder) -> None:
    """Check that a `.keras` file of a task restores its backbone and outputs."""
    task.save(folder / "task.keras")
    copy = keras.saving.load_model(folder / "task.keras")
    assert type(copy) is type(task)
    ours, theirs = (keras.tree.flatten(model(images, training=False)) for model in (task, copy))
    for mine, other in zip(ours, theirs, strict=True):
        np.testing.assert_array_equal(mine, other)


@pytest.mark.slow
def test_keras_hubs_retinanet_builds_fits_and_predicts(images, tmp_path):
    backbone = spinenet_tf.backbone("spinenet_mobile_49xs", (64, 64, 3))
    detector = keras_hub.models.RetinaNetObjectDetector(backbone=backbone, num_classes=3, bounding_box_format="yxyx")
    boxes = np.array([[[8.0, 8, 40, 40], [20, 10, 60, 50]]] * 2, "float32")
    truth = {"boxes": boxes, "labels": np.array([[0, 2], [1, -1]], "float32")}
    detector.compile(optimizer="sgd", box_loss="auto", classification_loss="auto", jit_compile=False)
    history = detector.fit(images(64, 64), truth, batch_size=2, epochs=1, verbose=0)
    assert np.isfinite(history.history["loss"][0])
    found = detector.predict(images(64, 64), verbose=0)
    assert found["boxes"].shape[0] == 2
    assert found["boxes"].shape[-1] == 4
    assert_restored(detector, images(64, 64), tmp_path)


def test_keras_hubs_deeplab_reads_the_pyramid(tiny_spec, images, tmp_path):
    net = spinenet_tf.backbone(tiny_spec, (64, 64, 3), endpoint=8)
    encoder = keras_hub.models.DeepLabV3Backbone(
        image_encoder=net,
        low_level_feature_key="P3",
        spatial_pyramid_pooling_key="P5",
        upsampling_size=4,
        dilation_rates=[1, 2],
        projection_filters=8,
        image_shape=(64, 64, 3),
    )
    segmenter = keras_hub.models.DeepLabV3ImageSegmenter(backbone=encoder, num_classes=3)
    segmenter.compile("sgd", jit_compile=False)
    before = net.get_weights()
    truth = np.eye(3)[np.random.default_rng(0).integers(0, 3, (2, 64, 64))]
    loss = segmenter.fit(images(64, 64), truth, verbose=0).history["loss"]
    assert np.isfinite(loss[0])
    assert any(not np.array_equal(old, new) for old, new in zip(before, net.get_weights(), strict=True))
    assert segmenter.predict(images(64, 64), verbose=0).shape == (2, 64, 64, 3)
    assert_restored(segmenter, images(64, 64), tmp_path)


def test_keras_hubs_feature_pyramid_reads_the_pyramid(tiny_spec, images):
    """SpineNet needs no FPN, but keras-hub's reads the levels by the same names."""
    net = spinenet_tf.backbone(tiny_spec, (64, 64, 3), endpoint=8)
    pyramid = keras_hub.models.RetinaNetBackbone(
        image_encoder=net, min_level=3, max_level=6, use_p5=True, image_shape=(64, 64, 3)
    )
    outputs = pyramid(images(64, 64))
    assert [tuple(outputs[f"P{level}"].shape) for level in range(3, 7)] == [
        (2, side, side, 256) for side in (8, 4, 2, 1)
    ]
