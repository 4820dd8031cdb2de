"""Callbacks for `keras.Model.fit` and for `spinenet_tf.train`."""

from spinenet_tf.training.averages import AverageWeights
from spinenet_tf.training.measuring import Evaluate

__all__ = ["AverageWeights", "Evaluate"]
