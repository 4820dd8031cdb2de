"""The same weights give the same results on JAX, in another process, as on TensorFlow."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import keras
import numpy as np
import pytest

from spinenet_tf import backbone, detector
from spinenet_tf.training.quantization import QuantizationAware

pytest.importorskip("jax")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="compares TensorFlow with JAX"),
]

CHILD = """
import json, sys
import keras, numpy as np
from spinenet_tf.nets.backbone import Backbone
from spinenet_tf.training.quantization import QuantizationAware
from spinenet_tf.heads.retinanet import RetinaNet

assert keras.backend.backend() == "jax"
assert "tensorflow" not in sys.modules, "the package imports TensorFlow on JAX"
folder, kind = sys.argv[1:]
config = json.load(open(folder + "/config.json"))
(model_class,) = (one for one in (Backbone, RetinaNet, QuantizationAware) if one.__name__.lower() == kind)
model = model_class.from_config(config)
model.load_weights(folder + "/net.weights.h5")
data = dict(np.load(folder + "/data.npz"))
if kind == "backbone":
    np.savez(folder + "/jax.npz", **model.predict(data["images"], verbose=0))
else:
    model.compile(keras.optimizers.SGD(0.01))
    images, weights, refused = data.pop("images"), data.pop("weights", None), []
    for fault in ({"classes": data["classes"] + 2}, {"boxes": data["boxes"][..., ::-1]}, {"boxes": data["boxes"] / 64}):
        batch = images, data | fault
        for arguments in (batch, ((each for each in [batch]),)):
            try:
                model.fit(*arguments, verbose=0)
            except ValueError as error:
                refused.append(str(error))
    history = model.fit(images, data, sample_weight=weights, verbose=0).history | {"refused": refused}
    model.save_weights(folder + "/trained.weights.h5")
    np.savez(folder + "/jax.npz", **history)
"""


@pytest.fixture
def on_jax(tmp_path):
    """Return `on_jax(model, **data)`, which returns the results of a JAX process for the model's config and weights."""

    def run(model, **data) -> dict[str, np.ndarray]:
        (tmp_path / "config.json").write_text(json.dumps(model.get_config()))
        model.save_weights(tmp_path / "net.weights.h5")
        np.savez(tmp_path / "data.npz", **data)
        kind = type(model).__name__.lower()
        # JAX compiles an initializer for each shape of weights; optimizing these would take most of the time.
        jax = {"KERAS_BACKEND": "jax", "JAX_PLATFORMS": "cpu", "JAX_DISABLE_MOST_OPTIMIZATIONS": "1"}
        command = [sys.executable, "-W", "error::UserWarning", "-c", CHILD, str(tmp_path), kind]
        result = subprocess.run(command, env=os.environ | jax, capture_output=True, text=True, check=False)
        assert result.returncode == 0, result.stderr[-2000:]
        return dict(np.load(tmp_path / "jax.npz"))

    return run


@pytest.mark.parametrize("name", ["spinenet_49", "spinenet_mobile_49xs"])
def test_a_backbone_computes_the_same_at_an_odd_size(name, on_jax, images, randomize):
    model = randomize(backbone(name, (100, 75, 3), width=0.25, endpoint=8))
    answers = on_jax(model, images=images(100, 75, 1))
    assert sorted(answers) == ["P3", "P4", "P5", "P6", "P7"]
    for level, expected in model(images(100, 75, 1)).items():
        np.testing.assert_allclose(answers[level], expected, atol=1e-4 * np.abs(expected).max())


def targets() -> dict[str, np.ndarray]:
    boxes = np.array([[[4, 4, 30, 30], [20, 10, 60, 50]], [[8, 16, 40, 48], [-1, -1, -1, -1]]], "float32")
    return {"boxes": boxes, "classes": np.array([[0, 2], [1, -1]], "int32")}


def step(model, images, **given) -> dict[str, list[float]]:
    """Train one step and return its losses."""
    model.compile(keras.optimizers.SGD(0.01))
    return model.fit(images, targets(), verbose=0, **given).history


def test_a_detector_takes_the_same_step(tiny_spec, on_jax, images, randomize, tmp_path):
    model = randomize(detector(tiny_spec, 3, (64, 64, 3), max_level=5, endpoint=8, head_depth=1, head_width=8))
    weights = np.array([1.0, 0.25], "float32")
    answers = on_jax(model, images=images(64, 64), weights=weights, **targets())
    history = step(model, images(64, 64), sample_weight=weights)
    told = ("Received: class 4", "Received: box [30.0, 30.0, 4.0, 4.0]", "boxes all in 0..1, for 64 x 64 px")
    assert len(answers["refused"]) == 2 * len(told), "arrays and generators, before anything is learned"
    assert all(message.endswith(told[index // 2]) for index, message in enumerate(answers["refused"].tolist()))
    for name in ("loss", "class_loss", "box_loss"):
        np.testing.assert_allclose(answers[name], history[name], rtol=1e-4)
    stepped = [np.array(weight.value) for weight in model.weights]
    model.load_weights(tmp_path / "trained.weights.h5")
    for ours, weight in zip(stepped, model.weights, strict=True):
        theirs = np.array(weight.value)
        np.testing.assert_allclose(theirs, ours, atol=1e-3 * max(np.abs(ours).max(), 1.0), err_msg=weight.path)


def test_quantization_aware_fine_tuning_takes_similar_steps(tiny_spec, on_jax, images, randomize, tmp_path):
    """The results differ slightly: a sum in another order may round to the next quantization step."""
    model = randomize(detector(tiny_spec, 3, (64, 64, 3), max_level=5, endpoint=8, head_depth=1, head_width=8))
    begun = flat(model)
    aware = QuantizationAware(model)
    answers = on_jax(aware, images=images(64, 64), **targets())
    history = step(aware, images(64, 64))
    np.testing.assert_allclose(answers["loss"], history["loss"], rtol=1e-2)
    ours = flat(model) - begun
    model.load_weights(tmp_path / "trained.weights.h5")
    theirs = flat(model) - begun
    assert ours @ theirs > 0.9 * np.linalg.norm(ours) * np.linalg.norm(theirs)


def flat(model) -> np.ndarray:
    return np.concatenate([np.ravel(weight.value) for weight in model.trainable_weights])


RESUME = """
import sys
import keras, numpy as np
from spinenet_tf.nets.base import SpineNetModel

class Small(SpineNetModel):
    def architecture(self):
        return {"model": "small"}

def trained(epochs, *callbacks):
    keras.utils.set_random_seed(1)
    x = keras.Input((4,))
    model = Small(x, keras.layers.Dense(2, name="last")(keras.layers.Dense(8, name="first")(x)))
    model.compile(keras.optimizers.SGD(keras.optimizers.schedules.CosineDecay(0.1, 4), momentum=0.9), "mse")
    model.fit(np.eye(4), np.ones((4, 2)), epochs=epochs, shuffle=False, verbose=0, callbacks=list(callbacks))
    return model

assert keras.backend.backend() == "jax"
whole, backup = trained(4), keras.callbacks.BackupAndRestore(sys.argv[1], delete_checkpoint=False)
trained(2, backup)
resumed = trained(4, backup)
assert int(resumed.optimizer.iterations) == 4
for ours, theirs in zip(resumed.get_weights(), whole.get_weights(), strict=True):
    np.testing.assert_allclose(ours, theirs, rtol=1e-5)
"""


def test_training_continues_from_a_backup(tmp_path):
    jax = {"KERAS_BACKEND": "jax", "JAX_PLATFORMS": "cpu"}
    command = [sys.executable, "-W", "error::UserWarning", "-c", RESUME, str(tmp_path / "backup")]
    result = subprocess.run(command, env=os.environ | jax, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr[-2000:]
