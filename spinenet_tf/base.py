"""What every model of this package has: a named architecture, and weights files that carry it."""

from __future__ import annotations

import gc
import inspect
import io
import json
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import h5py
import keras

from spinenet_tf.variables import named_alike
from spinenet_tf.weights import (
    FINGERPRINT,
    SUFFIX,
    ArchitectureError,
    Shapes,
    check_hash,
    differences,
    read_architecture,
    read_shapes,
    seal,
    shape_table,
    weights_path,
)
from spinenet_tf.writing import staged


class _NamedMemory(io.BytesIO):
    """A file in memory. Keras asks for its name, which tells the format."""

    def __str__(self) -> str:
        return f"memory{SUFFIX}"


class SpineNetModel(keras.Model):
    """A functional Keras model with an `architecture()`, by which its weights files are recognised.

    Keras writes layers into a weights file by class and order, so that another net of equal shapes would load silently;
    here that is an `ArchitectureError`, raised before anything is written.
    """

    def architecture(self) -> dict[str, Any]:
        """Return all that decides what the weights mean, as plain JSON types."""
        raise NotImplementedError

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

    def build_optimizer(self) -> None:
        """Make the variables of the optimizer of a compiled model, so that a state can be read into them."""
        optimizer = getattr(self, "optimizer", None)  # a model that was not compiled has none
        if optimizer is not None and not optimizer.built:
            with named_alike():
                optimizer.build(self.trainable_variables)

    def save_weights(self, filepath, overwrite: bool = True, **kwargs) -> None:
        """Write a `.weights.h5` file with the architecture in it and sealed; it appears whole or not at all.

        Keras would write the optimizer's state too, which makes the file two or three times as large.

        Raises:
            ValueError: the name does not end in `.weights.h5`.
            FileExistsError: the file exists and `overwrite` is False.
            WriteError: the disk is full or read only, or the user may not write here.
        """
        path = weights_path(filepath)
        content = self._in_memory(**kwargs).getbuffer()
        with staged(path, overwrite=overwrite) as part, part.open("wb") as file:
            file.write(content)
            file.write(seal(content))

    def load_weights(self, filepath, *, sha256: str | None = None, **kwargs) -> None:
        """Read a file that `save_weights` wrote for the same architecture; after an error the model is as it was.

        The file is compared with the hash `sha256`, where one is given, and with its own seal. It may hold nothing but
        numbers of its own, in the shapes of this model: all of that is checked before any of them is read.

        Raises:
            FileNotFoundError: there is no such file.
            ArchitectureError: the file belongs to another architecture; the message lists the differences.
            ValueError: the file is not a weights file of this package, or is damaged, or is not the one with that hash.
        """
        path = weights_path(filepath)
        if sha256 is not None:
            check_hash(path, sha256)
        found = differences(read_architecture(path), self.architecture())
        shapes, reason = read_shapes(path), "other shapes"
        if not found and self._has_shapes(shapes):
            try:
                with self._kept_from_errors(), self._without_optimizer():
                    super().load_weights(path, **kwargs)
                return
            except Exception as error:  # of Keras and HDF5, of any kind
                reason = str(error)
            gc.collect()  # closes the file, which Keras leaves open, inside a cycle of references
        table = shape_table(shapes, read_shapes(self._in_memory()))
        if found:
            raise ArchitectureError("\n  ".join([f"{path} holds the weights of another architecture:", *found, *table]))
        raise ValueError("\n  ".join([f"{path} is damaged, nothing was loaded: {reason}", *table]))

    def _in_memory(self, **kwargs) -> io.BytesIO:
        """Return the file's content; HDF5 itself does not survive a disk that is full."""
        file = _NamedMemory()
        with self._without_optimizer():
            super().save_weights(file, **kwargs)
        with h5py.File(file, "a") as opened:
            opened.attrs[FINGERPRINT] = json.dumps(self.architecture())
        return file

    def _has_shapes(self, shapes: Shapes) -> bool:
        """Tell, at no cost, whether a file can be of this model: it has as many weights of each shape."""
        return Counter(stored.shape for stored in shapes.values()) == Counter(tuple(w.shape) for w in self.weights)

    @contextmanager
    def _kept_from_errors(self) -> Iterator[None]:
        """Give all variables their values back if the block fails: Keras has overwritten the early layers by then."""
        variables = [*self.variables, *self.metrics_variables]
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
