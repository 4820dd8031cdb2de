"""Compare startup times: import, building a model, its first call, and the first steps of `fit`."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any

from benchmarks.contender import BUSY, OURS, THEIRS, Contender, Fresh, contest, sides
from benchmarks.measuring import alternate
from benchmarks.nets import MOBILE, Net, build_ours, build_theirs, image, raw_call
from benchmarks.results import Row, compare
from benchmarks.training import our_batches, our_detector, their_batches, their_step
from benchmarks.work import Part, Settings

STEPS = 3
BATCH = 2  # small, because startup is measured and not computation
NETS = (Net("spinenet_49s", 640), Net("spinenet_49", 640), Net("spinenet_96", 640), MOBILE[2])
QUICK = Net("spinenet_mobile_49xs", 256)
FIT_GOAL = 1 / 1.5


def parts(quick: bool) -> list[Part]:
    """Return the parts: the import, and for some networks the others."""
    return [
        Part("startup/import", imports),
        *(Part(f"startup/{net.title}", partial(first_call, net)) for net in ((QUICK,) if quick else NETS)),
        *([] if quick else [Part(f"startup/first steps of fit, {QUICK.title}", partial(first_steps, QUICK))]),
    ]


def imports(settings: Settings) -> Iterator[Row]:
    """Compare `import spinenet_tf` with `import keras` alone, in new processes."""
    turns = {"theirs": partial(_import, "keras"), "ours": partial(_import, "spinenet_tf")}
    yield compare("startup/import", "the package", **alternate(turns, settings.effort), against="import keras")


def _import(package: str) -> float:
    clock = _time_of_children if os.environ.get(BUSY) else time.perf_counter
    start = clock()
    subprocess.run([sys.executable, "-c", f"import {package}"], check=True, capture_output=True)
    return clock() - start


def _time_of_children() -> float:
    times = os.times()
    return times.children_user + times.children_system


def first_call(net: Net, settings: Settings) -> Iterator[Row]:
    """Compare building a detector with initial weights, and the first call of its `tf.function`, with tracing."""
    with sides(partial(_new_net, build_theirs), partial(_new_net, build_ours), net) as pair:
        # The order matters: the call is the first one of the model that was just built.
        turns = {(name, side): pair[side].turn(name) for name in ("build", "call") for side in pair}
        times = alternate(turns, settings.effort.at_least(3))
    for name, title, goal in (("build", "build", 2.0), ("call", "first call of tf.function", None)):
        series = {side: times[name, side] for side in ("theirs", "ours")}
        yield compare(f"startup/{title}", net.title, **series, goal=goal)


def _new_net(build: Callable, net: Net) -> Mapping[str, Callable | Fresh]:
    import tensorflow as tf

    images, built = tf.constant(image(net)), []

    def call(run: Callable) -> None:
        tf.nest.map_structure(lambda x: x.numpy(), run(images))

    def function() -> Callable:
        return tf.function(raw_call(built.pop()), autograph=False)

    return {"build": Fresh(_forget, lambda _: built.append(build(net))), "call": Fresh(function, call)}


def _forget() -> None:
    """Release what Keras keeps of earlier networks."""
    if "tf_keras" in sys.modules:
        sys.modules["tf_keras"].backend.clear_session()
    if "keras" in sys.modules:
        sys.modules["keras"].utils.clear_session()


def first_steps(net: Net, settings: Settings) -> Iterator[Row]:
    """Compare the first steps of our `fit` with those of a hand-written loop and of Model Garden."""
    with contest(
        garden=partial(Contender, _their_loop, net, libraries=THEIRS),
        fit=partial(Contender, _our_fit, net, libraries=OURS),
        loop=partial(Contender, _our_loop, net, libraries=OURS),
    ) as three:
        # Without a warm-up round, because users see the first one.
        turns = {side: contender.turn("steps") for side, contender in three.items()}
        times = alternate(turns, settings.effort.at_least(3), warm_ups=0)
    title = f"startup/time to the step {STEPS} of fit"
    loop = "a hand-written tf.function loop"
    yield compare(title, net.title, times["loop"], times["fit"], goal=FIT_GOAL, against=loop)
    yield compare(title, net.title, times["garden"], times["fit"])


def _our_fit(net: Net) -> Mapping[str, Fresh]:
    def make():
        _forget()
        return our_detector(net), our_batches(net, BATCH)

    return {"steps": Fresh(make, lambda made: made[0].fit(made[1], steps_per_epoch=STEPS, verbose=0))}


def _our_loop(net: Net) -> Mapping[str, Fresh]:
    def make():
        _forget()
        return our_detector(net), iter(our_batches(net, BATCH))

    return {"steps": Fresh(make, lambda made: _loop(*made))}


def _loop(model: Any, stream: Iterator) -> None:
    """Train with a hand-written loop: a tape, the model's own loss, the optimizer."""
    import tensorflow as tf

    @tf.function(autograph=False)
    def step(images, targets):
        with tf.GradientTape() as tape:
            loss = model.compute_loss(images, targets, model(images, training=True))
        variables = [variable.value for variable in model.trainable_variables]
        model.optimizer.apply(tape.gradient(loss, variables), model.trainable_variables)
        return loss

    for _ in range(STEPS):
        float(step(*next(stream)))


def _their_loop(net: Net) -> Mapping[str, Fresh]:
    def make():
        _forget()
        return their_step(net, BATCH, build_theirs(net)), iter(their_batches(net, BATCH))

    return {"steps": Fresh(make, lambda made: [float(made[0](made[1])) for _ in range(STEPS)])}
