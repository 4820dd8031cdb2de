"""Define each task in one file: how its data is read, batched, measured and drawn."""

from typing import Any

from spinenet_tf.tasks.classification import Classification
from spinenet_tf.tasks.detection import Detection
from spinenet_tf.tasks.instance_segmentation import InstanceSegmentation
from spinenet_tf.tasks.task import Task

# Keys are the task names in configs and artifacts.
TASKS: dict[str, Task[Any]] = {
    "detection": Detection(),
    "instance segmentation": InstanceSegmentation(),
    "classification": Classification(),
}

__all__ = ["TASKS", "Task"]
