"""The summary of a .tflite graph: operations, memory, names."""

from __future__ import annotations

import json

import pytest

from spinenet_tf.inference.inspection import _peak, inspect


def test_a_detector(exported):
    found = inspect(exported("none").path)
    assert found.ops["CONV_2D"] > 60
    assert found.max_rank == 4
    assert 1 <= found.xnnpack_partitions < 20
    assert sum(found.xnnpack_leaves.values()) < sum(found.ops.values())
    assert set(found.xnnpack_leaves) == {"RESIZE_NEAREST_NEIGHBOR"}
    assert found.inputs == {"images": {"shape": [1, 64, 128, 3], "dtype": "float32"}}
    assert found.outputs["box_deltas_P3"] == {"shape": [1, 8, 16, 36], "dtype": "float32"}
    assert len(found.outputs) == 10
    assert found.file_bytes == exported("none").path.stat().st_size


def test_memory_shrinks_with_the_type(exported):
    """Integer activations take a quarter of the memory, except the float input and outputs."""
    whole, quarter = (inspect(exported(quantization).path).arena_bytes for quantization in ("none", "int8"))
    assert whole / 4 <= quarter < whole / 2


def test_what_is_alive_at_once():
    """B (8 bytes) and C (4) are computed from A (4), the output D (16) from B and C, when A is not alive."""
    tensors = {i: {"shape": [n], "dtype": "float32"} for i, n in enumerate((1, 2, 1, 4))}
    operations = [
        {"inputs": [0], "outputs": [1]},
        {"inputs": [0], "outputs": [2]},
        {"inputs": [1, 2], "outputs": [3]},
    ]
    assert _peak(operations, tensors, inputs=[0], outputs=[3]) == 8 + 4 + 16


def test_the_command(exported, succeed, capsys):
    succeed("inspect", exported("none").path, "--json")
    assert json.loads(capsys.readouterr().out)["max_rank"] == 4
    succeed("inspect", exported("none").path)
    assert "XNNPACK partitions" in capsys.readouterr().out


def test_what_is_no_tflite_file(tmp_path):
    with pytest.raises(FileNotFoundError, match="There is no file"):
        inspect(tmp_path / "nothing.tflite")
    (tmp_path / "broken.tflite").write_bytes(b"not a flatbuffer at all")
    with pytest.raises(ValueError, match="LiteRT cannot load"):
        inspect(tmp_path / "broken.tflite")
