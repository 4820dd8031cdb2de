"""SpineNet for Keras 3: scale-permuted backbones, detectors and classifiers that train, evaluate and export."""

from spinenet_tf.models import backbone, classifier, detector, list_models
from spinenet_tf.specs import ArchitectureSpec, BlockSpec

__all__ = ["ArchitectureSpec", "BlockSpec", "backbone", "classifier", "detector", "list_models"]
__version__ = "0.1.0"
