"""Read TF2 checkpoints of TF Model Garden by the variable names in their object graph, never by position."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, ClassVar

import keras
import numpy as np
import tensorflow as tf
from tensorflow.core.protobuf.trackable_object_graph_pb2 import TrackableObjectGraph

from spinenet_tf.checkpoints import names
from spinenet_tf.checkpoints.checkpoint import Checkpoint, CheckpointError
from spinenet_tf.checkpoints.mask_rcnn_names import MODEL_GARDEN
from spinenet_tf.heads.mask_rcnn.model import MaskRCNN
from spinenet_tf.heads.retinanet import RetinaNet

GRAPH_KEY = "_CHECKPOINTABLE_OBJECT_GRAPH"
_VALUE = "VARIABLE_VALUE"
_TRAINING_STATE = ("optimizer", "global_step", "save_counter")
_AVERAGE = "average"  # the slot name of Model Garden's exponential moving average


class GardenCheckpoint(Checkpoint):
    """A checkpoint of TF Model Garden's trainer, or `tf.train.Checkpoint(model=...)` of one of its networks."""

    class_biases: ClassVar[Mapping[str, str]] = {
        RetinaNet.head: f"{names.HEAD}/scores/bias",
        MaskRCNN.head: f"{MODEL_GARDEN['box_class_predictor']}/bias",
    }
    is_tf1_zoo = False

    def overrides(self, *, has_mbconv: bool) -> dict[str, Any]:
        return {"background": True}

    @staticmethod
    def variables(model: names.Network) -> dict[str, keras.Variable]:
        return names.variables_by_name(model)

    @staticmethod
    def canonical_names(full_names: Iterable[str]) -> dict[str, str]:
        return names.canonical_names(full_names)

    @staticmethod
    def is_of_backbone(name: str) -> bool:
        return names.head_of(name) is None


def read_variables(reader: tf.train.CheckpointReader, source: str, *, averaged: bool) -> dict[str, np.ndarray]:
    """Return the variables of a network by their names in Model Garden.

    Raises:
        CheckpointError: two variables have the same name.
    """
    graph = TrackableObjectGraph.FromString(reader.get_tensor(GRAPH_KEY))
    averages = dict(_averages(graph)) if averaged else {}
    variables: dict[str, np.ndarray] = {}
    for node in sorted(_network_nodes(graph)):
        for value in _values(graph, node):
            if value.full_name in variables:
                raise CheckpointError(f"{source} contains two variables named {value.full_name}.")
            stored = next(_values(graph, averages[node]), value) if node in averages else value
            variables[value.full_name] = reader.get_tensor(stored.checkpoint_key)
    return variables


def _values(graph: TrackableObjectGraph, node: int) -> Iterator:
    return (attribute for attribute in graph.nodes[node].attributes if attribute.name == _VALUE)


def _network_nodes(graph: TrackableObjectGraph) -> set[int]:
    """Return all nodes that can be reached from the root, except through its training state."""
    reached, open_nodes = {0}, [c.node_id for c in graph.nodes[0].children if c.local_name not in _TRAINING_STATE]
    while open_nodes:
        node = open_nodes.pop()
        if node not in reached:
            reached.add(node)
            open_nodes += [child.node_id for child in graph.nodes[node].children]
    return reached


def _averages(graph: TrackableObjectGraph) -> Iterator[tuple[int, int]]:
    """Yield the node of each variable that has a moving average, and the node of the average."""
    for node in graph.nodes:
        for slot in node.slot_variables:
            if slot.slot_name == _AVERAGE:
                yield slot.original_variable_node_id, slot.slot_variable_node_id
