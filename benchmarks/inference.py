"""Inference: TensorFlow, SavedModel and TFLite on the same weights, and from an encoded JPEG to boxes."""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import exports
from benchmarks.contender import LITERT, OURS, THEIRS, Contender, contest
from benchmarks.measuring import alternate
from benchmarks.nets import (
    LITE,
    MOBILE,
    NETS,
    Net,
    build_ours,
    build_theirs,
    image,
    multiply_adds,
    raw_call,
    with_weights,
)
from benchmarks.peak import SIZE, matmuls
from benchmarks.results import Row, compare
from benchmarks.work import Part, Settings

PEAK_GOAL = 0.9  # of the matmul rate, SpineNet-49 in fp32
LIBRARIES = {"theirs": THEIRS, "ours": OURS}
QUICK = (Net("spinenet_mobile_49xs", 256, backbone=True), Net("spinenet_mobile_49xs_lite", 256, backbone=True))


def parts(quick: bool) -> list[Part]:
    """Return one part for each network, the backbone alone, and those from JPEG to boxes."""
    nets = [Net(net.name, net.side, backbone=True) for net in (*NETS, *MOBILE, *LITE)]
    photographs = [Net("spinenet_mobile_49xs", 256)] if quick else [MOBILE[2], NETS[0]]
    return [
        *(Part(f"inference/{net.title}", partial(artifacts, net)) for net in (QUICK if quick else nets)),
        *(Part(f"inference/JPEG to boxes, {net.title}", partial(photograph, net)) for net in photographs),
    ]


def artifacts(net: Net, settings: Settings) -> Iterator[Row]:
    """Compare all forms of a network: the same raw outputs from one normalised image."""
    folders = exports.export(net)
    work = multiply_adds([net])[net]
    yield from _tensorflow(net, folders, work, settings)
    yield from _tflite(net, folders, work, settings)


def _tensorflow(net: Net, folders: Mapping[str, Path], work: int, settings: Settings) -> Iterator[Row]:
    lite = net != net.counterpart
    for form, prepare, goal in (("tf.function", _function, None), ("SavedModel", _saved_model, 1.15)):
        if lite and form == "tf.function":
            continue
        starts = {
            side: _start(prepare, net if side == "ours" else net.counterpart, side, folders) for side in LIBRARIES
        }
        with contest(**starts) as sides:
            if not lite:
                _check_same(sides["theirs"].value("call"), sides["ours"].value("call"))
            times = alternate({side: sides[side].turn("call") for side in sides}, settings.effort)
            limit = settings.limit("float32", work, times)
            yield compare(f"inference/{form}", net.title, **times, goal=None if lite else goal, limit=limit)
            yield from _memory(form, net, sides)


def _start(prepare: Callable, net: Net, side: str, folders: Mapping[str, Path]) -> Callable[[], Contender]:
    return lambda: Contender(prepare, net, side, folders[side], libraries=LIBRARIES[side])


def _function(net: Net, side: str, folder: Path) -> Mapping[str, Callable]:
    import tensorflow as tf

    call = raw_call(with_weights(build_ours(net) if side == "ours" else build_theirs(net)))
    run, images = tf.function(call, autograph=False), tf.constant(image(net))
    return {"call": lambda: {name: value.numpy() for name, value in run(images).items()}}


def _saved_model(net: Net, side: str, folder: Path) -> Mapping[str, Callable]:
    return {"call": exports.load_saved_model(folder, image(net))}


def _check_same(theirs: Mapping[str, np.ndarray], ours: Mapping[str, np.ndarray]) -> None:
    """Refuse to compare networks that do not compute the same.

    Raises:
        ValueError: their outputs differ by more than 1e-3 of the largest.
    """
    for name, expected in theirs.items():
        difference = np.abs(ours[name] - expected).max() / np.abs(expected).max()
        if not difference < 1e-3:
            raise ValueError(f"The two networks differ in {name}. Received: difference={difference:.2g}")


def _tflite(net: Net, folders: Mapping[str, Path], work: int, settings: Settings) -> Iterator[Row]:
    counts = sorted({1, os.cpu_count() or 1})
    for form, dtype, file in (("fp32", "float32", exports.FLOAT), ("int8", "int8", exports.INTEGER)):
        starts = {
            side: lambda side=side: Contender(_interpreters, net, folders[side] / file, counts, libraries=LITERT)
            for side in LIBRARIES
        }
        with contest(**starts) as sides:
            for threads in counts:
                times = alternate({side: sides[side].turn(str(threads)) for side in sides}, settings.effort)
                yield compare(
                    f"inference/TFLite {form}, {threads} thread{'s' if threads > 1 else ''}",
                    net.title,
                    **times,
                    goal=_tflite_goal(net, form, threads),
                    limit=settings.limit(dtype, work, times, threads),
                )
            yield from _memory(f"TFLite {form}", net, sides)
            yield from _partitions(form, net, sides)
            if form == "fp32" and net.name == "spinenet_49":
                yield from _against_matmul(net, sides["ours"], work, settings)


def _interpreters(net: Net, path: Path, counts: list[int]) -> Mapping[str, Callable]:
    images = image(net)
    turns: dict[str, Any] = {}
    for threads in counts:
        turns[str(threads)] = _lazily(partial(exports.load_tflite, path, images, threads))
    turns["partitions"] = lambda: _count_partitions(path)
    return turns


def _lazily(load: Callable[[], Callable]) -> Callable:
    """Return a call that loads at first: so that an interpreter's memory is that of one, not of all."""
    loaded: list[Callable] = []

    def call():
        if not loaded:
            loaded.append(load())
        loaded[0]()

    return call


def _count_partitions(path: Path) -> int:
    from spinenet_tf.export.inspection import inspect

    return inspect(path).xnnpack_partitions


def _tflite_goal(net: Net, form: str, threads: int) -> float | None:
    if form == "fp32":
        return None if net != net.counterpart else 1.05
    if net != net.counterpart:
        return 1.6
    if net.is_mobile:
        return 1.2
    return 2.4 if threads > 1 and net.name != "spinenet_96" else None


def _memory(form: str, net: Net, sides: Mapping[str, Contender]) -> Iterator[Row]:
    found = {side: contender.memory() for side, contender in sides.items()}
    if None not in found.values():
        series = {side: [float(value or 0)] for side, value in found.items()}
        yield compare(f"inference/{form}, peak memory", net.title, **series, unit="MB")


def _partitions(form: str, net: Net, sides: Mapping[str, Contender]) -> Iterator[Row]:
    found = {side: [float(contender.value("partitions"))] for side, contender in sides.items()}
    yield compare(f"inference/TFLite {form}, delegate partitions", net.title, **found, unit="parts")


def _against_matmul(net: Net, ours: Contender, work: int, settings: Settings) -> Iterator[Row]:
    """Hold our fp32 against the time that a matrix product takes for as many multiply-adds, by turns."""
    threads = os.cpu_count() or 1
    with contest(theirs=lambda: Contender(matmuls, threads, libraries=("tensorflow",))) as other:
        turns = {"theirs": other["theirs"].turn("float32"), "ours": ours.turn(str(threads))}
        times = alternate(turns, settings.effort)
    expected = [seconds * work / SIZE**3 for seconds in times["theirs"]]
    title = f"inference/TFLite fp32, {threads} threads, as a share of matmul"
    yield compare(title, net.title, expected, times["ours"], goal=PEAK_GOAL, against="matmul of as many multiply-adds")


def photograph(net: Net, settings: Settings) -> Iterator[Row]:
    """Compare the way from the bytes of a JPEG to boxes, by a SavedModel of each side."""
    starts = {
        side: lambda side=side: Contender(_bytes_to_boxes, net, side, libraries=LIBRARIES[side]) for side in LIBRARIES
    }
    with contest(**starts) as sides:
        times = alternate({side: sides[side].turn("call") for side in sides}, settings.effort)
    yield compare("inference/JPEG to boxes", net.title, **times)


def _bytes_to_boxes(net: Net, side: str) -> Mapping[str, Callable]:
    """Export with the side's own means, load, and call with a JPEG of 480 x 640 px; NMS is each side's default."""
    import tempfile

    import tensorflow as tf

    folder = Path(tempfile.mkdtemp(dir=exports.HOME))
    (_write_their_server if side == "theirs" else _write_our_server)(net, folder / "served")
    model = tf.saved_model.load(str(folder / "served"))
    signature = model.signatures["serve_bytes" if side == "ours" else "serving_default"]
    name, encoded = next(iter(signature.structured_input_signature[1])), tf.constant([_jpeg()])

    def call():
        outputs = model.signatures and signature(**{name: encoded})
        return {key: value.numpy() for key, value in outputs.items()}

    return {"call": call}


def _write_our_server(net: Net, path: Path) -> None:
    import spinenet_tf.export

    spinenet_tf.export.saved_model(with_weights(build_ours(net)), path)


def _write_their_server(net: Net, path: Path) -> None:
    import tensorflow as tf
    from official.core import config_definitions
    from official.vision.configs import retinanet
    from official.vision.serving.detection import DetectionModule

    from benchmarks.nets import garden_config

    model = with_weights(build_theirs(net))
    params = config_definitions.ExperimentConfig(task=retinanet.RetinaNetTask(model=garden_config(net)))
    module = DetectionModule(
        params, batch_size=1, input_image_size=[net.side, net.side], input_type="image_bytes", model=model
    )
    exported = tf.Module()
    exported.weights = list(model.variables)
    signatures = module.get_inference_signatures({"image_bytes": "serving_default"})
    tf.saved_model.save(exported, str(path), signatures=signatures)


def _jpeg() -> bytes:
    """Return a smooth noise image of 480 x 640 px as JPEG."""
    from PIL import Image

    small = np.random.default_rng(0).integers(0, 256, (60, 80, 3), np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(small).resize((640, 480), Image.Resampling.BICUBIC).save(buffer, "JPEG", quality=90)
    return buffer.getvalue()
