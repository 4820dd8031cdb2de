"""COCO weights are downloaded from a local server, from archives that Model Garden's own code wrote."""

from __future__ import annotations

import functools
import http.server
import io
import tarfile
import threading
from pathlib import Path

import numpy as np
import pytest

import spinenet_tf
from spinenet_tf.checkpoints import garden_model, pretrained
from spinenet_tf.checkpoints.checkpoint import CheckpointError
from spinenet_tf.checkpoints.coco_classes import COCO_COUNT
from spinenet_tf.checkpoints.names import variables_by_name
from spinenet_tf.checkpoints.pretrained import ARCHIVES, DownloadError

NAME, SIDE, ACTIVATION = "spinenet_mobile_49", 128, "hard_swish"


@pytest.fixture(scope="session")
def published(tmp_path_factory, settle):
    """Return a folder with the layout of the published one, and the detector whose weights are in its archive."""
    folder = tmp_path_factory.mktemp("published")
    model = settle(spinenet_tf.detector(NAME, COCO_COUNT, (256, 256, 3), activation=ACTIVATION))
    garden_model.write_checkpoint(model, folder / "spinenet49mobile" / "ckpt-1")
    archive = folder / ARCHIVES[NAME].path
    archive.parent.mkdir(parents=True)
    with tarfile.open(archive, "w:gz") as tar:
        tar.add(folder / "spinenet49mobile", "spinenet49mobile")
    return folder, model


@pytest.fixture
def server(published, monkeypatch, tmp_path):
    """Serve the published folder on the loopback address, and cache downloads in a temporary folder."""

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_):
            requests.append(self.path)

    requests: list[str] = []
    handler = functools.partial(Quiet, directory=str(published[0]))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        monkeypatch.setattr(pretrained, "HOME", f"http://127.0.0.1:{running.server_port}")
        monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))
        running.requests = requests
        yield running
        running.shutdown()


def _assert_same(got, expected) -> None:
    theirs = variables_by_name(expected)
    for name, variable in variables_by_name(got).items():
        np.testing.assert_array_equal(np.asarray(variable), np.asarray(theirs[name]))


def test_downloads_once_and_works_offline_from_then_on(server, published, monkeypatch):
    model = spinenet_tf.detector(NAME, COCO_COUNT, (SIDE, SIDE, 3), weights="coco")
    _assert_same(model, published[1])
    assert model.options.background
    assert (model.backbone.style.activation, model.backbone.style.se_gate) == (ACTIVATION, "hard_sigmoid")
    assert len(server.requests) == 1
    monkeypatch.setattr(pretrained, "HOME", "http://127.0.0.1:9")
    for archive in pretrained.cache_folder().glob("*.tar.gz"):
        archive.unlink()
    _assert_same(spinenet_tf.detector(NAME, COCO_COUNT, (SIDE, SIDE, 3), weights="coco"), published[1])


def test_a_backbone_alone(server, published):
    net = spinenet_tf.backbone(NAME, (SIDE, SIDE, 3), weights="coco")
    _assert_same(net, published[1].backbone)


def test_a_damaged_cache_is_not_used(server, published):
    spinenet_tf.backbone(NAME, (SIDE, SIDE, 3), weights="coco")
    (kept,) = pretrained.cache_folder().glob("*.weights.h5")
    content = bytearray(kept.read_bytes())
    content[len(content) // 2] ^= 255
    kept.write_bytes(content)
    _assert_same(spinenet_tf.backbone(NAME, (SIDE, SIDE, 3), weights="coco"), published[1].backbone)


def test_a_local_archive(published):
    path = published[0] / ARCHIVES[NAME].path
    _assert_same(spinenet_tf.backbone(NAME, (SIDE, SIDE, 3), weights=path), published[1].backbone)


def test_without_a_network_the_error_says_what_to_do(server, monkeypatch):
    monkeypatch.setattr(pretrained, "HOME", "http://127.0.0.1:9")
    with pytest.raises(DownloadError, match=r"Download it by hand to .*spinenet49mobile.tar.gz"):
        spinenet_tf.backbone(NAME, (SIDE, SIDE, 3), weights="coco")
    assert not list(pretrained.cache_folder().iterdir())


def test_an_archive_that_leaves_its_folder_is_refused(tmp_path):
    archive = tmp_path / "evil.tar.gz"
    with tarfile.open(archive, "w:gz") as tar:
        member = tarfile.TarInfo("../evil.index")
        member.size = 4
        tar.addfile(member, io.BytesIO(b"evil"))
    with pytest.raises(CheckpointError, match="not a valid and safe tar archive"):
        spinenet_tf.backbone(NAME, (SIDE, SIDE, 3), weights=archive)
    assert not list(Path(tmp_path).rglob("evil.index"))


def test_what_is_not_published_is_refused():
    with pytest.raises(ValueError, match="COCO weights are published for spinenet_49, "):
        spinenet_tf.backbone("spinenet_190", (SIDE, SIDE, 3), weights="coco")
    with pytest.raises(ValueError, match="COCO weights have 91 classes"):
        spinenet_tf.detector(NAME, 80, (SIDE, SIDE, 3), weights="coco")
    with pytest.raises(FileNotFoundError, match='must be "coco" or an existing file'):
        spinenet_tf.backbone(NAME, (SIDE, SIDE, 3), weights="nowhere.tar.gz")
