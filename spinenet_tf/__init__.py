"""SpineNet for Keras 3: scale-permuted backbones, detectors and classifiers that train, evaluate and export."""

import sys
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from spinenet_tf.models import backbone, classifier, detector
    from spinenet_tf.nets.family import list_models, register
    from spinenet_tf.nets.specs import ArchitectureSpec, BlockSpec

__all__ = ["ArchitectureSpec", "BlockSpec", "backbone", "classifier", "detector", "list_models", "register"]
__version__ = "0.1.0"

_HOMES = {
    "ArchitectureSpec": "nets.specs",
    "BlockSpec": "nets.specs",
    "backbone": "models",
    "classifier": "models",
    "detector": "models",
    "list_models": "nets.family",
    "register": "nets.family",
}


def __getattr__(name: str) -> Any:
    """Import a public name on first use."""
    if name not in _HOMES:
        raise AttributeError(f"module 'spinenet_tf' has no attribute {name!r}")
    return getattr(import_module(f"spinenet_tf.{_HOMES[name]}"), name)


# Keras loads a file only if the classes in it are registered: Keras 3.15 does not import the modules of other packages
# that a file names. The command line loads no such file, and its `--help` should not wait seconds for Keras. Python
# runs this file before `cli`, so only the program's name tells whether this is the command line.
if Path(sys.argv[0] if sys.argv else "").stem != "spinenet-tf":
    for _module in ("models", "training.quantization", "training.optimizers", "training.schedule"):
        import_module(f"spinenet_tf.{_module}")
