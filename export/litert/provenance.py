"""Map a .tflite's operations to Keras layers: the converter keeps layer names in tensor names."""

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
    """The layers of a model, and the mapping to tensors of its .tflite."""

    def __init__(self, model: keras.Model):
        layers = dict.fromkeys(layer for part in (backbone_of(model), model) for layer in part.layers)
        nets = (keras.Model, keras.layers.InputLayer)
        self.layers = tuple(layer.name for layer in layers if not isinstance(layer, nets))
        self._outputs = {name: maker_of(x).name for name, x in flatten(model.output).items()}
        self.ends = frozenset(self._outputs.values())  # the layers that compute the outputs
        self._known = frozenset(self.layers)

    def find(self, patterns: Sequence[str]) -> list[str]:
        """Return the layers whose name matches one of the `fnmatch` `patterns`, in the model's order.

        Raises:
            ValueError: a pattern matches no layer; the message suggests similar names.
        """
        unmatched = [pattern for pattern in patterns if not any(fnmatchcase(name, pattern) for name in self.layers)]
        if unmatched:
            near = difflib.get_close_matches(unmatched[0], self.layers, n=3)
            hint = f" Similar names: {', '.join(near)}." if near else ""
            raise ValueError(f"No layer matches.{hint} Received: {unmatched}")
        return [name for name in self.layers if any(fnmatchcase(name, pattern) for pattern in patterns)]

    def layers_of(self, tensor: str) -> list[str]:
        """Return the layers that compute a tensor, from its name; the last one is the operation's main layer.

        The name of a fused operation lists its layers from last to first, "act_1/Relu6;conv_1/convolution", and
        TensorFlow numbers repeated calls: "conv_1".
        """
        found = []
        for path in tensor.split(";"):
            scopes = [scope if scope in self._known else re.sub(r"_\d+$", "", scope) for scope in path.split("/")]
            found += [scope for scope in scopes if scope in self._known][-1:]
        return found

    def name_outputs(self, model: Any) -> None:
        """Name the output tensors of a parsed model (`flat_graph.parse`) after layers: the converter numbers them."""
        for output in model.signatureDefs[0].outputs:
            name = output.name.decode()
            model.subgraphs[0].tensors[output.tensorIndex].name = f"{self._outputs[name]}/{name}".encode()

    def tensors_of(self, model: Any, layers: Sequence[str]) -> list[str]:
        """Return the names of the tensors that these layers output, in a .tflite processed by `name_outputs`."""
        graph, wanted = model.subgraphs[0], set(layers)
        names = [graph.tensors[operation.outputs[0]].name.decode() for operation in graph.operators]
        return [name for name in names if wanted.intersection(self.layers_of(name))]
