"""Join two .tflite files: the outputs of the first are the inputs of the second, by name."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from spinenet_tf.export.rewrites.flat_graph import parse, serialize


def join(first: bytes, second: bytes, outputs: Sequence[str]) -> bytes:
    """Return a .tflite with the inputs of `first` and the outputs of `second`, in the order of `outputs`.

    Both have one graph and one signature; every input of `second` is an output of `first` with the same name and type.
    """
    model, tail = parse(first), parse(second)
    made = {x.name: x.tensorIndex for x in model.signatureDefs[0].outputs}
    index = {x.tensorIndex: made[x.name] for x in tail.signatureDefs[0].inputs}
    _append(model, tail, index)
    named = {x.name.decode(): x for x in tail.signatureDefs[0].outputs}
    for x in named.values():
        x.tensorIndex = index[x.tensorIndex]
    model.signatureDefs[0].outputs = [named[name] for name in outputs]
    model.subgraphs[0].outputs = [named[name].tensorIndex for name in outputs]
    return serialize(model)


def _append(model: Any, tail: Any, index: dict[int, int]) -> None:
    """Append the graph of `tail` to that of `model`; fill in `index`, from tensors of `tail` to those of `model`."""
    graph, buffers, codes = model.subgraphs[0], len(model.buffers), len(model.operatorCodes)
    for number, tensor in enumerate(tail.subgraphs[0].tensors):
        if number not in index:
            index[number] = len(graph.tensors)
            tensor.buffer += buffers
            graph.tensors.append(tensor)
    for operator in tail.subgraphs[0].operators:
        operator.opcodeIndex += codes
        for end in ("inputs", "outputs", "intermediates"):
            numbers = getattr(operator, end)
            if numbers is not None:
                # Not in the index: -1, an omitted optional tensor.
                setattr(operator, end, [index.get(number, number) for number in numbers])
        graph.operators.append(operator)
    model.buffers += tail.buffers
    model.operatorCodes += tail.operatorCodes
