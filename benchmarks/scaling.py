"""Measure how time and memory grow with the work: image side, batch size, boxes per image, classes.

The cost should grow no faster than the work. Each point is a row. The last row of a series compares the growth of our
time, from the first point to the last, with the growth of the work.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import partial

from benchmarks import assignment, postprocessing
from benchmarks.contender import Contender
from benchmarks.contender import sides as contenders
from benchmarks.measuring import alternate, median
from benchmarks.nets import Net, build_ours, build_theirs, raw_call
from benchmarks.results import Row, compare
from benchmarks.work import Part, Settings

NET = Net("spinenet_49s", 256)
SIDES = (256, 512, 896, 1280)
BATCHES = (1, 2, 4, 8, 16)
BOXES = (1, 10, 50, 100, 200, 500)
CLASSES = (1, 10, 80, 300, 1000)


def parts(quick: bool) -> list[Part]:
    """Return the four series, or none if `quick`."""
    series = {"image side": sides, "batch": batches, "boxes": boxes, "classes": classes}
    return [] if quick else [Part(f"scaling/{name}", rows) for name, rows in series.items()]


def sides(settings: Settings) -> Iterator[Row]:
    """Compare inference on one image of several sizes, each in new processes."""
    times, title = {}, "scaling/image side, px"
    for side in SIDES:
        net = replace(NET, side=side)
        with contenders(partial(_inference, build_theirs), partial(_inference, build_ours), net, (1,)) as pair:
            series = alternate({name: pair[name].turn("1") for name in pair}, settings.effort)
            yield replace(compare(f"{title}, time", net.title, **series), x=float(side))
            yield from _memory(f"{title}, peak memory", net.title, pair, side)
            times[side**2] = median(series["ours"])
    yield _growth(title, "spinenet_49s, batch 1", times)


def batches(settings: Settings) -> Iterator[Row]:
    """Compare inference on batches of several sizes in the same processes; peak memory is that of the largest."""
    times, title = {}, "scaling/batch"
    with contenders(partial(_inference, build_theirs), partial(_inference, build_ours), NET, BATCHES) as pair:
        for batch in BATCHES:
            series = alternate({name: pair[name].turn(str(batch)) for name in pair}, settings.effort)
            yield replace(compare(f"{title}, time", f"{NET.title}, {batch}", **series), x=float(batch))
            yield from _memory(f"{title}, peak memory", f"{NET.title}, {batch}", pair, batch)
            times[batch] = median(series["ours"])
    yield _growth(title, NET.title, times)


def boxes(settings: Settings) -> Iterator[Row]:
    """Compare target assignment for several numbers of boxes."""
    times, title = {}, "scaling/boxes of an image, assignment"
    with contenders(assignment.their_turns, assignment.our_turns, BOXES) as pair:
        for count in BOXES:
            series = alternate({name: pair[name].turn(str(count)) for name in pair}, settings.effort)
            yield replace(compare(f"{title}, time", f"{count} boxes @640", **series), x=float(count))
            yield from _memory(f"{title}, peak memory", f"{count} boxes @640", pair, count)
            times[count] = median(series["ours"])
    yield _growth(title, "@640", times)


def classes(settings: Settings) -> Iterator[Row]:
    """Compare decoding and NMS (theirs: batched) for several numbers of classes, each in new processes."""
    times, title = {}, "scaling/classes, post-processing"
    for count in CLASSES:
        theirs = partial(postprocessing.their_turns, names=("batched",))
        with contenders(theirs, postprocessing.our_turns, "trained", count) as pair:
            turns = {"theirs": pair["theirs"].turn("batched"), "ours": pair["ours"].turn("ours")}
            series = alternate(turns, settings.effort)
            yield replace(compare(f"{title}, time", f"{count} classes @640", **series), x=float(count))
            yield from _memory(f"{title}, peak memory", f"{count} classes @640", pair, count)
            times[count] = median(series["ours"])
    yield _growth(title, "@640", times)


def _inference(build: Callable, net: Net, sizes: tuple[int, ...]) -> Mapping[str, Callable]:
    import tensorflow as tf

    run = tf.function(raw_call(build(net)), autograph=False)
    return {str(size): partial(_call, run, net, size) for size in sizes}


def _call(run: Callable, net: Net, batch: int) -> None:
    """Infer a batch of images, which is made here so that only one is in memory."""
    import tensorflow as tf

    tf.nest.map_structure(lambda x: x.numpy(), run(tf.zeros((batch, net.side, net.side, 3))))


def _memory(work: str, title: str, pair: Mapping[str, Contender], x: float) -> Iterator[Row]:
    found = {side: contender.memory() for side, contender in pair.items()}
    if all(found.values()):
        series = {side: [float(value or 0)] for side, value in found.items()}
        yield replace(compare(work, title, **series, unit="MB"), x=float(x))


def _growth(title: str, model: str, times: Mapping[float, float]) -> Row:
    """Return the row that compares the growth of the work ("theirs") with that of our time, over the series."""
    amounts, seconds = list(times), list(times.values())
    growth = {"theirs": [amounts[-1] / amounts[0]], "ours": [seconds[-1] / seconds[0]]}
    return compare(f"{title}, growth", model, **growth, unit="times", goal=1.0, against="the growth of the work")
