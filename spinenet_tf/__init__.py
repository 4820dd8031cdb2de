"""SpineNet for Keras 3: scale-permuted backbones, detectors and classifiers that train, evaluate and export."""

import sys
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from spinenet_tf._lazy import lazy_names

if TYPE_CHECKING:
    from spinenet_tf import callbacks, data, export, optimizers, search
    from spinenet_tf.evaluation.accuracy import Accuracy
    from spinenet_tf.evaluation.metrics import CocoMetrics, Evaluation
    from spinenet_tf.inference.classification import Classification
    from spinenet_tf.inference.detections import Detections
    from spinenet_tf.inference.loading import load
    from spinenet_tf.inference.measurement import evaluate
    from spinenet_tf.inference.predictor import Predictor
    from spinenet_tf.models import backbone, classifier, detector
    from spinenet_tf.nets.family import list_models, register
    from spinenet_tf.nets.graph_drawing import plot_architecture
    from spinenet_tf.nets.specs import ArchitectureSpec, BlockSpec
    from spinenet_tf.training.recipe import train
    from spinenet_tf.training.run import Run

__all__ = [
    "Accuracy",
    "ArchitectureSpec",
    "BlockSpec",
    "Classification",
    "CocoMetrics",
    "Detections",
    "Evaluation",
    "Predictor",
    "Run",
    "backbone",
    "callbacks",
    "classifier",
    "data",
    "detector",
    "evaluate",
    "export",
    "list_models",
    "load",
    "optimizers",
    "plot_architecture",
    "register",
    "search",
    "train",
]
__version__ = "0.1.0"

_HOMES = {
    "Accuracy": ".evaluation.accuracy",
    "ArchitectureSpec": ".nets.specs",
    "BlockSpec": ".nets.specs",
    "Classification": ".inference.classification",
    "CocoMetrics": ".evaluation.metrics",
    "Detections": ".inference.detections",
    "Evaluation": ".evaluation.metrics",
    "Predictor": ".inference.predictor",
    "Run": ".training.run",
    "backbone": ".models",
    "callbacks": ".callbacks",
    "classifier": ".models",
    "data": ".data",
    "detector": ".models",
    "evaluate": ".inference.measurement",
    "export": ".export",
    "list_models": ".nets.family",
    "load": ".inference.loading",
    "optimizers": ".optimizers",
    "plot_architecture": ".nets.graph_drawing",
    "register": ".nets.family",
    "search": ".search",
    "train": ".training.recipe",
}

if not TYPE_CHECKING:  # for a type checker, a module with `__getattr__` has every name
    __getattr__, __dir__ = lazy_names(__name__, _HOMES)

# Keras loads a file only if the classes in it are registered: Keras 3.15 does not import the modules of other packages
# that a file names. The command line loads no such file, and its `--help` should not wait seconds for Keras. Python
# runs this file before `cli`, so only the program's name tells whether this is the command line.
if Path(sys.argv[0] if sys.argv else "").stem != "spinenet-tf":
    for _module in ("models", "training.quantization", "training.optimizers", "training.schedule"):
        import_module(f"spinenet_tf.{_module}")
