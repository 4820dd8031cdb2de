"""Find the layers that lose accuracy in int8: the error of each layer, and the gain at the outputs of float parts.

A layer's own error does not predict its effect on the outputs, since BN, sums and ReLUs follow. And the inputs and
outputs of a single float layer between integer layers are still rounded. So both are measured: the error of every layer
in one pass, to find bad ranges, and the gain of each part in float, with one conversion per part.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import keras
import numpy as np

from spinenet_tf._files import native_output
from spinenet_tf._files.progress import Track, untracked
from spinenet_tf.export.litert.calibration import check_quantizable, to_integers
from spinenet_tf.export.litert.conversion import calibrate_named
from spinenet_tf.export.litert.provenance import Provenance
from spinenet_tf.export.litert.rounding import LayerError, layer_errors
from spinenet_tf.export.litert.targets import find_target
from spinenet_tf.export.signatures import raw_function
from spinenet_tf.inference.keras_model import detects, exported_form
from spinenet_tf.inference.naming import DEFAULT, INPUT, flatten, nest

STRONGEST = 100  # best-scored positions per image at which a detector's outputs are compared: the likely detections


@dataclass(frozen=True)
class PartGain:
    """The errors and the latency when some layers stay in float."""

    pattern: str  # for `keep_float`
    operations: int  # number of operations in float
    errors: dict[str, float]  # of each output: see `Sensitivity`
    gain: float  # relative reduction of the errors, mean over the outputs
    milliseconds: float  # minimum per image on one thread


@dataclass(frozen=True)
class Sensitivity:
    """The layers sorted by noise, and the parts of the net sorted by gain, largest first.

    Errors are root mean squares of the difference to Keras. For a detector, they are those of "scores", in 0..1, and of
    the head's other outputs in units of the raw output ("box_deltas": 0.01 of `ty` and `tx` is a hundredth of an
    anchor's side), at the `STRONGEST` positions of each image. For other models, they are relative to the root mean
    square of the output.
    """

    errors: dict[str, float]  # of each output, with only the layers `kept` in float
    milliseconds: float
    kept: list[str]  # the layers of `keep_float`
    layers: list[LayerError]
    parts: list[PartGain]

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return asdict(self)


def find_sensitive(
    model: keras.Model,
    calibration: Iterable[np.ndarray],
    images: np.ndarray,
    keep_float: Sequence[str] = (),
    target: str = "cpu",
    track: Track = untracked,
) -> Sensitivity:
    """Quantize a model to int8 as `litert.tflite` does, and measure the errors on `images` `[B, H, W, 3]`.

    `calibration`, `keep_float` and `target` are those of `tflite`. The images are normalized; use other images than in
    `calibration`.

    Raises:
        ValueError: as `tflite` does.
    """
    net = _Quantizable(model, calibration, images, target)
    kept = net.provenance.find(keep_float)
    _, errors, milliseconds = net.measure(kept)
    parts, patterns = [], net.patterns(kept)
    for pattern in track(patterns, len(patterns), "Keeping parts in float"):
        count, left, latency = net.measure([*kept, *net.provenance.find([pattern])])
        gain = float(np.mean([1 - left[name] / (errors[name] or 1.0) for name in errors]))
        parts.append(PartGain(pattern, count, left, gain, latency))
    layers = layer_errors(net.convert(kept, debug=True), net.provenance, images)
    by_noise, by_gain = sorted(layers, key=lambda x: -x.noise), sorted(parts, key=lambda x: -x.gain)
    return Sensitivity(errors, milliseconds, kept, by_noise, by_gain)


class _Quantizable:
    """A model that is calibrated once and converted many times."""

    def __init__(self, model: keras.Model, calibration: Iterable[np.ndarray], images: np.ndarray, target: str):
        check_quantizable(model)
        model, _ = exported_form(model)
        self.provenance, self._model, self._images = Provenance(model), model, images
        chosen = find_target(target, None, None)[0]
        raw = raw_function(model, 1, upsampling=chosen.upsampling)
        self._calibrated = calibrate_named(raw, self.provenance, calibration, xnnpack=chosen.xnnpack)
        self._expected = model(images, training=False)

    def convert(self, kept: Sequence[str], debug: bool = False) -> bytes:
        with native_output.hidden():
            return to_integers(self._calibrated, self.provenance.tensors_of(self._calibrated, kept), debug=debug)

    def measure(self, kept: Sequence[str]) -> tuple[int, dict[str, float], float]:
        """Return the number of float operations with these layers in float, the output errors, and the milliseconds."""
        found, milliseconds = _run(self.convert(kept), self._images)
        count = len(self.provenance.tensors_of(self._calibrated, kept))
        return count, _output_errors(self._model, self._expected, found), milliseconds

    def patterns(self, kept: Sequence[str]) -> list[str]:
        """Return patterns that divide the net by prefixes of layer names, and each output layer separately."""
        stay = set(self.provenance.tensors_of(self._calibrated, kept))
        made = self.provenance.tensors_of(self._calibrated, self.provenance.layers)
        layers = dict.fromkeys(self.provenance.layers_of(name)[-1] for name in made if name not in stay)
        ends = [layer for layer in layers if layer in self.provenance.ends]
        return [*dict.fromkeys(f"{layer.partition('_')[0]}_*" for layer in layers), *ends]


def _run(model: bytes, images: np.ndarray) -> tuple[Any, float]:
    """Run the images one at a time; return the nested outputs and the minimum of milliseconds per image."""
    from ai_edge_litert.interpreter import Interpreter

    with native_output.hidden():
        run = Interpreter(model_content=model, num_threads=1).get_signature_runner(DEFAULT)
        run(**{INPUT: images[:1]})  # the first call allocates, and prints messages about the delegate
    outputs, seconds = [], []
    for image in images:
        started = time.perf_counter()
        outputs.append(run(**{INPUT: image[None]}))
        seconds.append(time.perf_counter() - started)
    whole = {name: np.concatenate([output[name] for output in outputs]) for name in outputs[0]}
    return nest(whole), 1000 * min(seconds)


def _output_errors(model: keras.Model, expected: Any, found: Any) -> dict[str, float]:
    if not detects(model):
        pairs, reference = flatten(found), flatten(expected)
        return {name: _rms(pairs[name] - reference[name]) / (_rms(reference[name]) or 1.0) for name in reference}
    flat, other = (_flat(model, raw) for raw in (expected, found))
    logits = next(iter(flat))
    strongest = np.argsort(-flat[logits].max(axis=-1), axis=1)[:, :STRONGEST, None]
    scores, other_scores = (1 / (1 + np.exp(-np.float64(x.pop(logits)))) for x in (flat, other))
    errors = {"scores": other_scores - scores} | {name: other[name] - flat[name] for name in flat}
    return {name: _rms(np.take_along_axis(x, strongest, axis=1)) for name, x in errors.items()}


def _flat(model: keras.Model, raw: Any) -> dict[str, np.ndarray]:
    """Return a detector's raw outputs, joined by `Decoding.flatten`, class logits first."""
    return {name: keras.ops.convert_to_numpy(x) for name, x in model.decoding.flatten(raw, model.options).items()}


def _rms(x: Any) -> float:
    return float(np.sqrt(np.mean(np.square(x))))
