"""Pretrained weights: download the COCO archives of TF Model Garden, convert them, and cache the result."""

from __future__ import annotations

import hashlib
import json
import os
import tarfile
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import keras

from spinenet_tf._files.writing import staged, write_whole
from spinenet_tf._lazy import needs_tensorflow
from spinenet_tf.checkpoints.activation import Functions, candidates_of, find_functions
from spinenet_tf.checkpoints.checkpoint import Checkpoint, CheckpointError
from spinenet_tf.checkpoints.coco_classes import COCO, COCO_COUNT
from spinenet_tf.checkpoints.names import Network
from spinenet_tf.heads.classifier import Classifier
from spinenet_tf.heads.retinanet import RetinaNet
from spinenet_tf.nets.backbone import Backbone
from spinenet_tf.nets.base import ArchitectureError
from spinenet_tf.nets.family import Net, variant
from spinenet_tf.nets.specs import ArchitectureSpec
from spinenet_tf.nets.weights import SUFFIX

HOME = "https://storage.googleapis.com/tf_model_garden/vision"


@dataclass(frozen=True)
class Archive:
    """A published archive: its path below `HOME`, and its published COCO AP."""

    path: str
    ap: float


# RetinaNets of Model Garden's TF2 code, which has published no other SpineNets.
ARCHIVES = {
    "spinenet_49": Archive("spinenet/spinenet-49-i640.tar.gz", 44.2),
    "spinenet_96": Archive("spinenet/spinenet-96-i1024.tar.gz", 48.5),
    "spinenet_143": Archive("spinenet/spinenet-143-i1280.tar.gz", 50.0),
    "spinenet_mobile_49": Archive("retinanet/spinenet49mobile.tar.gz", 28.1),
}


class DownloadError(RuntimeError):
    """The download failed; the message says which file to download by hand, and where to put it."""


def check_weights(
    weights: str | os.PathLike, name: object, head: str | None = None, num_classes: int | None = None
) -> None:
    """Check that `weights` can fit a model, before downloading or converting them.

    `head` is the name of the model's head, or None for a backbone.

    Raises:
        ValueError: no COCO weights are published for model `name` with this head and number of classes.
        FileNotFoundError: `weights` is neither "coco" nor a file.
    """
    if weights != COCO:
        if not Path(weights).is_file():
            raise FileNotFoundError(f'`weights` must be "coco" or an existing file. Received: weights={str(weights)!r}')
        return
    if not isinstance(name, str) or name not in ARCHIVES:
        given = f"a spec, {name.name!r}" if isinstance(name, ArchitectureSpec) else f"{name=}"
        raise ValueError(f"COCO weights are published for {', '.join(ARCHIVES)}. Received: {given}")
    if head == Classifier.head:
        raise ValueError("COCO weights are for detectors and backbones, not for classifiers.")
    if head not in (None, RetinaNet.head):
        raise ValueError(f"COCO weights are published only for the head {RetinaNet.head}. Received: head={head!r}")
    if head is not None and num_classes != COCO_COUNT:
        received = f"num_classes={num_classes}"
        raise ValueError(f"COCO weights have {COCO_COUNT} classes, with 0 as the background. Received: {received}")


class Pretrained:
    """The weights that a model starts from: "coco", a `.weights.h5` file, or an archive of Model Garden.

    "coco" is downloaded once, converted, and cached with Keras's other downloads; later uses need no network.

    Raises:
        ValueError, FileNotFoundError: see `check_weights`.
    """

    def __init__(self, weights: str | os.PathLike, name: Net, head: str | None = None, num_classes: int | None = None):
        check_weights(weights, name, head, num_classes)
        self.weights, self.name = weights, name

    @cached_property
    def archive(self) -> Checkpoint:
        """The checkpoint in the archive, which is read only once.

        Raises:
            DownloadError: the network is down, or the server does not have the file.
            CheckpointError: see `read_archive`.
        """
        return read_archive(_coco_archive(str(self.name)) if self.weights == COCO else Path(self.weights))

    def trained_with(self, build: Callable[..., Backbone], given: Mapping[str, Any]) -> dict[str, Any]:
        """Return the overrides of the factory that the weights were trained with and that `given` does not set.

        `build(input_shape, **overrides)` builds a backbone of the model with the given overrides.

        For a `.weights.h5` file the result is empty, because loading it compares architectures. An archive does not
        store its activation: see `activation.find_functions`. The result for "coco" is cached.

        Raises:
            DownloadError, CheckpointError: see `archive` and `find_functions`.
        """
        if self.weights == COCO:
            return {"background": True} | self._coco_functions(build, given)
        if self._is_our_file():
            return {}
        made = self.archive.overrides(has_mbconv=variant(self.name).graph.has_mbconv)
        made = {key: made[key] for key in made if key not in given}
        return made | find_functions(self.archive, self.name, partial(build, **made), made | dict(given))

    def load(self, model: Network) -> None:
        """Load the weights into a model that was built with the overrides of `trained_with`.

        Loading an archive does not detect a wrong activation or gate.

        Raises:
            DownloadError, CheckpointError: see `archive`; or the architecture differs.
        """
        if self.weights == COCO:
            stem = f"{self.name}-{'backbone' if isinstance(model, Backbone) else 'detector'}"
            if not _load_kept(model, stem):
                self.archive.load(model)
                _keep(model, stem)
        elif self._is_our_file():
            model.load_weights(self.weights)
        else:
            self.archive.load(model)

    def _is_our_file(self) -> bool:
        return Path(self.weights).name.endswith(SUFFIX)

    def _coco_functions(self, build: Callable[..., Backbone], given: Mapping[str, Any]) -> Functions:
        """Return the functions of published weights; infer them once, and cache them in a file."""
        candidates, kept = list(candidates_of(self.name, given)), cache_folder() / f"{self.name}-functions.json"
        if len(candidates) == 1:
            return candidates[0]
        found = _read_functions(kept)
        if found not in candidates:
            found = find_functions(self.archive, self.name, build, given)
            if not given.keys() & found.keys():
                write_whole(kept, json.dumps(found))
        return found


def read_archive(archive: Path) -> Checkpoint:
    """Read the only checkpoint in a `.tar.gz` file; members that would be extracted to other folders are refused.

    Raises:
        CheckpointError: see `read_checkpoint`; or the file is not an archive, or is unsafe.
    """
    with tempfile.TemporaryDirectory(prefix="spinenet_tf-") as folder:
        try:
            with tarfile.open(archive) as tar:
                tar.extractall(folder, filter="data")
        except (tarfile.TarError, EOFError, OSError) as error:
            raise CheckpointError(f"{archive} is not a valid and safe tar archive: {error}") from error
        found = sorted(Path(folder).rglob("*.index"))
        if len(found) != 1:
            raise CheckpointError(f"{archive} must contain exactly one checkpoint. Received: {len(found)}")
        with needs_tensorflow("A checkpoint of TensorFlow"):
            from spinenet_tf.checkpoints.origins import read_checkpoint

            return replace(read_checkpoint(found[0]), source=str(archive))


def cache_folder() -> Path:
    """Return the folder of cached weights: `spinenet_tf` in Keras's home."""
    return Path(os.environ.get("KERAS_HOME", "~/.keras")).expanduser() / "spinenet_tf"


def _load_kept(model: Network, stem: str) -> bool:
    """Load cached weights that are undamaged and have the model's functions; return False if there are none."""
    for kept in sorted(cache_folder().glob(f"{stem}-*{SUFFIX}")):
        if kept.name == f"{stem}-{_digest(kept)}{SUFFIX}":
            try:
                model.load_weights(kept)
            except ArchitectureError:  # another activation or gate
                continue
            return True
    return False


def _coco_archive(name: str) -> Path:
    archive = cache_folder() / Path(ARCHIVES[name].path).name
    if not archive.is_file():
        _download(ARCHIVES[name].path, archive)
    return archive


def _read_functions(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):  # missing or damaged
        return None


def _keep(model: Network, stem: str) -> None:
    """Write the converted weights to a file named by its hash, so that a damaged file is never loaded."""
    with staged(cache_folder() / f"{stem}{SUFFIX}") as part:
        model.save_weights(part, include_optimizer=False)
        part.rename(part.with_name(f"{stem}-{_digest(part)}{SUFFIX}"))


def _download(path: str, target: Path) -> None:
    url = f"{HOME}/{path}"
    target.parent.mkdir(parents=True, exist_ok=True)  # remains after an error, for a download by hand
    with staged(target) as part:
        folder = part.parent
        try:
            keras.utils.get_file(target.name, url, cache_dir=folder.parent, cache_subdir=folder.name)
        except Exception as error:  # get_file raises a bare Exception for errors of the server
            raise DownloadError(f"{url} could not be downloaded ({error}). Download it by hand to {target}.") from error


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:32]
