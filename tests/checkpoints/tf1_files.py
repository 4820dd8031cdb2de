"""Write checkpoints as TensorFlow 1 does, with the names of the TF1 zoo."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import tensorflow as tf

from spinenet_tf.checkpoints.tf1_zoo import Tf1Checkpoint


def tf1_values(model) -> dict[str, np.ndarray]:
    """Return the variables of a model by their names in the zoo, which follow from the canonical ones."""
    return {tf1_name(name): np.asarray(variable) for name, variable in Tf1Checkpoint.variables(model).items()}


def tf1_name(canonical: str) -> str:
    name = re.sub(r":0(?=/|$)", "", canonical)
    return re.sub(r"(^|/)norm", r"\1batch_normalization", re.sub(r":(\d+)", r"_\1", name))


def with_training_state(values: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Add momenta and the global step, which a trainer writes too."""
    momenta = {f"{name}/Momentum": np.zeros_like(value) for name, value in values.items() if "moving" not in name}
    return values | momenta | {"global_step": np.int64(100)}


def write(values: dict[str, np.ndarray], folder: Path) -> Path:
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        variables = [tf.compat.v1.get_variable(name, initializer=value) for name, value in values.items()]
        session.run([variable.initializer for variable in variables])
        return Path(tf.compat.v1.train.Saver(variables).save(session, str(folder / "model.ckpt-100")))
