"""One file a task: how its data are read, batched, measured and drawn."""

from typing import Any

from spinenet_tf.tasks.classification import Classification
from spinenet_tf.tasks.detection import Detection
from spinenet_tf.tasks.task import Outcome, Task

# By the name that configs and artifacts give it.
TASKS: dict[str, Task[Any, Any]] = {"detection": Detection(), "classification": Classification()}

__all__ = ["TASKS", "Outcome", "Task"]
