"""Two devices with half of the batch each take the same steps as one device with the whole batch."""

from __future__ import annotations

import json
import pickle
import subprocess
import sys
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from spinenet_tf.heads.table import HEADS
from spinenet_tf.training.config import ConfigError
from spinenet_tf.training.config_file import read_config
from spinenet_tf.training.distribution import scope, with_global_statistics

# The gradient is clipped, weights decay, and the halves differ in their number of positives and in their statistics.
OVERRIDES = [
    "class_names=[a, b]",
    "model.image_size=[32, 32]",
    "model.overrides={max_level: 3, l2: 0.001}",
    "optimizer={learning_rate: 3.2, warmup_steps: 0, clip_global_norm: 2.0}",
]
# All anchors and ROIs are samples: a device draws its own random numbers.
ALL_SAMPLES = {"rpn_positive_share": 1.0, "roi_samples": 64, "roi_positive_share": 1.0, "mask_samples": 64}
OPTIONS = {
    "retinanet": {"head_depth": 1},
    "mask_rcnn": HEADS["mask_rcnn"].smallest | ALL_SAMPLES,
}
TOLERANCES = {"retinanet": 1e-5, "mask_rcnn": 1e-4}  # NMS of the proposals decides on the last bits of scores

CHILD = """
import json, pickle, sys
import numpy as np
import tensorflow as tf

device = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(device, [tf.config.LogicalDeviceConfiguration()] * 2)

from functools import partialmethod
from spinenet_tf.nets.family import VARIANTS
from spinenet_tf.heads.checked import CheckedModel
from spinenet_tf.training.config_file import read_config
from spinenet_tf.training.recipe import prepare

row, config, output, *overrides = sys.argv[1:]
VARIANTS["tiny"] = pickle.loads(bytes.fromhex(row))
CheckedModel.compile = partialmethod(CheckedModel.compile, run_eagerly=True)
rng = np.random.default_rng(0)
images = rng.normal(size=(8, 32, 32, 3)).astype("float32")
images[2:4] *= 3.0
start = rng.uniform(0, 12, size=(8, 3, 2))
boxes = np.concatenate([start, start + rng.uniform(8, 20, size=start.shape)], -1).astype("float32")
classes = np.array([[0, 1, 1], [0, -1, -1], [-1, -1, -1], [1, -1, -1]] * 2, "int32")
masks = rng.integers(0, 2, size=(*classes.shape, 112, 112)).astype("float32")
masks[classes < 0] = -1
truth = {"boxes": boxes, "classes": classes} | ({"masks": masks} if "task=instance segmentation" in overrides else {})
batches = tf.data.Dataset.from_tensor_slices((images, truth)).batch(4)
answers = {}
for distribution in ("null", "mirrored"):
    model = prepare(read_config(config, [*overrides, f"distribution={distribution}"]), steps=2)
    history = model.fit(batches, verbose=0).history
    numbers = {weight.path: np.array(weight.value) for weight in model.weights}
    numbers["scores"] = model.predict_on_batch(images)["scores"]
    momenta = {f"momentum {i}": np.array(v.value) for i, v in enumerate(model.optimizer.variables)}
    answers |= {f"{distribution}:{name}": value for name, value in (numbers | momenta | history).items()}
np.savez(output, **answers)
"""


@pytest.mark.slow
@pytest.mark.parametrize("head", OPTIONS)
def test_mirrored_devices_take_the_steps_of_one(head: str, tmp_path: Path, least_row, write_config) -> None:
    own = [f"task={HEADS[head].task}", f"model.head={json.dumps({'kind': head} | OPTIONS[head])}"]
    files = [str(write_config(tmp_path)), str(tmp_path / "out.npz")]
    arguments = [pickle.dumps(least_row).hex(), *files, *OVERRIDES, *own]
    child = subprocess.run([sys.executable, "-c", CHILD, *arguments], capture_output=True, text=True, check=False)
    assert child.returncode == 0, child.stderr[-2000:]
    answers = dict(np.load(tmp_path / "out.npz"))
    names = [name.removeprefix("null:") for name in answers if name.startswith("null:")]
    assert {"loss", "scores", "class_loss", "box_loss", "stem_conv_bn/moving_variance"} <= set(names)
    for name in names:
        one, two = answers[f"null:{name}"], answers[f"mirrored:{name}"]
        size = max(1.0, np.abs(one).max())
        np.testing.assert_allclose(two, one, rtol=10 * TOLERANCES[head], atol=TOLERANCES[head] * size, err_msg=name)


@pytest.fixture
def read(tmp_path: Path, tiny_model, write_config):
    return partial(read_config, write_config(tmp_path))


def test_what_keras_does_not_support_is_refused(read) -> None:
    with pytest.raises(ConfigError, match=r"mirrored does not support optimizer\.accumulate"):
        scope(read(["distribution=mirrored", "optimizer.accumulate=2"]))
    with pytest.raises(ConfigError, match="'mirrored'"):
        read(["distribution=tpu"])


def test_bn_sees_the_whole_batch_unless_the_config_says_no(read) -> None:
    assert with_global_statistics(read([])) == read([])
    assert with_global_statistics(read(["distribution=mirrored"])).model.overrides["sync_bn"] is True
    kept = with_global_statistics(read(["distribution=mirrored", "model.overrides={sync_bn: false}"]))
    assert kept.model.overrides["sync_bn"] is False
