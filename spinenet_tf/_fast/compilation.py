"""Tell whether XLA compiles the operations that are being traced."""

from __future__ import annotations

import keras


def is_compiled_by_xla() -> bool:
    """Return whether XLA will compile the current trace: XLA fuses elementwise operations, and needs static shapes.

    A GPU does not imply XLA: under a strategy or with determinism, Keras turns XLA off. JAX counts as compiled, PyTorch
    only under `torch.compile`.
    """
    backend = keras.backend.backend()
    if backend == "tensorflow":
        import tensorflow as tf

        # TensorFlow 2.21 has no public function for this.
        from tensorflow.python.ops.control_flow_util import GraphOrParentsInXlaContext

        return GraphOrParentsInXlaContext(tf.compat.v1.get_default_graph())
    if backend == "torch":
        import torch

        return torch.compiler.is_compiling()
    return True
