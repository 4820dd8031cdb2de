"""Our backbones work in keras-hub's detector. Tested here because it needs Model Garden's tensorflow-text."""

from __future__ import annotations

import keras_hub
import numpy as np
import pytest

import spinenet_tf


@pytest.mark.slow
def test_keras_hubs_retinanet_builds_fits_and_predicts(images):
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
