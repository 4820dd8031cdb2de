"""What a checkpoint does not say: the activation and the gate that it was trained with. Its BN statistics tell."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import combinations
from typing import Any

import keras
import numpy as np

from spinenet_tf._fast.normalization import BatchNorm
from spinenet_tf.checkpoints.checkpoint import Checkpoint, CheckpointError
from spinenet_tf.checkpoints.names import Network
from spinenet_tf.checkpoints.photograph import crops
from spinenet_tf.nets.backbone import Backbone
from spinenet_tf.nets.family import Net, variant
from spinenet_tf.nets.style import SE_GATES, Style

# What code bases trained with: standard nets, and mobile ones.
ACTIVATIONS = (("relu", "swish"), ("swish", "hard_swish"))
# The BNs that tell: a mobile block's last 1x1 conv has both functions before it, and its mean knows no padding.
TELLING = ("_bn", "_project_bn")
# The figures of nets that were trained for these two limits are in docs/model-garden.md.
LIMIT = 0.4  # of the way from one candidate to another: what lies farther is nearer to neither
FIT = 0.15  # deviations from a BN's mean to the stored one, the median over the BNs: what is farther off does not fit
CROPS, SIDE = 8, 256  # how many of the photograph, and px
_COUNTED = 512  # pixels of all crops in a map: smaller maps have no good mean, and much padding
_FLOOR = 1e-3  # of variances: channels that died in training differ by nothing
_SAME = 1e-6  # of squared deviations: rounding, where the candidates compute the same
_STILL = {"norm_momentum": 1.0, "sync_bn": False, "stochastic_depth": 0.0}  # what is stored stays, nothing is drawn

Functions = dict[str, str]  # "activation" and, of a net with squeeze-and-excitation, "se_gate"
Shifts = dict[str, np.ndarray]  # by BN layer


def find_functions(
    source: Checkpoint,
    name: Net,
    build: Callable[..., Backbone],
    given: Mapping[str, Any],
    ignore: Iterable[str] = (),
) -> Functions:
    """Return the activation and the gate that the weights of a model `name` were trained with.

    Each BN stores the mean that its input had in training. Crops of a photograph go through the net with each
    candidate, and the one is taken whose means are clearly nearer to the stored ones. What is `given` is taken as it
    is. `build(input_shape, **functions)` makes the model's backbone; `ignore` is that of `load`.

    Raises:
        CheckpointError: as `Checkpoint.load` does, or two candidates fit about as well, or none fits.
    """
    candidates = list(candidates_of(name, given))
    if len(candidates) == 1:
        return candidates[0]
    images, ignore = crops(CROPS, SIDE), tuple(ignore)
    shifts = []
    for functions in candidates:
        net = build(images.shape[1:], **functions | _STILL)
        source.load(net, ignore=ignore)
        shifts.append(shifts_by_norm(net, images))
    ending, found = TELLING[variant(name).graph.has_mbconv], Functions()
    for function in candidates[0]:  # the activation first: the gate can only be told with the right one
        choices = {c[function]: s for c, s in zip(candidates, shifts, strict=True) if c | found == c}
        found[function] = _fitting(source.source, function, choices, ending)
    return found


def candidates_of(name: Net, given: Mapping[str, Any]) -> Iterator[Functions]:
    """Yield the functions that a model may have been trained with; one, where `given` says all of them."""
    row = variant(name)
    style = Style.of(row.style)
    activations = dict.fromkeys((style.activation, *ACTIVATIONS[row.graph.has_mbconv]))
    gates = SE_GATES if row.graph.has_mbconv and given.get("se_ratio", style.se_ratio) else ()
    for activation in [given["activation"]] if "activation" in given else activations:
        for gate in [given["se_gate"]] if gates and "se_gate" in given else gates:
            yield {"activation": activation, "se_gate": gate}
        if not gates:
            yield {"activation": activation}


def functions_of(model: Network) -> Functions:
    """Return the functions that a model computes with."""
    net = model if isinstance(model, Backbone) else model.backbone
    has_gate = net.spec.has_mbconv and net.style.se_ratio
    return {"activation": net.style.activation} | ({"se_gate": net.style.se_gate} if has_gate else {})


def shifts_by_norm(net: Backbone, images: np.ndarray) -> Shifts:
    """Return by BN layer how far the mean of its input is from the stored one, `[channel]`, in stored deviations.

    The net computes as in training, each BN with the statistics of these `images` `[B, H, W, 3]`: else the difference
    between them and the training data would grow from BN to BN. Variances depend on the images far more than means do,
    and are not compared; small maps are left out.
    """
    norms = [layer for layer in net.layers if isinstance(layer, BatchNorm)]
    inputs = keras.Model(net.input, [norm.input for norm in norms])(images, training=True)
    pairs = zip(norms, inputs, strict=True)
    return {norm.name: _shift(norm, x) for norm, x in pairs if np.prod(x.shape[:3]) >= _COUNTED}


def _shift(norm: BatchNorm, x: Any) -> np.ndarray:
    mean = keras.ops.convert_to_numpy(x).mean((0, 1, 2), dtype=np.float64)
    stored, variance = (keras.ops.convert_to_numpy(value) for value in (norm.moving_mean, norm.moving_variance))
    return (mean - stored) / np.sqrt(variance + _FLOOR)


def place_between(first: Shifts, second: Shifts, ending: str) -> float:
    """Return where the stored means lie on the way from one candidate (0) to another (1): the median over the BNs.

    For each BN that is the projection of the stored means onto the line through both candidates' means. What other
    images change lies mostly across that line.
    """
    places = []
    for name in first:
        way = first[name] - second[name]
        if name.endswith(ending) and np.mean(way**2) > _SAME:
            places.append(first[name] @ way / (way @ way))
    return float(np.median(places)) if places else 0.5


def _fitting(source: str, function: str, choices: Mapping[str, Shifts], ending: str) -> str:
    """Return the choice that fits what is stored, and is clearly nearer to it than every other one."""
    places = {(a, b): place_between(choices[a], choices[b], ending) for a, b in combinations(choices, 2)}
    nearer = {pair: pair[place > 0.5] for pair, place in places.items() if abs(place - 0.5) > 0.5 - LIMIT}
    for choice, shifts in choices.items():
        if all(nearer.get(pair) == choice for pair in places if choice in pair) and _distance(shifts) < FIT:
            return choice
    ways = [f"{place:.2f} of the way from {a} to {b}" for (a, b), place in places.items()]
    distances = [f"{choice} is {_distance(shifts):.2f} deviations off" for choice, shifts in choices.items()]
    raise CheckpointError(
        f"The BN statistics of {source} do not tell whether it was trained with "
        f"{' or '.join(f'{function}={choice}' for choice in choices)}: give one of them. "
        f"Received: {', '.join(ways + distances)}"
    )


def _distance(shifts: Shifts) -> float:
    return float(np.median([np.sqrt(np.mean(shift**2)) for shift in shifts.values()]))
