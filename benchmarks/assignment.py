"""Compare target assignment: which anchor predicts which object."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial

from benchmarks.contender import sides
from benchmarks.measuring import alternate
from benchmarks.nets import Net, ground_truth
from benchmarks.results import Row, compare
from benchmarks.training import SLOTS, our_batches, their_batches, their_labeler
from benchmarks.work import Part, Settings

NET = Net("spinenet_49", 640)
GOAL = 2.0
BATCH = 8


def parts(quick: bool) -> list[Part]:
    """Return the parts: one unpadded image, and unless `quick` a batch that is padded on our side."""
    return [Part("assignment/one image", one_image)] + ([] if quick else [Part("assignment/a batch", a_batch)])


def one_image(settings: Settings) -> Iterator[Row]:
    """Compare one image with unpadded boxes."""
    boxes = 20
    with sides(their_turns, our_turns, (boxes,)) as pair:
        times = alternate({side: pair[side].turn(str(boxes)) for side in pair}, settings.effort)
    yield compare(f"assignment/one image, {boxes} boxes", f"@{NET.side}", **times, goal=GOAL)


def a_batch(settings: Settings) -> Iterator[Row]:
    """Compare a batch as in training: ours padded and at once, theirs image by image."""
    with sides(_their_batch, _our_batch) as pair:
        times = alternate({side: pair[side].turn("batch") for side in pair}, settings.effort)
    title = f"assignment/batch of {BATCH}, 20 boxes, padded to {SLOTS} on our side"
    yield compare(title, f"@{NET.side}", **times, goal=GOAL)


def our_turns(counts: Sequence[int]) -> Mapping[str, Callable]:
    """Return turns with our assignment for one image, one turn for each number of boxes."""
    import tensorflow as tf

    run = _our_assignment()
    turns = {}
    for count in counts:
        given = [tf.constant(x) for x in ground_truth(NET, 1, count)]
        turns[str(count)] = partial(_finish, run, *given)
    return turns


def their_turns(counts: Sequence[int]) -> Mapping[str, Callable]:
    """Return turns with Model Garden's assignment for one image, one turn for each number of boxes."""
    import tensorflow as tf

    run = tf.function(their_labeler(NET))
    turns = {}
    for count in counts:
        boxes, classes = (tf.constant(x[0]) for x in ground_truth(NET, 1, count))
        turns[str(count)] = partial(_finish, run, boxes, classes)
    return turns


def _our_batch() -> Mapping[str, Callable]:
    _, targets = next(iter(our_batches(NET, BATCH)))
    return {"batch": partial(_finish, _our_assignment(), targets["boxes"], targets["classes"])}


def _their_batch() -> Mapping[str, Callable]:
    import tensorflow as tf

    label = their_labeler(NET)
    _, boxes, classes = next(iter(their_batches(NET, BATCH)))
    run = tf.function(lambda boxes, classes: [label(boxes[index], classes[index]) for index in range(BATCH)])
    return {"batch": partial(_finish, run, boxes, classes)}


def _our_assignment() -> Callable:
    import tensorflow as tf

    from spinenet_tf.ops.anchors import AnchorSpec, anchors, concatenate
    from spinenet_tf.ops.assignment import assign

    @tf.function(autograph=False)
    def run(boxes, classes):
        return assign(concatenate(anchors(NET.side, NET.side, AnchorSpec())), boxes, classes)

    return run


def _finish(run: Callable, *given) -> None:
    """Call the function and wait for its outputs."""
    import tensorflow as tf

    tf.nest.map_structure(lambda x: x.numpy(), run(*given))
