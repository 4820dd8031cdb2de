"""What every model of this package has: a named architecture, and weights files that carry it."""

from __future__ import annotations

import gc
import inspect
import io
import json
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import h5py
import keras

from spinenet_tf._fast.variables import named_alike
from spinenet_tf._files.messages import some_of
from spinenet_tf._files.writing import staged
from spinenet_tf.nets.optimizer_state import describe, read_owner, read_state, split_state, state_shapes, write_state
from spinenet_tf.nets.weights import (
    FINGERPRINT,
    SUFFIX,
    ArchitectureError,
    DamagedWeightsError,
    Shapes,
    check_hash,
    differences,
    have_equal_shapes,
    read_architecture,
    read_shapes,
    seal,
    shape_table,
    weights_path,
)


class _NamedMemory(io.BytesIO):
    """A file in memory. Keras asks for its name, which tells the format."""

    def __str__(self) -> str:
        return f"memory{SUFFIX}"


class SpineNetModel(keras.Model):
    """A functional Keras model with an `architecture()`, by which its weights files are recognized.

    Keras writes layers into a weights file by class and order, so that another net of equal shapes would load silently;
    here that is an `ArchitectureError`, raised before anything is written.
    """

    def architecture(self) -> dict[str, Any]:
        """Return all that decides what the weights mean, as plain JSON types."""
        raise NotImplementedError

    def _understood(self, architecture: dict[str, Any]) -> dict[str, Any]:
        """Return the architecture of a weights file, also of an earlier version, as this version writes it."""
        return architecture

    def compile_from_config(self, config: dict[str, Any]) -> None:
        """Compile as the model in a `.keras` file was; Keras itself refuses to where a class has its own `compile`."""
        self.compile(**keras.saving.deserialize_keras_object(config))
        self.build_optimizer()

    def fit(self, *args, **kwargs):
        """Train as Keras does, by the same arguments: see `keras.Model.fit`."""
        call = inspect.signature(super().fit).bind(*args, **kwargs)
        self._before_fit(call.arguments)
        return super().fit(*call.args, **call.kwargs)

    def _before_fit(self, given: dict[str, Any]) -> None:
        """Make ready for `fit`, and change what it was given, by Keras's names."""
        # Left to Keras, the optimizer's variables are created while TensorFlow traces the first step, which makes it
        # trace the step twice, and lift each variable's initial value out of the graph: most of the time to the first
        # step.
        self.build_optimizer()
        if _comes_in_order(given.get("x")):
            given.setdefault("shuffle", False)  # by default Keras asks for what it then warns that it cannot do

    def predict_on_batch(self, x):
        """Compute one batch as Keras does, which repeats it for each device of a `tf.distribute.MirroredStrategy`."""
        size = len(keras.tree.flatten(x)[0])
        return keras.tree.map_structure(lambda found: found[:size], super().predict_on_batch(x))

    def build_optimizer(self) -> None:
        """Make the variables of the optimizer of a compiled model, so that a state can be read into them."""
        optimizer = getattr(self, "optimizer", None)  # a model that was not compiled has none
        if optimizer is not None and not optimizer.built:
            with named_alike():
                optimizer.build(self.trainable_variables)

    def save_weights(self, filepath, overwrite: bool = True, *, include_optimizer: bool = True) -> None:
        """Write a `.weights.h5` file with the architecture in it and sealed; it appears whole or not at all.

        As in Keras it holds the optimizer's state too, if the model is compiled, and then is two or three times as
        large.

        Raises:
            ValueError: the name does not end in `.weights.h5`.
            FileExistsError: the file exists and `overwrite` is False.
            WriteError: the disk is full or read only, or the user may not write here.
        """
        path = weights_path(filepath)
        content = self._in_memory(include_optimizer=include_optimizer).getbuffer()
        with staged(path, overwrite=overwrite) as part, part.open("wb") as file:
            file.write(content)
            file.write(seal(content))

    def load_weights(self, filepath, *args, sha256: str | None = None, **kwargs) -> None:
        """Read a file that `save_weights` wrote for the same architecture; after an error the model is as it was.

        The file is compared with the hash `sha256`, where one is given, and with its own seal. It may hold nothing but
        numbers of its own, in the shapes of this model: all of that is checked before any of them is read. A compiled
        model gets back the state of its optimizer, if the file holds one; it warns if that is another optimizer's. The
        other arguments are those of `keras.Model.load_weights`.

        Raises:
            FileNotFoundError: there is no such file.
            ArchitectureError: the file belongs to another architecture; the message lists the differences.
            DamagedWeightsError: the file is not a weights file of this package, or is damaged.
            ValueError: the file is not the one with that hash.
        """
        path = weights_path(filepath)
        if sha256 is not None:
            check_hash(path, sha256)
        found = differences(self._understood(read_architecture(path)), self.architecture())
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
                if told:
                    warnings.warn(
                        f"{path}: the weights were loaded, the optimizer's state was not: {told}", stacklevel=2
                    )
                return
            gc.collect()  # closes the file, which Keras leaves open, inside a cycle of references
        theirs, ours = shapes | (state if restored else {}), read_shapes(self._in_memory()) | expected
        table = shape_table(theirs, ours)
        if found:
            raise ArchitectureError(
                "\n  ".join([f"{path} holds the weights of another architecture:", some_of(found, "\n  "), *table])
            )
        raise DamagedWeightsError("\n  ".join([f"{path} is damaged, nothing was loaded: {reason}", *table]))

    def _stored(self) -> SpineNetModel:
        """Return the model whose weights a file holds."""
        return self

    def _training_variables(self) -> list[keras.Variable]:
        """Return what a compiled model's training depends on beside the weights that a file holds."""
        return list(self.optimizer.variables)

    def _in_memory(self, *, include_optimizer: bool = False) -> io.BytesIO:
        """Return the file's content; HDF5 itself does not survive a disk that is full."""
        file, stored = _NamedMemory(), self._stored()
        with stored._without_optimizer():
            keras.Model.save_weights(stored, file)
        with h5py.File(file, "a") as opened:
            opened.attrs[FINGERPRINT] = json.dumps(self.architecture())
            if include_optimizer and self.compiled and self.optimizer is not None:
                write_state(opened, self.optimizer, self._training_variables())
        return file

    def _restorable(self, owner: str | None) -> tuple[list[keras.Variable], str]:
        """Return what gets its values from a file that holds the state of `owner`; or nothing, and why, if it is."""
        if owner is None or not self.compiled or self.optimizer is None:
            return [], ""
        self.build_optimizer()
        variables = self._training_variables()
        ours = describe(self.optimizer, variables)
        return (variables, "") if owner == ours else ([], f"it is that of {owner!r} and not of {ours!r}.")

    def _has_shapes(self, shapes: Shapes) -> bool:
        """Tell, at no cost, whether a file can be of this model: it has as many weights of each shape."""
        ours = Counter(tuple(weight.shape) for weight in self._stored().weights)
        return Counter(stored.shape for stored in shapes.values()) == ours

    @contextmanager
    def _kept_from_errors(self, more: Sequence[keras.Variable]) -> Iterator[None]:
        """Give all variables their values back if the block fails: Keras has overwritten the early layers by then."""
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
        # Around Keras's and TensorFlow's own tracking of attributes, which would take it for another child.
        object.__setattr__(self, "optimizer", None)
        try:
            yield
        finally:
            object.__setattr__(self, "optimizer", optimizer)


def _comes_in_order(data: Any) -> bool:
    """Tell whether Keras cannot shuffle `data`: what is no array, nor a `PyDataset` with an end, does so by itself."""
    if isinstance(data, keras.utils.PyDataset):
        return data.num_batches is None
    return not all(hasattr(leaf, "shape") for leaf in keras.tree.flatten(data))
