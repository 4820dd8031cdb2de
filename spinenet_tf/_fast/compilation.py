"""What becomes of operations as they are traced: whether XLA fuses them."""

from __future__ import annotations

import keras


def is_compiled_by_xla() -> bool:
    """Return whether XLA will compile what is traced here: it fuses elementwise operations, and wants to know shapes.

    A GPU alone does not tell: under a strategy and with determinism Keras leaves XLA off. All of JAX is taken for
    compiled. Torch computes one operation after the other, unless `torch.compile` is at work.
    """
    backend = keras.backend.backend()
    if backend == "tensorflow":
        import tensorflow as tf

        # Nothing public tells (TensorFlow 2.21).
        from tensorflow.python.ops.control_flow_util import GraphOrParentsInXlaContext

        return GraphOrParentsInXlaContext(tf.compat.v1.get_default_graph())
    if backend == "torch":
        import torch

        return torch.compiler.is_compiling()
    return True
