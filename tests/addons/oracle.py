"""Compute a piece of tensorflow-addons on arrays, in .venv-addons: `oracle.py PIECE IN.npz OUT.npz`."""

import os
import sys

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
os.environ["TFA_IGNORE_TF_VERSION"] = "1"

import numpy as np
import tensorflow as tf
import tensorflow_addons as tfa


def focal(logits, targets):
    loss = tfa.losses.SigmoidFocalCrossEntropy(from_logits=True, alpha=0.25, gamma=1.5, reduction="none")
    logits = tf.Variable(logits)
    with tf.GradientTape() as tape:
        value = loss(targets, logits)
    return {"loss": value, "gradient": tape.gradient(value, logits)}


def giou(boxes, targets):
    boxes = tf.Variable(boxes)
    with tf.GradientTape() as tape:
        value = tfa.losses.GIoULoss(reduction="none")(targets, boxes)
    return {"loss": value, "gradient": tape.gradient(value, boxes)}


def stochastic_depth(shortcut, branch):
    layer = tfa.layers.StochasticDepth(survival_probability=0.8)
    tf.random.set_seed(0)
    return {"training": layer([shortcut, branch], training=True), "inference": layer([shortcut, branch])}


def moving_average(start, gradients):
    variable = tf.Variable(start)
    optimizer = tfa.optimizers.MovingAverage(tf.keras.optimizers.legacy.SGD(0.1), average_decay=0.9)
    for gradient in gradients:
        optimizer.apply_gradients([(tf.constant(gradient), variable)])
    trained = variable.numpy()
    optimizer.assign_average_vars([variable])
    return {"trained": trained, "average": variable}


if __name__ == "__main__":
    piece, source, target = sys.argv[1:]
    with np.load(source) as arrays:
        results = globals()[piece](**arrays)
    np.savez(target, **{name: np.asarray(value) for name, value in results.items()})
