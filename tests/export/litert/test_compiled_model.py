"""LiteRT's CompiledModel, the API that replaces its Interpreter, gives the same numbers by the same names."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
from compiled_model import VULKAN, assert_compiled_gives_the_same, interpreted, noise, on_gpu

from spinenet_tf.export.litert.conversion import converter
from spinenet_tf.export.litert.tflite_file import QUANTIZATIONS
from spinenet_tf.heads import retinanet
from spinenet_tf.nets.nearest import nearest, pick, resize_is_exact

gpu = pytest.mark.skipif(not VULKAN.is_file(), reason="there is no Vulkan driver of Chromium")


@pytest.mark.parametrize("quantization", [x for x in QUANTIZATIONS if x != "int16x8"])  # that one: see CenterNet's
def test_raw_outputs_are_the_same(exported, quantization) -> None:
    assert_compiled_gives_the_same(exported(quantization).path)


@pytest.mark.parametrize("kind", retinanet.ROW.outputs[1:])
def test_decoding_and_the_custom_operation_are_the_same(files_by_kind, kind) -> None:
    assert_compiled_gives_the_same(files_by_kind[kind])


def test_a_classifier_is_the_same(classifier_file) -> None:
    assert_compiled_gives_the_same(classifier_file)


@gpu
def test_a_gpu_runs_a_whole_network(exported, tmp_path) -> None:
    path = exported("fp16").path
    expected, found = interpreted(path, noise(path)), on_gpu(path, noise(path), tmp_path)
    for name, x in expected.items():
        np.testing.assert_allclose(found[name], x, atol=1e-5 * np.abs(x).max())


@gpu
def test_a_gpu_does_not_run_nms(files_by_kind, tmp_path) -> None:
    path = files_by_kind["detections"]
    with pytest.raises(RuntimeError, match="NON_MAX_SUPPRESSION_V5: Operation is not supported"):
        on_gpu(path, noise(path), tmp_path)


@gpu
def test_a_gpu_resizes_by_the_same_pixels(tmp_path) -> None:
    """Sizes of the levels of images of 104, 200 and 416 px, whose ratios are not whole."""
    sides = [13, 25, 52, 104]
    assert all(resize_is_exact(7, side) for side in sides)

    @tf.function(input_signature=[tf.TensorSpec((1, 7, 7, 4), name="images")])
    def resize(images):
        return {f"to_{side}": pick(images, [side, side], nearest, "resize") for side in sides}

    path = tmp_path / "resize.tflite"
    with converter(resize) as conversion:
        path.write_bytes(conversion.convert())
    images = noise(path)
    found = on_gpu(path, images, tmp_path)
    for side in sides:
        np.testing.assert_array_equal(found[f"to_{side}"], pick(images, [side, side], nearest))
