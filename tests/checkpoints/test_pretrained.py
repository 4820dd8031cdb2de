"""COCO weights are converted once, for the activation and SE gate that they were trained with.

tests/garden tests the same with archives written by Model Garden's own code, and with a server.
"""

from __future__ import annotations

import tarfile
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

import spinenet_tf
from spinenet_tf.checkpoints import pretrained
from spinenet_tf.checkpoints.names import variables_by_name
from spinenet_tf.checkpoints.pretrained import ARCHIVES, Archive

FUNCTIONS = {"activation": "hard_swish", "se_gate": "sigmoid"}
OPTIONS = {"max_level": 5}


@pytest.fixture(scope="module")
def published(tiny_mobile_row, settle, as_garden, tmp_path_factory) -> tuple[Path, dict[str, np.ndarray]]:
    """Return an archive as Model Garden publishes one, and the weights in it."""
    net = settle(spinenet_tf.backbone(tiny_mobile_row.graph, (256, 256, 3), endpoint=8, **FUNCTIONS, **OPTIONS))
    values = {name: np.asarray(variable) for name, variable in variables_by_name(net).items()}
    folder = tmp_path_factory.mktemp("published")
    root = tf.Module()
    root.backbone = tf.Module()
    for index, (name, value) in enumerate(values.items()):
        setattr(root.backbone, f"v{index}", tf.Variable(value, name=as_garden(name)))
    tf.train.Checkpoint(backbone=root.backbone).write(str(folder / "tiny" / "ckpt-1"))
    with tarfile.open(folder / "tiny.tar.gz", "w:gz") as tar:
        tar.add(folder / "tiny", "tiny")
    return folder / "tiny.tar.gz", values


@pytest.fixture
def cache(published, tiny_models, monkeypatch, tmp_path) -> Path:
    """Return a cache folder with the downloaded archive."""
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))
    monkeypatch.setitem(ARCHIVES, "tiny_mobile", Archive("retinanet/tiny.tar.gz", 0.0))
    folder = pretrained.cache_folder()
    folder.mkdir(parents=True)
    (folder / "tiny.tar.gz").write_bytes(published[0].read_bytes())
    return folder


def _backbone(**overrides):
    return spinenet_tf.backbone("tiny_mobile", (64, 64, 3), weights="coco", **OPTIONS, **overrides)


def _assert_as_published(net, published, **functions: str) -> None:
    assert {key: getattr(net.style, key) for key in FUNCTIONS} == FUNCTIONS | functions
    for name, variable in variables_by_name(net).items():
        np.testing.assert_array_equal(np.asarray(variable), published[1][name])


@pytest.fixture
def unpacked(monkeypatch) -> list[Path]:
    """Return the archives that a test has unpacked so far."""
    archives, read = [], pretrained.read_archive
    monkeypatch.setattr(pretrained, "read_archive", lambda path: archives.append(path) or read(path))
    return archives


def test_functions_are_found_once(cache, published, unpacked, monkeypatch):
    _assert_as_published(_backbone(), published)
    assert unpacked == [cache / "tiny.tar.gz"]
    monkeypatch.setattr(pretrained, "find_functions", None)
    (cache / "tiny.tar.gz").unlink()
    _assert_as_published(_backbone(), published)


def test_a_damaged_note_of_them_is_not_used(cache, published):
    (cache / "tiny_mobile-functions.json").write_text('{"activation": "tanh"}')
    _assert_as_published(_backbone(), published)
    (cache / "tiny_mobile-functions.json").write_text("{")
    _assert_as_published(_backbone(), published)


def test_what_was_converted_for_another_activation_is_converted_again(cache, published):
    _assert_as_published(_backbone(activation="swish", se_gate="sigmoid"), published, activation="swish")
    (swish,) = cache.glob("*.weights.h5")
    _assert_as_published(_backbone(), published)
    assert len(list(cache.glob("*.weights.h5"))) == 2
    (cache / "tiny.tar.gz").unlink()  # from here on the cache has both
    _assert_as_published(_backbone(), published)
    _assert_as_published(_backbone(activation="swish", se_gate="sigmoid"), published, activation="swish")
    assert swish.is_file()


def test_a_local_archive_tells_too(published, tiny_models, unpacked):
    net = spinenet_tf.backbone("tiny_mobile", (64, 64, 3), weights=published[0], **OPTIONS)
    _assert_as_published(net, published)
    assert unpacked == [published[0]]
