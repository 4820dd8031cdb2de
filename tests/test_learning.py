"""The networks learn: a detector overfits four scenes, and a classifier learns the digits."""

from __future__ import annotations

import keras
import numpy as np
import pytest

import spinenet_tf


@pytest.mark.slow
@pytest.mark.parametrize(
    ("published", "steps", "rate", "least"),
    [(False, 120, 1.5e-2, 0.9), pytest.param(True, 400, 4e-3, 0.95, marks=pytest.mark.soak)],
    ids=["small", "spinenet_mobile_49xs"],
)
# In CI, tests/test_readme.py trains a RetinaNet.
@pytest.mark.parametrize("head", [pytest.param("retinanet", marks=pytest.mark.soak), "centernet"])
def test_a_detector_overfits_four_images(head, published, steps, rate, least, tiny_mobile_spec, tmp_path):
    from spinenet_tf.data.formats.digits import digits
    from spinenet_tf.data.input.pipeline import evaluation_batches
    from spinenet_tf.evaluation.average_precision import evaluate
    from spinenet_tf.evaluation.detections import detect_in_dataset

    dataset = digits(tmp_path, "train", scenes=4, classes=1, seed=1)
    size = (128, 128)
    images, targets = next(evaluation_batches(dataset, size, batch_size=4).as_numpy_iterator())
    overrides = {"activation": "relu6", "se_ratio": 0, "norm_momentum": 0.9}
    overrides |= {} if published else {"width": 8, "endpoint": 64, "head_width": 64}  # 32 channels per block
    overrides |= {"anchor_size": 2} if head == "retinanet" else {}
    name = "spinenet_mobile_49xs" if published else tiny_mobile_spec
    model = spinenet_tf.detector(name, 1, (*size, 3), head, **overrides)
    model.compile(keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(rate, steps), global_clipnorm=10.0))
    known = {"boxes": targets["boxes"], "classes": targets["classes"]}
    model.fit(images, known, batch_size=4, epochs=steps, verbose=0)
    found = evaluate(dataset, detect_in_dataset(model.predict_on_batch, dataset, size, 4))
    assert least < found.AP


@pytest.mark.soak  # two minutes; tests/heads/test_mask_rcnn.py trains for fewer steps
def test_masks_of_four_images_are_learned(tiny_spec, tmp_path):
    from spinenet_tf.data.formats.digits import digits
    from spinenet_tf.data.input.pipeline import training_batches
    from spinenet_tf.evaluation.average_precision import evaluate
    from spinenet_tf.evaluation.detections import detect_in_dataset

    dataset, size = digits(tmp_path, "train", scenes=4, classes=1, seed=1, digit_sizes=(40, 90)), (128, 128)
    same = spinenet_tf.data.Augment(flip=False, scale=(1.0, 1.0))
    batches = training_batches(dataset, size, 4, seed=0, augment=same, max_boxes=8, mask_size=112)
    overrides = {"width": 8, "endpoint": 64, "norm_momentum": 0.9, "anchor_size": 2, "box_depth": 1, "mask_depth": 1}
    overrides |= {"rpn_width": 64, "box_width": 64, "mask_width": 64, "fc_width": 128, "roi_samples": 64}
    overrides |= {"level_proposals_training": 100, "proposals_training": 60, "proposals": 60, "mask_samples": 16}
    model = spinenet_tf.detector(tiny_spec, 1, (*size, 3), "mask_rcnn", **overrides)
    model.compile(keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(4e-3, 200), global_clipnorm=10.0))
    model.fit(batches, steps_per_epoch=200, verbose=0)
    found = evaluate(dataset, detect_in_dataset(model.predict_on_batch, dataset, size, 4), masks=True)
    assert found.AP > 0.8
    assert found.mask_AP > 0.6


@pytest.mark.soak  # two minutes; tests/training/test_class_recipe.py trains classifiers for fewer steps
def test_a_classifier_reaches_95_percent_on_held_out_digits():
    import tensorflow as tf
    from sklearn.datasets import load_digits

    digits = load_digits()
    order = np.random.default_rng(0).permutation(len(digits.images))
    images = np.kron(digits.images[order] / 16.0 - 0.3, np.ones((1, 6, 6)))[..., None].repeat(3, axis=-1)
    images, labels = images.astype("float32"), digits.target[order]
    overrides = {"activation": "relu6", "se_ratio": 0, "norm_momentum": 0.9}
    model = spinenet_tf.classifier("spinenet_mobile_49xs", 10, (48, 48, 3), **overrides)
    jitter = keras.Sequential([keras.layers.RandomTranslation(0.1, 0.1), keras.layers.RandomRotation(0.03)])
    batches = tf.data.Dataset.from_tensor_slices((images[:1400], labels[:1400])).shuffle(1400).repeat().batch(32)
    batches = batches.map(lambda x, y: (jitter(x, training=True), y))
    steps = 800
    model.compile(
        keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(3e-3, steps)),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )
    model.fit(batches, steps_per_epoch=steps, verbose=0)
    assert model.evaluate(images[1400:], labels[1400:], verbose=0)[1] >= 0.95
