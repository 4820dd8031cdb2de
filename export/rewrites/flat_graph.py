"""Edit the graph of a .tflite file: its operators, and new tensors and operators."""

from __future__ import annotations

from copy import copy
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.tools import flatbuffer_utils


def parse(content: bytes) -> Any:
    """Return a .tflite as a mutable object of the schema's class `ModelT`."""
    return flatbuffer_utils.convert_bytearray_to_object(content)


def serialize(model: Any) -> bytes:
    """Return the bytes of a model from `parse`."""
    return bytes(flatbuffer_utils.convert_object_to_bytearray(model))


class FlatGraph:
    """The single graph of a model from `parse`."""

    def __init__(self, model: Any):
        self._model, self._tensors = model, model.subgraphs[0].tensors
        self.operators = model.subgraphs[0].operators

    def is_a(self, operator: Any, name: str) -> bool:
        """Return whether an operator has the TFLite type `name`."""
        return self._model.operatorCodes[operator.opcodeIndex].builtinCode == _code(name)

    def shape(self, tensor: int) -> tuple[int, ...]:
        """Return a tensor's shape."""
        sides = self._tensors[tensor].shape
        return () if sides is None else tuple(int(side) for side in sides)

    def values(self, tensor: int) -> np.ndarray:
        """Return the values of a float constant."""
        data = np.asarray(self._model.buffers[self._tensors[tensor].buffer].data, np.uint8)
        return data.view(np.float32).reshape(self.shape(tensor))

    def like(self, tensor: int, shape: tuple[int, ...], owner: int | None = None) -> int:
        """Add a tensor with the type and range of `tensor`, named after the tensor `owner` (default: `tensor`)."""
        new = copy(self._tensors[tensor])
        new.name, new.buffer = self._tensors[tensor if owner is None else owner].name + b"/rewritten", 0
        new.shape, new.shapeSignature = np.array(shape, np.int32), None
        self._tensors.append(new)
        return len(self._tensors) - 1

    def constant(self, values: np.ndarray, tensor: int) -> int:
        """Add a constant with the type of the constant `tensor`, to replace it."""
        number = self.like(tensor, values.shape)
        buffer = schema.BufferT()
        buffer.data = np.ascontiguousarray(values).view(np.uint8).ravel()
        self._tensors[number].buffer = len(self._model.buffers)
        self._model.buffers.append(buffer)
        return number

    def reshape(self, source: int, target: int) -> Any:
        """Return a RESHAPE operator from one tensor to another; the caller inserts it into the graph."""
        options = schema.ReshapeOptionsT()
        options.newShape = np.array(self.shape(target), np.int32)
        sides = self.constant(options.newShape, source)
        self._tensors[sides].type, self._tensors[sides].quantization = schema.TensorType.INT32, None
        return self._operator("RESHAPE", [source, sides], target, options)

    def activate(self, name: str, source: int, target: int) -> Any:
        """Return an operator that applies an activation."""
        return self._operator(name, [source], target)

    def set_version(self, name: str, version: int) -> None:
        """Set the version of all operators with the TFLite type `name`."""
        for code in self._model.operatorCodes:
            if code.builtinCode == _code(name):
                code.version = version

    def prune(self) -> None:
        """Remove tensors that no operator uses, and the values of buffers that no tensor uses."""
        graph = self._model.subgraphs[0]
        ends = [x for signature in self._model.signatureDefs for x in (*signature.inputs, *signature.outputs)]
        known = {int(x) for operator in self.operators for x in (*operator.inputs, *operator.outputs)}
        # -1 is an omitted optional tensor.
        kept = sorted((known | {int(x) for x in (*graph.inputs, *graph.outputs)}) - {-1})
        numbers = {-1: -1} | {old: new for new, old in enumerate(kept)}
        for operator in self.operators:
            operator.inputs = [numbers[int(x)] for x in operator.inputs]
            operator.outputs = [numbers[int(x)] for x in operator.outputs]
        for end in ends:
            end.tensorIndex = numbers[end.tensorIndex]
        graph.inputs, graph.outputs = ([numbers[int(x)] for x in side] for side in (graph.inputs, graph.outputs))
        self._tensors[:] = [self._tensors[x] for x in kept]
        used = {tensor.buffer for tensor in self._tensors} | {x.buffer for x in self._model.metadata or ()}
        for number, buffer in enumerate(self._model.buffers):
            if number not in used:
                buffer.data = None

    def _operator(self, name: str, inputs: list[int], output: int, options: Any = None) -> Any:
        operator = schema.OperatorT()
        operator.opcodeIndex = self._opcode(_code(name))
        operator.inputs, operator.outputs, operator.builtinOptions = inputs, [output], options
        kind = "NONE" if options is None else type(options).__name__.removesuffix("T")
        operator.builtinOptionsType = getattr(schema.BuiltinOptions, kind)
        return operator

    def _opcode(self, code: int) -> int:
        codes = self._model.operatorCodes
        for number, known in enumerate(codes):
            if known.builtinCode == code:
                return number
        new = schema.OperatorCodeT()
        new.builtinCode = new.deprecatedBuiltinCode = code
        codes.append(new)
        return len(codes) - 1


def _code(name: str) -> int:
    return getattr(schema.BuiltinOperator, name)
