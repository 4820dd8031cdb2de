"""The base class of all models: an architecture as data, and weights files that contain it."""

from __future__ import annotations

import gc
import io
import json
import random
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

import h5py
import keras

from spinenet_tf._fast.variables import named_alike
from spinenet_tf._files.messages import some_of
from spinenet_tf._files.writing import staged
from spinenet_tf.nets.dtype import Dtype
from spinenet_tf.nets.image_model import ImageModel
from spinenet_tf.nets.optimizer_state import describe, read_owner, read_state, split_state, state_shapes, write_state
from spinenet_tf.nets.weights import (
    FINGERPRINT,
    NOTE,
    SUFFIX,
    ArchitectureError,
    DamagedWeightsError,
    Shapes,
    check_hash,
    differences,
    have_equal_shapes,
    read_architecture,
    read_note,
    read_shapes,
    seal,
    shape_table,
    weights_path,
)


class _NamedMemory(io.BytesIO):
    """A file in memory with a name, from which Keras infers the format."""

    def __str__(self) -> str:
        return f"memory{SUFFIX}"


class SpineNetModel(ImageModel):
    """A functional Keras model with an `architecture()`, which its weights files contain and are checked against.

    Keras identifies layers in a weights file by class and order, so the weights of a different net of equal shapes
    would load silently. Here that raises an `ArchitectureError`, before any variable changes.
    """

    def architecture(self) -> dict[str, Any]:
        """Return all settings that determine the meaning of the weights, as plain JSON types."""
        raise NotImplementedError

    def _understood(self, architecture: dict[str, Any]) -> dict[str, Any]:
        """Convert the architecture in a weights file of this or an earlier version to the form of this version."""
        return architecture

    def _note(self) -> dict[str, Any]:
        """Return what a weights file stores beside the architecture, as plain JSON types."""
        return {}

    def _check_note(self, path: Path, note: dict[str, Any]) -> None:
        """Check the note of a weights file before its weights are loaded; raise ValueError if it does not fit."""

    def _take_note(self, note: dict[str, Any]) -> None:
        """Use the note of a weights file whose weights were loaded."""

    def compile_from_config(self, config: dict[str, Any]) -> None:
        """Compile as the model in a `.keras` file was. Keras's own method refuses classes that override `compile`."""
        self.compile(**keras.saving.deserialize_keras_object(config))
        self.build_optimizer()

    def with_dtype(self, dtype: Dtype) -> Self:
        """Return an uncompiled copy of the model, with the same weights, that is built with another dtype policy."""
        return self.with_changes(dtype=dtype)

    def with_changes(self, **arguments: Any) -> Self:
        """Return an uncompiled copy with the same weights: with another `dtype` or `include_preprocessing`."""
        state = random.getstate()
        copy = type(self).from_config(self.config_with(**arguments))
        random.setstate(state)  # Keras drew the seeds of the copy's first weights from it
        copy.set_weights(self.get_weights())
        return copy

    def config_with(self, **arguments: Any) -> dict[str, Any]:
        """Return the config of a model that is the same but for these arguments."""
        return self.get_config() | arguments

    def quantize(self, mode=None, config=None, **kwargs):
        """Refuse to quantize: Keras would leave the convs as they are, and with them nearly all of the work.

        Raises:
            NotImplementedError: always; the message names what to use instead.
        """
        raise NotImplementedError(
            "Keras does not quantize convs, which do nearly all of the work of this model. Write an int8 file with "
            f"spinenet_tf.export.tflite(model, path, quantization='int8', ...). Received: mode={mode!r}"
        )

    def _before_fit(self, given: dict[str, Any]) -> None:
        # Otherwise Keras creates the optimizer's variables while TensorFlow traces the first step. TensorFlow then
        # traces the step twice and lifts each initial value out of the graph: most of the time to the first step.
        self.build_optimizer()
        super()._before_fit(given)

    def build_optimizer(self) -> None:
        """Create the optimizer's variables, so that a state can be loaded into them; do nothing if not compiled."""
        optimizer = getattr(self, "optimizer", None)  # a model that was not compiled has none
        if optimizer is not None and not optimizer.built:
            with named_alike():
                optimizer.build(self.trainable_variables)

    def export(self, filepath, format="tf_saved_model", verbose=None, input_signature=None, **kwargs) -> None:
        """Export for inference, with the arguments of `keras.Model.export`; compare the result with the model first.

        `format` is "tf_saved_model", "litert", "onnx", "openvino" or "torch" (on Keras's torch backend; the others need
        TensorFlow). `spinenet_tf.export.saved_model`, `tflite` and `onnx` write the first three and describe
        them; Keras's exporter writes the last. `kwargs` are the arguments of these functions, Keras's
        `opset_version`, `optimizations` and `representative_dataset`, and for "torch" those of `torch.export.export`.
        The input has the model's size in any `format`; `input_signature` sets its batch: any, or by default 1 in
        "litert" and "torch". `verbose=False` prints nothing.

        An earlier export at `filepath` is replaced, other files only with `overwrite=True`.

        Raises:
            ValueError: the format or an option is unknown, the format needs another backend, the model cannot be
                exported, as if its height or width is None, or `input_signature` does not fit it.
            FileExistsError: there is something else at `filepath`.
            ImportError: the format needs a package that is not installed.
            ExportError: the result differs from the model; nothing was written.
        """
        from spinenet_tf.export.formats import export_as

        export_as(self, filepath, format, verbose, input_signature, **kwargs)

    def save_weights(self, filepath, overwrite: bool = True, *, include_optimizer: bool = True) -> None:
        """Write a `.weights.h5` file with the architecture and a checksum, atomically.

        As in Keras, the file of a compiled model also contains the optimizer's state, which makes it two to three times
        as large.

        Raises:
            ValueError: the name does not end in `.weights.h5`.
            FileExistsError: the file exists and `overwrite` is False.
            WriteError: the disk is full or read-only, or the user lacks permission to write.
        """
        path = weights_path(filepath)
        content = self._in_memory(include_optimizer=include_optimizer).getbuffer()
        with staged(path, overwrite=overwrite) as part, part.open("wb") as file:
            file.write(content)
            file.write(seal(content))

    def load_weights(self, filepath, *args, sha256: str | None = None, **kwargs) -> None:
        """Load a file that `save_weights` wrote for the same architecture; after an error the model is unchanged.

        Before any weight is read, the file is checked: against `sha256`, if given, and against its own checksum; and it
        may contain only arrays of numbers, in the shapes of this model. If the file has an optimizer's state, a
        compiled model restores it, or warns if it belongs to a different optimizer. The other arguments are those of
        `keras.Model.load_weights`.

        Raises:
            FileNotFoundError: the file does not exist.
            ArchitectureError: the file has a different architecture; the message lists the differences.
            DamagedWeightsError: the file is not a weights file of this package, or is damaged.
            ValueError: the file does not have the hash `sha256`.
        """
        path = weights_path(filepath)
        if sha256 is not None:
            check_hash(path, sha256)
        found = differences(self._understood(read_architecture(path)), self.architecture())
        note = read_note(path)
        if not found:
            self._check_note(path, note)
        owner = read_owner(path)
        shapes, state = split_state(read_shapes(path), owner)
        restored, told = ([], "") if found else self._restorable(owner)
        expected, reason = state_shapes(restored), "other shapes"
        if not found and self._has_shapes(shapes) and (not restored or have_equal_shapes(state, expected)):
            try:
                with self._kept_from_errors(restored), self._stored()._without_optimizer():
                    keras.Model.load_weights(self._stored(), path, *args, **kwargs)
                    read_state(path, restored)
            except Exception as error:  # of Keras and HDF5, of any kind
                reason = str(error)
            else:
                self._take_note(note)
                if told:
                    warnings.warn(
                        f"{path}: the weights were loaded, but the optimizer's state was not: {told}", stacklevel=2
                    )
                return
            gc.collect()  # closes the file, which Keras leaves open in a reference cycle
        theirs, ours = shapes | (state if restored else {}), read_shapes(self._in_memory()) | expected
        table = shape_table(theirs, ours)
        if found:
            raise ArchitectureError(
                "\n  ".join([f"{path} contains weights of another architecture:", some_of(found, "\n  "), *table])
            )
        raise DamagedWeightsError("\n  ".join([f"{path} is damaged, nothing was loaded: {reason}", *table]))

    def _stored(self) -> SpineNetModel:
        """Return the model whose weights a file contains; a subclass may wrap another model."""
        return self

    def _training_variables(self) -> list[keras.Variable]:
        """Return the variables of training that are saved with the weights of a compiled model."""
        return list(self.optimizer.variables)

    def _in_memory(self, *, include_optimizer: bool = False) -> io.BytesIO:
        """Return the content of a weights file; HDF5 crashes if it writes to a full disk itself."""
        file, stored = _NamedMemory(), self._stored()
        with stored._without_optimizer():
            keras.Model.save_weights(stored, file)
        with h5py.File(file, "a") as opened:
            opened.attrs[FINGERPRINT] = json.dumps(self.architecture())
            if note := self._note():
                opened.attrs[NOTE] = json.dumps(note)
            if include_optimizer and self.compiled and self.optimizer is not None:
                write_state(opened, self.optimizer, self._training_variables())
        return file

    def _restorable(self, owner: str | None) -> tuple[list[keras.Variable], str]:
        """Return the variables to restore from the optimizer state of `owner`, or none and the reason to warn of."""
        if owner is None or not self.compiled or self.optimizer is None:
            return [], ""
        self.build_optimizer()
        variables = self._training_variables()
        ours = describe(self.optimizer, variables)
        return (variables, "") if owner == ours else ([], f"it belongs to {owner!r}, not to {ours!r}.")

    def _has_shapes(self, shapes: Shapes) -> bool:
        """Return whether a file has as many weights of each shape as this model, which is a cheap check."""
        ours = Counter(tuple(weight.shape) for weight in self._stored().weights)
        return Counter(stored.shape for stored in shapes.values()) == ours

    @contextmanager
    def _kept_from_errors(self, more: Sequence[keras.Variable]) -> Iterator[None]:
        """Restore all variables if the block fails, because Keras has overwritten the first layers by then."""
        variables = [*self.variables, *self._stored().variables, *self.metrics_variables, *more]
        before = [keras.ops.convert_to_numpy(variable).copy() for variable in variables]
        try:
            yield
        except BaseException:
            for variable, value in zip(variables, before, strict=True):
                variable.assign(value)
            raise

    @contextmanager
    def _without_optimizer(self) -> Iterator[None]:
        optimizer = getattr(self, "optimizer", None)  # a model that was not compiled has none
        if optimizer is None:
            yield
            return
        # Bypasses the attribute tracking of Keras and TensorFlow, which would add the optimizer as another child.
        object.__setattr__(self, "optimizer", None)
        try:
            yield
        finally:
            object.__setattr__(self, "optimizer", optimizer)
