"""Compare end to end: from JPEG bytes to boxes, with a SavedModel of each side."""

from __future__ import annotations

import io
import tempfile
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path

import numpy as np

from benchmarks.contender import HOME, sides
from benchmarks.measuring import alternate
from benchmarks.nets import MOBILE, NETS, Net, build_ours, build_theirs, garden_config, with_weights
from benchmarks.results import Row, compare
from benchmarks.work import Part, Settings

QUICK = (Net("spinenet_mobile_49xs", 256),)


def parts(quick: bool) -> list[Part]:
    """Return one part for each network."""
    nets = QUICK if quick else (NETS[0], MOBILE[2])
    return [Part(f"end to end/{net.title}", partial(photograph, net)) for net in nets]


def photograph(net: Net, settings: Settings) -> Iterator[Row]:
    """Compare the time from JPEG bytes to boxes, with a SavedModel of each side."""
    with sides(partial(_calls, _write_their_server), partial(_calls, _write_our_server), net) as pair:
        times = alternate({side: pair[side].turn("call") for side in pair}, settings.effort)
    yield compare("end to end/JPEG to boxes", net.title, **times)


def _calls(write: Callable[[Net, Path], str], net: Net) -> Mapping[str, Callable]:
    """Export and load a SavedModel with the side's own code, and return a call with a JPEG of 480 x 640 px.

    NMS is each side's default."""
    import tensorflow as tf

    with tempfile.TemporaryDirectory(dir=HOME) as folder:
        name = write(net, Path(folder, "served"))
        model = tf.saved_model.load(str(Path(folder, "served")))
    signature = model.signatures[name]
    key, encoded = next(iter(signature.structured_input_signature[1])), tf.constant([_jpeg()])

    def call():
        outputs = model.signatures and signature(**{key: encoded})  # the model owns the weights, so keep a reference
        return {name: value.numpy() for name, value in outputs.items()}

    return {"call": call}


def _write_our_server(net: Net, path: Path) -> str:
    import spinenet_tf.export

    spinenet_tf.export.saved_model(with_weights(build_ours(net)), path)
    return "serve_bytes"


def _write_their_server(net: Net, path: Path) -> str:
    import tensorflow as tf
    from official.core import config_definitions
    from official.vision.configs import retinanet
    from official.vision.serving.detection import DetectionModule

    model = with_weights(build_theirs(net))
    params = config_definitions.ExperimentConfig(task=retinanet.RetinaNetTask(model=garden_config(net)))
    module = DetectionModule(
        params, batch_size=1, input_image_size=[net.side, net.side], input_type="image_bytes", model=model
    )
    exported = tf.Module()
    exported.weights = list(model.variables)
    signatures = module.get_inference_signatures({"image_bytes": "serving_default"})
    tf.saved_model.save(exported, str(path), signatures=signatures)
    return "serving_default"


def _jpeg() -> bytes:
    """Return a smooth noise image of 480 x 640 px as JPEG."""
    from PIL import Image

    small = np.random.default_rng(0).integers(0, 256, (60, 80, 3), np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(small).resize((640, 480), Image.Resampling.BICUBIC).save(buffer, "JPEG", quality=90)
    return buffer.getvalue()
