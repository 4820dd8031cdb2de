"""Files of any image size have the outputs of Keras and only operations that their target supports."""

from __future__ import annotations

from dataclasses import replace

import keras
import numpy as np
import pytest

import spinenet_tf
from spinenet_tf import export
from spinenet_tf.export.litert.targets import TARGETS
from spinenet_tf.heads.retinanet import RetinaNet, RetinaNetOptions
from spinenet_tf.inference.inspection import inspect
from spinenet_tf.nets.costs import without_values
from spinenet_tf.nets.resizable import resampling_layers

SIDES = (72, 104)  # P3 to P5 are 9 x 13, 5 x 7 and 3 x 4: no ratio is an integer, and rows and columns differ


@pytest.fixture(scope="module")
def build(tiny_mobile_spec):
    """Return a function from an image size to a detector whose graph has connections up by one and by two levels."""
    blocks = list(tiny_mobile_spec.blocks)
    blocks[3] = replace(blocks[3], parents=(3, 4))
    spec = replace(tiny_mobile_spec, blocks=tuple(blocks))

    def make(height: int, width: int) -> keras.Model:
        net = spinenet_tf.backbone(spec, (height, width, 3), max_level=5, endpoint=8, activation="relu6", se_ratio=0.0)
        return RetinaNet(net, 2, RetinaNetOptions(head_depth=1, head_width=8))

    return make


@pytest.fixture(scope="module")
def odd(build, stirred) -> keras.Model:
    keras.utils.set_random_seed(0)
    return stirred(build(*SIDES))


@pytest.fixture(scope="module")
def pictures() -> np.ndarray:
    return np.random.default_rng(1).standard_normal((2, *SIDES, 3), "float32")


def write(model, path, target: str, quantization: str, pictures) -> export.Artifact:
    given = {"calibration": [pictures]} if quantization == "int8" else {}
    artifact = export.tflite(model, path, quantization, target=target, outputs="raw", **given)
    assert artifact.difference["max"] < (0.1 if given else 1e-5)
    return artifact


@pytest.mark.parametrize("quantization", ["none", "int8"])
def test_cpus_run_any_size_in_one_part(odd, pictures, tmp_path, quantization) -> None:
    found = inspect(write(odd, tmp_path / "model.tflite", "cpu", quantization, pictures).path)
    assert (found.xnnpack_partitions, found.xnnpack_leaves, found.max_rank) == (1, {}, 4)
    assert {"DEPTH_TO_SPACE", "SLICE", "CONCATENATION"} < set(found.ops)


def test_gpus_get_one_resize_per_connection(odd, pictures, tmp_path) -> None:
    found = inspect(write(odd, tmp_path / "model.tflite", "gpu", "none", pictures).path)
    assert found.ops["RESIZE_NEAREST_NEIGHBOR"] == len(resampling_layers(odd)) == 4
    assert not {"GATHER", "SLICE", "CONCATENATION"} & set(found.ops)


def test_a_net_of_transposed_convs_has_any_size_too(stirred, pictures, tmp_path) -> None:
    """They double the maps, and slices crop them."""
    model = stirred(spinenet_tf.detector("resnet_18", 2, (*SIDES, 3), width=0.1, endpoint=8, head_width=8))
    found = inspect(write(model, tmp_path / "model.tflite", "gpu", "none", pictures).path)
    assert (found.xnnpack_partitions, found.xnnpack_leaves) == (1, {})
    assert found.ops["STRIDED_SLICE"] == 2
    assert not TARGETS["cpu"].refused("raw", found)


def test_gpus_and_npus_refuse_a_size_where_they_would_pick_other_pixels(build, tmp_path) -> None:
    model = without_values(lambda: build(480, 485))
    message = r"nearest sides that they support: width 480 or 489\. Received: image_size=\(480, 485\)"
    for target in ("gpu", "npu"):
        with pytest.raises(ValueError, match=message):
            export.tflite(model, tmp_path / "model.tflite", target=target)
    assert not list(tmp_path.iterdir())
