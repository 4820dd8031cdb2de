"""TF2 checkpoints of TF Model Garden: read by the names in their object graph, never by position."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf
from tensorflow.core.protobuf.trackable_object_graph_pb2 import TrackableObjectGraph

from spinenet_tf.backbones import Backbone
from spinenet_tf.checkpoints.names import HEAD, canonical_names, variables_by_name
from spinenet_tf.retinanet import RetinaNet

GRAPH_KEY = "_CHECKPOINTABLE_OBJECT_GRAPH"
_VALUE = "VARIABLE_VALUE"
CLASS_BIAS = "retina_net_head/scores/bias"
_TRAINING_STATE = ("optimizer", "global_step", "save_counter")
_AVERAGE = "average"  # the slot of Model Garden's exponential moving average
_SHOWN = 12  # differences of a kind that an error lists


class CheckpointError(ValueError):
    """A checkpoint that is not there, not readable, or of another architecture."""


def read_checkpoint(path: str | os.PathLike, *, averaged: bool = True) -> dict[str, np.ndarray]:
    """Return the variables of the network in a checkpoint by the names that Model Garden gave them.

    `path` is a checkpoint's prefix, its `.index` file, or the folder of a trainer, whose latest checkpoint is taken.
    Optimizer and counters are left out. Where the trainer kept an exponential moving average of a variable, this is
    returned, as Model Garden evaluates it too; with `averaged=False`, the trained value.

    Raises:
        CheckpointError: there is no checkpoint, it does not read, or it is not one of TensorFlow 2.
    """
    reader = open_checkpoint(path)
    if not reader.has_tensor(GRAPH_KEY):
        raise CheckpointError(f"{path} is a checkpoint of TensorFlow 1: see checkpoints.tf1_zoo.")
    graph = TrackableObjectGraph.FromString(reader.get_tensor(GRAPH_KEY))
    averages = dict(_averages(graph)) if averaged else {}
    variables: dict[str, np.ndarray] = {}
    for node in sorted(_network_nodes(graph)):
        for value in _values(graph, node):
            if value.full_name in variables:
                raise CheckpointError(f"{path} holds two variables of the name {value.full_name}.")
            stored = next(_values(graph, averages[node]), value) if node in averages else value
            variables[value.full_name] = reader.get_tensor(stored.checkpoint_key)
    return variables


def load_checkpoint(
    model: Backbone | RetinaNet, path: str | os.PathLike, *, averaged: bool = True, ignore: Iterable[str] = ()
) -> None:
    """Give a detector or backbone the weights of a checkpoint of Model Garden; after an error the model is as it was.

    Every variable of the model is found once, by name and shape, and none of the checkpoint is left over, but for the
    head, if the model is a backbone, and names that begin with one of `ignore`. See `read_checkpoint` for the rest.

    Raises:
        CheckpointError: as `read_checkpoint` does, or the two networks differ; the message lists the differences.
    """
    load_variables(model, read_checkpoint(path, averaged=averaged), str(path), ignore=ignore)


def load_variables(
    model: Backbone | RetinaNet, found: Mapping[str, np.ndarray], source: str, *, ignore: Iterable[str] = ()
) -> None:
    """Do what `load_checkpoint` does with variables that were read already; `source` is named in errors."""
    wanted = {
        name: value
        for name, value in found.items()
        if not name.startswith(tuple(ignore)) and not (isinstance(model, Backbone) and HEAD in name)
    }
    values = {canonical: wanted[name] for canonical, name in canonical_names(wanted).items()}
    assign(model, variables_by_name(model), values, source)


def assign(
    model: keras.Model, variables: Mapping[str, keras.Variable], values: Mapping[str, np.ndarray], source: str
) -> None:
    """Assign `values` to the `variables` of a model by their names: to all of them, or to none.

    Raises:
        CheckpointError: names or shapes differ; the message names `source` and lists the differences.
    """
    differences = list(_differences(variables, values))
    if differences:
        raise CheckpointError("\n  ".join([f"{source} does not hold the weights of {model.name}:", *differences]))
    for name, variable in variables.items():
        variable.assign(values[name])


def _differences(ours: Mapping[str, keras.Variable], theirs: Mapping[str, np.ndarray]) -> Iterator[str]:
    shapes = [
        f"{name}: {theirs[name].shape} there, {tuple(ours[name].shape)} in the model"
        for name in ours.keys() & theirs.keys()
        if theirs[name].shape != tuple(ours[name].shape)
    ]
    kinds = {"missing there": ours.keys() - theirs.keys(), "left over there": theirs.keys() - ours.keys()}
    for title, lines in {"of another shape": shapes, **kinds}.items():
        yield from (f"{title}: {line}" for line in sorted(lines)[:_SHOWN])
        if len(lines) > _SHOWN:
            yield f"{title}: {len(lines) - _SHOWN} more"


def open_checkpoint(path: str | os.PathLike) -> tf.train.CheckpointReader:
    """Open a checkpoint by its prefix, its `.index` file, or the folder of a trainer.

    Raises:
        CheckpointError: there is no checkpoint, or it does not read.
    """
    prefix = _prefix(Path(path))
    try:
        return tf.train.load_checkpoint(prefix)
    except (tf.errors.OpError, RuntimeError, ValueError) as error:
        raise CheckpointError(f"{prefix} is not a readable checkpoint: {error}") from error


def _prefix(path: Path) -> str:
    if path.is_dir():
        latest = tf.train.latest_checkpoint(str(path))
        if latest is None:
            raise CheckpointError(f"{path} is a folder without a checkpoint.")
        return latest
    prefix = path.with_suffix("") if path.suffix == ".index" else path
    if not Path(f"{prefix}.index").is_file():
        raise CheckpointError(f"There is no checkpoint {prefix}: it would have a file {prefix.name}.index.")
    return str(prefix)


def _values(graph: TrackableObjectGraph, node: int) -> Iterator:
    return (attribute for attribute in graph.nodes[node].attributes if attribute.name == _VALUE)


def _network_nodes(graph: TrackableObjectGraph) -> set[int]:
    """Return all nodes that the root reaches, but through its training state."""
    reached, open_nodes = {0}, [c.node_id for c in graph.nodes[0].children if c.local_name not in _TRAINING_STATE]
    while open_nodes:
        node = open_nodes.pop()
        if node not in reached:
            reached.add(node)
            open_nodes += [child.node_id for child in graph.nodes[node].children]
    return reached


def _averages(graph: TrackableObjectGraph) -> Iterator[tuple[int, int]]:
    """Yield the node of each variable that has a moving average, and the average's."""
    for node in graph.nodes:
        for slot in node.slot_variables:
            if slot.slot_name == _AVERAGE:
                yield slot.original_variable_node_id, slot.slot_variable_node_id
