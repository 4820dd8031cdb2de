"""RetinaNet's inputs, outputs, training, saving and errors."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from inside import assert_inside

import spinenet_tf
from spinenet_tf.heads.retinanet import RetinaNet
from spinenet_tf.nets.weights import ArchitectureError

SIZE = (64, 64, 3)
SMALL = {"width": 0.25, "head_depth": 1}


@pytest.fixture(scope="module")
def detector(randomize):
    return randomize(spinenet_tf.detector("spinenet_mobile_49xs", 3, SIZE, **SMALL))


def _targets(batch: int) -> dict[str, np.ndarray]:
    boxes = np.tile(np.float32([[4, 4, 30, 30], [30, 20, 60, 60], [0, 0, 0, 0]]), (batch, 1, 1))
    return {"boxes": boxes, "classes": np.tile(np.int32([0, 2, -1]), (batch, 1))}


def test_raw_outputs_are_named_maps_of_all_levels(detector, images):
    raw = detector(images(64, 64))
    assert list(raw) == ["class_logits", "box_deltas"]
    for index, level in enumerate(("P3", "P4", "P5", "P6", "P7")):
        side = -(-64 // 2 ** (index + 3))
        assert raw["class_logits"][level].shape == (2, side, side, 9 * 3)
        assert raw["box_deltas"][level].shape == (2, side, side, 9 * 4)


def test_predict_gives_detections_inside_the_image(detector, images):
    assert_inside(detector.predict(images(64, 64), verbose=0), 64)


def test_predict_takes_keras_arguments_in_keras_order(detector, images):
    found = detector.predict(images(64, 64), 2, 0, 1)  # batch size, verbosity, steps
    np.testing.assert_array_equal(found["scores"], detector.predict(images(64, 64), verbose=0)["scores"])


def test_a_batch_gives_what_its_images_give_alone(detector, images):
    batch = images(64, 64, 3)
    together = detector.predict_on_batch(batch)
    for row in range(3):
        alone = detector.predict_on_batch(batch[row : row + 1])
        np.testing.assert_allclose(together["scores"][row], alone["scores"][0], atol=1e-5)


def test_weights_and_config_restore_the_same_detector(detector, images, tmp_path):
    detector.save_weights(tmp_path / "a.weights.h5")
    copy = RetinaNet.from_config(detector.get_config())
    copy.load_weights(tmp_path / "a.weights.h5")
    for ours, theirs in zip(
        detector.flatten(detector(images(64, 64))), copy.flatten(copy(images(64, 64))), strict=True
    ):
        np.testing.assert_array_equal(np.asarray(ours), np.asarray(theirs))


def test_another_class_count_is_refused_in_words(detector, tmp_path):
    detector.save_weights(tmp_path / "a.weights.h5")
    other = spinenet_tf.detector("spinenet_mobile_49xs", 4, SIZE, **SMALL)
    before = other.get_weights()
    with pytest.raises(ArchitectureError, match=r"classes: 3 in the file, 4 in the model"):
        other.load_weights(tmp_path / "a.weights.h5")
    assert all(np.array_equal(old, new) for old, new in zip(before, other.get_weights(), strict=True))


def test_fit_needs_an_optimizer_alone_warns_of_nothing_and_traces_once(tiny_mobile_spec, images, monkeypatch):
    import tensorflow as tf

    model = spinenet_tf.detector(tiny_mobile_spec, 3, SIZE, head_depth=1, head_width=8)
    traces = []
    compute_loss = RetinaNet.compute_loss
    monkeypatch.setattr(
        RetinaNet, "compute_loss", lambda *args, **kwargs: traces.append(1) or compute_loss(*args, **kwargs)
    )
    model.compile(keras.optimizers.SGD(0.01, momentum=0.9, global_clipnorm=10.0))
    batches = tf.data.Dataset.from_tensors((images(64, 64), _targets(2))).repeat(3)
    history = model.fit(batches, epochs=2, verbose=0).history
    assert len(traces) == 1
    assert set(history) == {"loss", "class_loss", "box_loss"}
    assert history["loss"][1] < history["loss"][0]
