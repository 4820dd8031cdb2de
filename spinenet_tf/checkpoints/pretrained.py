"""COCO weights in one line: the archives that TF Model Garden publishes, converted on the user's machine, and kept."""

from __future__ import annotations

import hashlib
import os
import tarfile
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras

from spinenet_tf.backbones import Backbone
from spinenet_tf.checkpoints.checkpoint import CheckpointError
from spinenet_tf.checkpoints.loading import load_checkpoint
from spinenet_tf.checkpoints.names import Network
from spinenet_tf.classification import Classifier
from spinenet_tf.retinanet import RetinaNet
from spinenet_tf.specs import ArchitectureSpec
from spinenet_tf.weights import SUFFIX
from spinenet_tf.writing import staged

HOME = "https://storage.googleapis.com/tf_model_garden/vision"
COCO_COUNT = 91  # classes: COCO's ids run to 90, and 0 is the background


@dataclass(frozen=True)
class Archive:
    """A published archive: where it is, and the COCO AP that is reported for it."""

    path: str
    ap: float
    # Their AP is that of the long recipe, which trains with swish (paper, appendix); the archives say nothing of it.
    activation: str = "swish"


# RetinaNets of Model Garden's TF2 code; no other SpineNet is published for it.
ARCHIVES = {
    "spinenet_49": Archive("spinenet/spinenet-49-i640.tar.gz", 44.2),
    "spinenet_96": Archive("spinenet/spinenet-96-i1024.tar.gz", 48.5),
    "spinenet_143": Archive("spinenet/spinenet-143-i1280.tar.gz", 50.0),
    "spinenet_mobile_49": Archive("retinanet/spinenet49mobile.tar.gz", 28.1),
}


class DownloadError(RuntimeError):
    """Weights that could not be fetched; the message says what to download by hand, and where to put it."""


def published_overrides(weights: str | os.PathLike, name: object) -> dict[str, Any]:
    """Return the overrides of the factory with which `weights` were trained: those of "coco" differ from its own.

    Raises:
        ValueError: no COCO weights of `name` are published.
        FileNotFoundError: `weights` are neither "coco" nor a file.
    """
    if weights == "coco":
        if not isinstance(name, str) or name not in ARCHIVES:
            given = f"a spec, {name.name!r}" if isinstance(name, ArchitectureSpec) else f"{name=}"
            raise ValueError(f"COCO weights are published for {', '.join(ARCHIVES)}. Received: {given}")
        return {"activation": ARCHIVES[name].activation}
    if not Path(weights).is_file():
        raise FileNotFoundError(f'There are no weights {weights}: it is neither a file nor "coco".')
    return {}


def load_pretrained(model: Network, weights: str | os.PathLike, name: str) -> None:
    """Give a model the weights "coco", or those of a local file: `.weights.h5`, or an archive of Model Garden.

    "coco" is downloaded once, converted, and kept beside Keras's other downloads; from then on no network is needed.

    Raises:
        ValueError: COCO weights do not fit the model's head.
        DownloadError: there is no network, or the server does not have the file.
        CheckpointError: the archive holds another architecture or no checkpoint.
    """
    path = Path(weights)
    if weights == "coco":
        _load_coco(model, name)
    elif path.name.endswith(SUFFIX):
        model.load_weights(path)
    else:
        load_archive(model, path)


def load_archive(model: Network, archive: Path) -> None:
    """Give a model the weights of the one checkpoint in a `.tar.gz` file, whose members may not leave its folder.

    Raises:
        CheckpointError: as `load_checkpoint` does, or the file is no archive, or is unsafe.
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
        load_checkpoint(model, found[0])


def cache_folder() -> Path:
    """Return where converted weights are kept: `spinenet_tf` in Keras's home."""
    return Path(os.environ.get("KERAS_HOME", "~/.keras")).expanduser() / "spinenet_tf"


def _load_coco(model: Network, name: str) -> None:
    if isinstance(model, Classifier):
        raise ValueError("COCO weights are of a detector, not of a classifier; a backbone can have them.")
    if isinstance(model, RetinaNet) and model.num_classes != COCO_COUNT:
        raise ValueError(f"COCO weights have {COCO_COUNT} classes, 0 is the background. Received: {model.num_classes}")
    kind = "backbone" if isinstance(model, Backbone) else "detector"
    archive = cache_folder() / Path(ARCHIVES[name].path).name
    for kept in sorted(cache_folder().glob(f"{name}-{kind}-*{SUFFIX}")):
        if kept.name == f"{name}-{kind}-{_digest(kept)}{SUFFIX}":
            model.load_weights(kept)
            return
    if not archive.is_file():
        _download(ARCHIVES[name].path, archive)
    load_archive(model, archive)
    _keep(model, f"{name}-{kind}")


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
