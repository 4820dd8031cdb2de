"""Infer the activation and the SE gate that a checkpoint was trained with from its BN statistics."""

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

# Activations used by other projects: in standard nets, and in mobile nets.
ACTIVATIONS = (("relu", "swish"), ("swish", "hard_swish"))
# Endings of the BN layers to compare, in standard and in mobile nets. In a mobile block, the input of the last 1x1 conv
# depends on both functions, and its mean does not depend on padding.
ENDINGS = ("_bn", "_project_bn")
# docs/model-garden.md has the measurements behind these two limits.
LIMIT = 0.4  # the fraction of the distance between two candidates up to which the nearer one is clearly nearer
FIT = 0.15  # largest deviation of a BN's mean from the stored one that fits, in standard deviations (median over BNs)
CROPS, SIDE = 8, 256  # number of crops of the photograph, and their side in px
_COUNTED = 512  # least number of pixels in a map, over all crops: smaller maps have noisy means and much padding
_FLOOR = 1e-3  # added to variances, so that dead channels do not count
_SAME = 1e-6  # squared deviation below which two candidates differ only by rounding
_STILL = {"norm_momentum": 1.0, "sync_bn": False, "stochastic_depth": 0.0}  # keeps stored statistics, draws nothing

Functions = dict[str, str]  # "activation" and, of a net with squeeze-and-excitation, "se_gate"
Shifts = dict[str, np.ndarray]  # by BN layer


def find_functions(
    source: Checkpoint,
    name: Net,
    build: Callable[..., Backbone],
    given: Mapping[str, Any],
    ignore: Iterable[str] = (),
) -> Functions:
    """Return the activation and the SE gate that the weights of model `name` were trained with.

    Each BN stores the mean of its input in training. Crops of a photograph are run through the net with each candidate,
    and the candidate whose means are clearly nearest to the stored ones is chosen. Functions in `given` are not
    inferred. `build(input_shape, **functions)` builds the model's backbone; see `Checkpoint.load` for `ignore`.

    Raises:
        CheckpointError: see `Checkpoint.load`; or two candidates fit about equally well, or none fits.
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
    ending, found = ENDINGS[variant(name).graph.has_mbconv], Functions()
    for function in candidates[0]:  # the activation comes first: inferring the gate needs the right one
        choices = {c[function]: s for c, s in zip(candidates, shifts, strict=True) if c | found == c}
        found[function] = _fitting(source.source, function, choices, ending)
    return found


def candidates_of(name: Net, given: Mapping[str, Any]) -> Iterator[Functions]:
    """Yield the functions that a model may have been trained with; only one if `given` sets all of them."""
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
    """Return the functions that a model uses."""
    net = model if isinstance(model, Backbone) else model.backbone
    has_gate = net.spec.has_mbconv and net.style.se_ratio
    return {"activation": net.style.activation} | ({"se_gate": net.style.se_gate} if has_gate else {})


def shifts_by_norm(net: Backbone, images: np.ndarray) -> Shifts:
    """Return the difference of the mean of each BN's input from the stored mean, in stored deviations: `[channel]`.

    The net runs in training mode, where each BN uses the statistics of `images` `[B, H, W, 3]`: otherwise their
    difference from the training data would grow from BN to BN. Variances are not compared, because they depend on the
    images far more than means do. Small maps are left out.
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
    """Return where the stored means are between one candidate (0) and another (1), as the median over the BNs.

    For each BN, the stored means are projected onto the line through the means of both candidates. Using other images
    than in training moves the means mostly perpendicular to that line.
    """
    places = []
    for name in first:
        way = first[name] - second[name]
        if name.endswith(ending) and np.mean(way**2) > _SAME:
            places.append(first[name] @ way / (way @ way))
    return float(np.median(places)) if places else 0.5


def _fitting(source: str, function: str, choices: Mapping[str, Shifts], ending: str) -> str:
    """Return the choice that fits the stored statistics, and is clearly nearer to them than all others."""
    places = {(a, b): place_between(choices[a], choices[b], ending) for a, b in combinations(choices, 2)}
    nearer = {pair: pair[place > 0.5] for pair, place in places.items() if abs(place - 0.5) > 0.5 - LIMIT}
    for choice, shifts in choices.items():
        if all(nearer.get(pair) == choice for pair in places if choice in pair) and _distance(shifts) < FIT:
            return choice
    ways = [f"{place:.2f} of the way from {a} to {b}" for (a, b), place in places.items()]
    distances = [f"{choice} is {_distance(shifts):.2f} deviations off" for choice, shifts in choices.items()]
    raise CheckpointError(
        f"The BN statistics of {source} do not show whether it was trained with "
        f"{' or '.join(f'{function}={choice}' for choice in choices)}: set one of them. "
        f"Received: {', '.join(ways + distances)}"
    )


def _distance(shifts: Shifts) -> float:
    return float(np.median([np.sqrt(np.mean(shift**2)) for shift in shifts.values()]))
