"""The summary of a .tflite graph: operations, costs, coverage, memory, names."""

from __future__ import annotations

import json

import numpy as np
import pytest

from spinenet_tf.inference.coverage import Coverage, find_coverage
from spinenet_tf.inference.inspection import inspect
from spinenet_tf.nets.costs import multiply_adds


def test_a_detector(exported):
    found = inspect(exported("none").path)
    assert found.ops["CONV_2D"] > 60
    assert found.max_rank == 4
    assert (found.xnnpack_partitions, found.xnnpack_leaves) == (1, {})
    assert found.inputs == {"images": {"shape": [1, 64, 128, 3], "dtype": "float32"}}
    assert found.outputs["box_deltas_P3"] == {"shape": [1, 8, 16, 36], "dtype": "float32"}
    assert len(found.outputs) == 10
    assert found.file_bytes == exported("none").path.stat().st_size


def test_costs_are_those_of_keras(exported, detector):
    found = inspect(exported("none").path)
    assert found.multiply_adds == {"CONV_2D": multiply_adds(detector)}
    kernels = sum(weight.numpy().nbytes for weight in detector.weights if weight.path.endswith("kernel"))
    assert kernels < found.weight_bytes < found.file_bytes, "with its BN folded, each level has its own head"


def test_coverage_of_each_engine(exported):
    found = inspect(exported("none").path)
    total, left = sum(found.ops.values()), found.xnnpack_leaves
    assert found.engines["XNNPACK"] == Coverage(1 - sum(left.values()) / total, 1.0, left)
    assert found.engines["GPU"] == found.engines["NPU"] == Coverage(1.0, 1.0, {})


@pytest.mark.parametrize(("dtype", "left"), [(np.float32, {}), (np.int8, {}), (np.int16, {"SLICE": 1})])
def test_gpus_run_slices_but_no_16_bit_activations(dtype, left):
    operation = {"index": 0, "op_name": "SLICE", "inputs": np.array([0]), "outputs": np.array([1])}
    tensors = {number: {"shape": [1, 8, 8, 3], "dtype": dtype} for number in range(2)}
    found = find_coverage([operation], [], tensors, [0])
    assert (found["GPU"].leaves, found["NPU"].leaves) == (left, {"SLICE": 1})


def test_memory_shrinks_with_the_type(exported):
    """Integer activations take a quarter of the memory, except the float input and outputs."""
    whole, quarter = (inspect(exported(quantization).path).arena_bytes for quantization in ("none", "int8"))
    assert whole / 4 <= quarter < whole / 2


def test_the_command(exported, succeed, capsys):
    succeed("inspect", exported("none").path, "--json")
    found = json.loads(capsys.readouterr().out)
    assert found["max_rank"] == 4
    succeed("inspect", exported("none").path)
    printed = capsys.readouterr().out
    assert "XNNPACK partitions" in printed
    (row,) = [line.replace("│", " ").split() for line in printed.splitlines() if line.startswith("│ CONV_2D")]
    work, moved = f"{found['multiply_adds']['CONV_2D'] / 1e6:.2f}", f"{found['moved_bytes']['CONV_2D'] / 1e6:.2f}"
    assert row == ["CONV_2D", str(found["ops"]["CONV_2D"]), work, "█" * 16, moved, "yes", "yes", "yes"]


def test_what_is_no_tflite_file(tmp_path):
    with pytest.raises(FileNotFoundError, match="There is no file"):
        inspect(tmp_path / "nothing.tflite")
    (tmp_path / "broken.tflite").write_bytes(b"not a flatbuffer at all")
    with pytest.raises(ValueError, match="LiteRT cannot load"):
        inspect(tmp_path / "broken.tflite")


def test_another_kind_of_model_is_named(tmp_path):
    run, saved, onnx = tmp_path / "run", tmp_path / "saved", tmp_path / "model.onnx"
    for folder, mark in ((run, "config.yaml"), (saved, "saved_model.pb")):
        folder.mkdir()
        (folder / mark).touch()
    onnx.touch()
    (tmp_path / "model.xml").touch()
    with pytest.raises(
        ValueError, match=r"run is the folder of a run: write a \.tflite file by `spinenet-tf export .*run`\.$"
    ):
        inspect(run)
    (run / "model-int8.tflite").touch()
    with pytest.raises(
        ValueError, match=r"run is the folder of a run: inspect one of its files: model-int8\.tflite\.$"
    ):
        inspect(run)
    for path, kind in (
        (saved, "a SavedModel"),
        (onnx, "an ONNX file"),
        (tmp_path / "model.xml", "an OpenVINO file"),
        (tmp_path, "a folder"),
    ):
        with pytest.raises(ValueError, match=rf"Only \.tflite files can be inspected\. Received: {path}, {kind}$"):
            inspect(path)
