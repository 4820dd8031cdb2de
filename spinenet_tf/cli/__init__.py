"""Define the command line `spinenet-tf COMMAND`, one file per command."""

from spinenet_tf.cli.program import app, main

__all__ = ["app", "main"]
