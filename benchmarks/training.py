"""Compare the time and memory of a RetinaNet training step: targets, forward and backward pass, losses, update."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any

import numpy as np

from benchmarks.contender import OURS, THEIRS, Contender, contest
from benchmarks.measuring import alternate, median
from benchmarks.nets import L2, Net, build_ours, build_theirs, garden_config, ground_truth, image, with_weights
from benchmarks.results import GARDEN, Row, compare
from benchmarks.work import Part, Settings

SLOTS = 100  # box slots per image in our batches, mostly padding, as in our input pipeline
RATE = 1e-4
STEP_GOAL = 1.0  # training on a CPU only has to be as fast as Model Garden's
MEMORY_GOAL = 1 / 0.95
RECIPE = f"{GARDEN}'s recipe: synchronized BN"
FLOAT, HALF = "float32", "mixed_bfloat16"
CASES = (  # network, batch size, whether also in bfloat16
    (Net("spinenet_49s", 256), 4, False),
    (Net("spinenet_49s", 256), 16, False),
    (Net("spinenet_49", 256), 4, True),
    (Net("spinenet_96", 256), 4, True),
    (Net("spinenet_mobile_49xs", 256), 8, True),
    (Net("spinenet_mobile_49", 384), 4, False),
)
QUICK = ((Net("spinenet_mobile_49xs", 128), 4, False),)


def parts(quick: bool) -> list[Part]:
    """Return one part for each network and batch."""
    return [
        Part(f"training/{net.title}, batch {batch}", partial(steps, net, batch, half))
        for net, batch, half in (QUICK if quick else CASES)
    ]


def steps(net: Net, batch: int, half: bool, settings: Settings) -> Iterator[Row]:
    """Compare steps on the same batch, and with `half` also both sides in bfloat16, alternating."""
    starts = {
        "theirs": partial(Contender, their_turns, net, batch, FLOAT, libraries=THEIRS),
        "recipe": partial(Contender, their_turns, net, batch, FLOAT, True, libraries=THEIRS),
        "ours": partial(Contender, our_turns, net, batch, FLOAT, libraries=OURS),
    }
    if half:
        starts["theirs, bf16"] = partial(Contender, their_turns, net, batch, HALF, libraries=THEIRS)
        starts["ours, bf16"] = partial(Contender, our_turns, net, batch, HALF, libraries=OURS)
    with contest(**starts) as contenders:
        turns = {name: contender.turn("step") for name, contender in contenders.items()}
        times = alternate(turns, settings.effort)
        memories = {name: [float(contender.memory() or 0)] for name, contender in contenders.items()}
    goals = (STEP_GOAL, MEMORY_GOAL)
    yield from _rows(net, f"fp32, batch {batch}", _pair(times), _pair(memories), goals)
    yield from _rows(net, f"fp32, batch {batch}", _pair(times, "recipe"), _pair(memories, "recipe"), goals, RECIPE)
    if half:
        pair = ("theirs, bf16", "ours, bf16")
        yield from _rows(net, f"bf16, batch {batch}", _pair(times, *pair), _pair(memories, *pair))
        title = f"training/step in bf16 and in fp32, batch {batch}"
        yield compare(title, net.title, **_pair(times, "ours", "ours, bf16"), goal=1.4, against="ours in fp32")


def _pair(figures: Mapping[str, list[float]], theirs: str = "theirs", ours: str = "ours") -> dict[str, list[float]]:
    return {"theirs": figures[theirs], "ours": figures[ours]}


def _rows(
    net: Net,
    title: str,
    times: Mapping[str, list[float]],
    memories: Mapping[str, list[float]],
    goals: tuple[float | None, float | None] = (None, None),
    against: str = GARDEN,
) -> Iterator[Row]:
    """Return the rows of two contenders: time, and memory if it is known."""
    yield compare(f"training/step, {title}", net.title, **times, goal=goals[0], against=against)
    if all(median(values) for values in memories.values()):
        title = f"training/peak memory, {title}"
        yield compare(title, net.title, **memories, unit="MB", goal=goals[1], against=against)


def our_turns(net: Net, batch: int, precision: str) -> Mapping[str, Callable]:
    """Return a turn with the training step of `fit`, always on the same batch, in a process like that of `train`."""
    from spinenet_tf._fast.pools import share_one_pool

    share_one_pool()
    return {"step": fit_step(with_weights(our_detector(net, precision)), our_batches(net, batch))}


def fit_step(model: Any, batches: Any) -> Callable:
    """Return the training step of `fit` of a compiled model."""
    model.make_train_function()
    stream = iter(batches)
    return lambda: float(model.train_function(stream)["loss"])


def our_detector(net: Net, precision: str = FLOAT) -> Any:
    """Return our detector, compiled as in the published recipe."""
    return our_compiled(build_ours(net, precision, L2))


def our_compiled(model: Any) -> Any:
    """Compile a detector with the optimizer of the published recipe, and return it."""
    from spinenet_tf.training.optimizers import SGD

    model.compile(SGD(RATE, momentum=0.9, global_clipnorm=10.0))
    model.optimizer.build(model.trainable_variables)
    return model


def our_batches(net: Net, batch: int) -> Any:
    """Return an endless `tf.data` stream of one batch, with padded boxes."""
    import tensorflow as tf

    boxes, classes = ground_truth(net, batch)
    padding = ((0, 0), (0, SLOTS - boxes.shape[1]))
    targets = {
        "boxes": np.pad(boxes, (*padding, (0, 0))),
        "classes": np.pad(classes, padding, constant_values=-1).astype("int32"),
    }
    return tf.data.Dataset.from_tensors((image(net, batch), targets)).cache().repeat()


def their_turns(net: Net, batch: int, precision: str, sync_bn: bool = False) -> Mapping[str, Callable]:
    """Return a turn with the step of Model Garden's trainer, and the target assignment of its input pipeline."""
    model = with_weights(build_theirs(net, precision, L2, sync_bn=sync_bn))
    step, stream = their_step(net, batch, model), iter(their_batches(net, batch))
    return {"step": lambda: float(step(stream))}


def their_batches(net: Net, batch: int) -> Any:
    """Return an endless `tf.data` stream of one batch, with unpadded boxes."""
    import tensorflow as tf

    return tf.data.Dataset.from_tensors((image(net, batch), *ground_truth(net, batch))).cache().repeat()


def their_step(net: Net, batch: int, model: Any) -> Callable:
    """Return a `tf.function` from an iterator to the loss, with Model Garden's task, optimizer and labeler."""
    import tensorflow as tf
    from official.vision.configs import retinanet
    from official.vision.tasks.retinanet import RetinaNetTask

    task = RetinaNetTask(retinanet.RetinaNetTask(model=garden_config(net)))
    optimizer, metrics, label = their_optimizer(), task.build_metrics(training=True), their_labeler(net)

    @tf.function
    def step(stream):
        images, boxes, classes = next(stream)
        labels = [label(boxes[index], classes[index]) for index in range(batch)]
        stacked = tf.nest.map_structure(lambda *values: tf.stack(values), *labels)
        return task.train_step((images, stacked), model, optimizer, metrics)["total_loss"]

    return step


def their_optimizer() -> Any:
    """Return Model Garden's SGD with the values of `our_compiled`."""
    from official.modeling import optimization

    options = {
        "optimizer": {"type": "sgd", "sgd": optimization.SGDConfig(momentum=0.9, global_clipnorm=10.0).as_dict()},
        "learning_rate": {"type": "constant", "constant": {"learning_rate": RATE}},
    }
    return optimization.OptimizerFactory(optimization.OptimizationConfig(options)).build_optimizer(RATE)


def their_labeler(net: Net) -> Callable:
    """Return Model Garden's target assignment for one image, from boxes `[N, 4]` and classes `[N]` to labels."""
    import tensorflow as tf
    from official.vision.ops import anchor

    from spinenet_tf.heads.table import find_head, options_of

    head = options_of(net.name, find_head("retinanet"))
    generator = anchor.build_anchor_generator(3, 7, 3, [0.5, 1.0, 2.0], head.anchor_size)
    all_anchors, labeler = generator((net.side, net.side)), anchor.AnchorLabeler(0.5, 0.5)

    def label(boxes, classes):
        classes = tf.cast(classes, tf.int32)[:, None]
        found = labeler.label_anchors(all_anchors, boxes, classes)
        return {"cls_targets": found[0], "box_targets": found[1], "cls_weights": found[3], "box_weights": found[4]}

    return label
