"""COCO weights in one line: the archives that TF Model Garden publishes, converted on the user's machine, and kept."""

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
from spinenet_tf.checkpoints.activation import Functions, candidates_of, find_functions
from spinenet_tf.checkpoints.checkpoint import Checkpoint, CheckpointError
from spinenet_tf.checkpoints.names import Network
from spinenet_tf.checkpoints.origins import read_checkpoint
from spinenet_tf.heads.classifier import Classifier
from spinenet_tf.heads.retinanet import RetinaNet
from spinenet_tf.nets.backbone import Backbone
from spinenet_tf.nets.base import ArchitectureError
from spinenet_tf.nets.family import Net, variant
from spinenet_tf.nets.specs import ArchitectureSpec
from spinenet_tf.nets.weights import SUFFIX

HOME = "https://storage.googleapis.com/tf_model_garden/vision"
COCO_COUNT = 91  # classes: COCO's ids run to 90, and 0 is the background


@dataclass(frozen=True)
class Archive:
    """A published archive: where it is, and the COCO AP that is published for it."""

    path: str
    ap: float


# RetinaNets of Model Garden's TF2 code; no other SpineNet is published for it.
ARCHIVES = {
    "spinenet_49": Archive("spinenet/spinenet-49-i640.tar.gz", 44.2),
    "spinenet_96": Archive("spinenet/spinenet-96-i1024.tar.gz", 48.5),
    "spinenet_143": Archive("spinenet/spinenet-143-i1280.tar.gz", 50.0),
    "spinenet_mobile_49": Archive("retinanet/spinenet49mobile.tar.gz", 28.1),
}


class DownloadError(RuntimeError):
    """Weights that could not be fetched; the message says what to download by hand, and where to put it."""


def check_weights(
    weights: str | os.PathLike, name: object, head: str | None = None, num_classes: int | None = None
) -> None:
    """Refuse what can be no weights of a model, before the work of getting them.

    `head` is that of the model, None for a backbone.

    Raises:
        ValueError: no COCO weights of `name` with this head are published, or they have other classes.
        FileNotFoundError: `weights` are neither "coco" nor a file.
    """
    if weights != "coco":
        if not Path(weights).is_file():
            raise FileNotFoundError(f'There are no weights {weights}: it is neither a file nor "coco".')
        return
    if not isinstance(name, str) or name not in ARCHIVES:
        given = f"a spec, {name.name!r}" if isinstance(name, ArchitectureSpec) else f"{name=}"
        raise ValueError(f"COCO weights are published for {', '.join(ARCHIVES)}. Received: {given}")
    if head == Classifier.head:
        raise ValueError("COCO weights are of a detector, not of a classifier; a backbone can have them.")
    if head not in (None, RetinaNet.head):
        raise ValueError(f"COCO weights are published with the head {RetinaNet.head}. Received: head={head!r}")
    if head is not None and num_classes != COCO_COUNT:
        raise ValueError(f"COCO weights have {COCO_COUNT} classes, 0 is the background. Received: {num_classes}")


class Pretrained:
    """The weights that a model starts from: "coco", a `.weights.h5` file, or an archive of Model Garden, read once.

    "coco" is downloaded once, converted, and kept beside Keras's other downloads; from then on no network is needed.

    Raises:
        ValueError, FileNotFoundError: as `check_weights` does.
    """

    def __init__(self, weights: str | os.PathLike, name: Net, head: str | None = None, num_classes: int | None = None):
        check_weights(weights, name, head, num_classes)
        self.weights, self.name = weights, name

    @cached_property
    def archive(self) -> Checkpoint:
        """The checkpoint in the archive.

        Raises:
            DownloadError: there is no network, or the server does not have the file.
            CheckpointError: as `read_archive` does.
        """
        return read_archive(_coco_archive(str(self.name)) if self.weights == "coco" else Path(self.weights))

    def trained_with(self, build: Callable[..., Backbone], given: Mapping[str, Any]) -> dict[str, Any]:
        """Return the overrides of the factory that the weights were trained with, as far as those `given` do not say.

        `build(input_shape, **overrides)` makes a backbone of the model, with the overrides that are given.

        A `.weights.h5` file has been written by a model, and is compared with the one that loads it: there is nothing
        to return. An archive does not name its activation: see `activation.find_functions`. What is found in "coco" is
        kept.

        Raises:
            DownloadError, CheckpointError: as `archive` and `find_functions` do.
        """
        if self.weights == "coco":
            return {"background": True} | self._coco_functions(build, given)
        if self._is_our_file():
            return {}
        made = self.archive.overrides(has_mbconv=variant(self.name).graph.has_mbconv)
        made = {key: made[key] for key in made if key not in given}
        return made | find_functions(self.archive, self.name, partial(build, **made), made | dict(given))

    def load(self, model: Network) -> None:
        """Give the weights to a model that was built as `trained_with` says: an archive does not tell when it is not.

        Raises:
            DownloadError, CheckpointError: as `archive` does, or it holds another architecture.
        """
        if self.weights == "coco":
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
        """Return the functions of published weights, found once and kept in a file."""
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
    """Read the one checkpoint in a `.tar.gz` file, whose members may not leave its folder.

    Raises:
        CheckpointError: as `read_checkpoint` does, or the file is no archive, or is unsafe.
    """
    with tempfile.TemporaryDirectory(prefix="spinenet_tf-") as folder:
        try:
            with tarfile.open(archive) as tar:
                tar.extractall(folder, filter="data")
        except (tarfile.TarError, EOFError, OSError) as error:
            raise CheckpointError(f"{archive} is not a safe and whole tar archive: {error}") from error
        found = sorted(Path(folder).rglob("*.index"))
        if len(found) != 1:
            raise CheckpointError(f"{archive} should hold one checkpoint. Received: {len(found)}")
        return replace(read_checkpoint(found[0]), source=str(archive))


def cache_folder() -> Path:
    """Return where converted weights are kept: `spinenet_tf` in Keras's home."""
    return Path(os.environ.get("KERAS_HOME", "~/.keras")).expanduser() / "spinenet_tf"


def _load_kept(model: Network, stem: str) -> bool:
    """Load converted weights that are whole and were converted for the model's functions; return whether there are."""
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
    except (OSError, ValueError):  # not there, or damaged
        return None


def _keep(model: Network, stem: str) -> None:
    """Write the converted weights under the hash of their content, so that a damaged file is never taken for them."""
    with staged(cache_folder() / f"{stem}{SUFFIX}") as part:
        model.save_weights(part, include_optimizer=False)
        part.rename(part.with_name(f"{stem}-{_digest(part)}{SUFFIX}"))


def _download(path: str, target: Path) -> None:
    url = f"{HOME}/{path}"
    target.parent.mkdir(parents=True, exist_ok=True)  # stays, also after an error, for a download by hand
    with staged(target) as part:
        folder = part.parent
        try:
            keras.utils.get_file(target.name, url, cache_dir=folder.parent, cache_subdir=folder.name)
        except Exception as error:  # get_file raises bare Exception for what its server answers
            raise DownloadError(f"{url} could not be downloaded ({error}). Download it by hand to {target}.") from error


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:32]
