"""Count and sum over the replicas of a TensorFlow distribution strategy, each of which computes part of the batch.

JAX has no replicas: a program computes on the whole batch, wherever its parts are.
"""

from __future__ import annotations

import keras


def replica_count() -> int:
    """Return the number of replicas that run this code; 1 outside of a strategy."""
    if keras.backend.backend() != "tensorflow":
        return 1
    import tensorflow as tf

    replicas = tf.distribute.get_replica_context()
    return 1 if replicas is None else replicas.num_replicas_in_sync


def sum_over_replicas(values):
    """Sum a tensor, or each of a list of tensors, over the replicas."""
    if replica_count() == 1:
        return values
    import tensorflow as tf

    return tf.distribute.get_replica_context().all_reduce(tf.distribute.ReduceOp.SUM, values)
