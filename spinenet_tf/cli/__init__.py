"""The command line: `spinenet-tf COMMAND`, a file for each command."""

from spinenet_tf.cli.program import app, main

__all__ = ["app", "main"]
