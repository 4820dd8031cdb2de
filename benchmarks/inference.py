"""Compare inference from a normalized image to features: `tf.function`, SavedModel and TFLite, on the same weights."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import exports
from benchmarks.contender import LITERT, Contender, contest, sides
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
SIDES = ("theirs", "ours")
THREADS = sorted({1, os.cpu_count() or 1})
QUICK = (Net("spinenet_mobile_49xs", 256, backbone=True), Net("spinenet_mobile_49xs_lite", 256, backbone=True))


def parts(quick: bool) -> list[Part]:
    """Return one part for each backbone."""
    nets = QUICK if quick else [Net(net.name, net.side, backbone=True) for net in (*NETS, *MOBILE, *LITE)]
    return [Part(f"inference/{net.title}", partial(artifacts, net)) for net in nets]


def artifacts(net: Net, settings: Settings) -> Iterator[Row]:
    """Compare all formats of a network, from one normalized image to raw outputs."""
    lite = net != net.counterpart  # only TFLite matters; the rest equals the other mobile networks
    folders = exports.export(net, (exports.FLOAT, exports.INTEGER) if lite else exports.ALL)
    work = multiply_adds(net)
    if not lite:
        yield from _tensorflow(net, folders, work, settings)
    yield from _tflite(net, folders, work, settings)


def _tensorflow(net: Net, folders: Mapping[str, Path], work: int, settings: Settings) -> Iterator[Row]:
    for format, prepare, goal in (("tf.function", _function, None), ("SavedModel", _saved_model, 1.15)):
        theirs, ours = partial(prepare, folders["theirs"], build_theirs), partial(prepare, folders["ours"], build_ours)
        with sides(theirs, ours, net) as pair:
            check_same(pair["theirs"].value("call"), pair["ours"].value("call"))
            times = alternate({side: pair[side].turn("call") for side in pair}, settings.effort)
            limit = settings.limit("float32", work, times)
            yield compare(f"inference/{format}", net.title, **times, goal=goal, limit=limit)
            yield from _memory(format, net, pair)


def _function(folder: Path, build: Callable, net: Net) -> Mapping[str, Callable]:
    import tensorflow as tf

    run, images = tf.function(raw_call(with_weights(build(net))), autograph=False), tf.constant(image(net))
    return {"call": lambda: {name: value.numpy() for name, value in run(images).items()}}


def _saved_model(folder: Path, build: Callable, net: Net) -> Mapping[str, Callable]:
    return {"call": exports.load_saved_model(folder, image(net))}


def check_same(theirs: Mapping[str, np.ndarray], ours: Mapping[str, np.ndarray]) -> None:
    """Check that both networks return the same outputs.

    Raises:
        ValueError: their outputs differ by more than 1e-3 of the largest.
    """
    for name, expected in theirs.items():
        difference = np.abs(ours[name] - expected).max() / np.abs(expected).max()
        if not difference < 1e-3:
            raise ValueError(f"The two networks differ in {name}. Received: difference={difference:.2g}")


def _tflite(net: Net, folders: Mapping[str, Path], work: int, settings: Settings) -> Iterator[Row]:
    for format, dtype, file in (("fp32", "float32", exports.FLOAT), ("int8", "int8", exports.INTEGER)):
        starts = {
            side: partial(Contender, _interpreters, net, folders[side] / file, libraries=LITERT) for side in SIDES
        }
        with contest(**starts) as pair:
            for threads in THREADS:
                times = alternate({side: pair[side].turn(str(threads)) for side in pair}, settings.effort)
                title, goal = f"inference/TFLite {format}, {_count(threads)}", _tflite_goal(net, format, threads)
                yield compare(title, net.title, **times, goal=goal, limit=settings.limit(dtype, work, times, threads))
                if threads == 1:
                    yield from _memory(f"TFLite {format}", net, pair)
            if format == "fp32" and net.name == "spinenet_49":
                yield from _against_matmul(net, pair["ours"], work, settings)
            yield from _partitions(format, net, pair)


def _count(threads: int) -> str:
    return "1 thread" if threads == 1 else f"{threads} threads"


def _interpreters(net: Net, path: Path) -> Mapping[str, Callable]:
    """Return a turn for each number of threads, and a turn that counts the delegate's partitions."""
    turns: dict[str, Any] = {str(n): _lazily(partial(exports.load_tflite, path, image(net), n)) for n in THREADS}
    return turns | {"partitions": partial(_count_partitions, path)}


def _lazily(load: Callable[[], Callable]) -> Callable:
    """Return a function that loads at its first call, so that memory is measured with a single interpreter."""
    loaded: list[Callable] = []

    def call():
        if not loaded:
            loaded.append(load())
        loaded[0]()

    return call


def _count_partitions(path: Path) -> int:
    from spinenet_tf.inference.inspection import inspect

    return inspect(path).xnnpack_partitions


def _tflite_goal(net: Net, format: str, threads: int) -> float | None:
    if format == "fp32":
        return None if net != net.counterpart else 1.05
    if net != net.counterpart:
        return 1.6
    if net.is_mobile:
        return 1.2
    return 2.4 if threads > 1 and net.name != "spinenet_96" else None


def _memory(format: str, net: Net, pair: Mapping[str, Contender]) -> Iterator[Row]:
    found = {side: contender.memory() for side, contender in pair.items()}
    if None not in found.values():
        series = {side: [float(value or 0)] for side, value in found.items()}
        yield compare(f"inference/{format}, peak memory", net.title, **series, unit="MB")


def _partitions(format: str, net: Net, pair: Mapping[str, Contender]) -> Iterator[Row]:
    found = {side: [float(contender.value("partitions"))] for side, contender in pair.items()}
    yield compare(f"inference/TFLite {format}, delegate partitions", net.title, **found, unit="parts")


def _against_matmul(net: Net, ours: Contender, work: int, settings: Settings) -> Iterator[Row]:
    """Compare our fp32 file with a matrix product of as many multiply-adds, alternating."""
    threads = THREADS[-1]
    with contest(theirs=partial(Contender, matmuls, threads, libraries=("tensorflow",))) as other:
        turns = {"theirs": other["theirs"].turn("float32"), "ours": ours.turn(str(threads))}
        times = alternate(turns, settings.effort)
    expected = [seconds * work / SIZE**3 for seconds in times["theirs"]]
    title = f"inference/TFLite fp32, {threads} threads, as a fraction of matmul"
    yield compare(title, net.title, expected, times["ours"], goal=PEAK_GOAL, against="matmul of as many multiply-adds")
