"""Which Keras layers a .tflite's operations come from: the converter keeps the layers' names in those of tensors."""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence
from fnmatch import fnmatchcase
from typing import Any

import keras

from spinenet_tf.inference.keras_model import backbone_of
from spinenet_tf.inference.naming import flatten
from spinenet_tf.nets.calls import maker_of


class Provenance:
    """The layers of a model, and how to find them in a .tflite that was converted from it."""

    def __init__(self, model: keras.Model):
        layers = dict.fromkeys(layer for part in (backbone_of(model), model) for layer in part.layers)
        nets = (keras.Model, keras.layers.InputLayer)
        self.layers = tuple(layer.name for layer in layers if not isinstance(layer, nets))
        self._outputs = {name: maker_of(x).name for name, x in flatten(model.output).items()}
        self.ends = frozenset(self._outputs.values())  # the layers that make the outputs
        self._known = frozenset(self.layers)

    def find(self, patterns: Sequence[str]) -> list[str]:
        """Return the layers whose name matches one of the `patterns`, as `fnmatch` reads them, in the model's order.

        Raises:
            ValueError: a pattern matches no layer; the message has near names.
        """
        strange = [pattern for pattern in patterns if not any(fnmatchcase(name, pattern) for name in self.layers)]
        if strange:
            near = difflib.get_close_matches(strange[0], self.layers, n=3)
            hint = f" Near names are: {', '.join(near)}." if near else ""
            raise ValueError(f"No layer matches.{hint} Received: {strange}")
        return [name for name in self.layers if any(fnmatchcase(name, pattern) for pattern in patterns)]

    def layers_of(self, tensor: str) -> list[str]:
        """Return the layers that the operation behind a tensor's name does; the last is the one that it stands for.

        A fused operation's name lists them from the last to the first: "act_1/Relu6;conv_1/convolution", and TensorFlow
        counts what is called again: "conv_1".
        """
        found = []
        for path in tensor.split(";"):
            scopes = [scope if scope in self._known else re.sub(r"_\d+$", "", scope) for scope in path.split("/")]
            found += [scope for scope in scopes if scope in self._known][-1:]
        return found

    def name_outputs(self, model: Any) -> None:
        """Name the output tensors of what `flat_graph.parse` gave after layers: the converter numbers them."""
        for output in model.signatureDefs[0].outputs:
            name = output.name.decode()
            model.subgraphs[0].tensors[output.tensorIndex].name = f"{self._outputs[name]}/{name}".encode()

    def tensors_of(self, model: Any, layers: Sequence[str]) -> list[str]:
        """Return the names of what the operations of these layers put out, in a .tflite whose outputs are named."""
        graph, wanted = model.subgraphs[0], set(layers)
        names = [graph.tensors[operation.outputs[0]].name.decode() for operation in graph.operators]
        return [name for name in names if wanted.intersection(self.layers_of(name))]
