"""Combine all commands into the program `spinenet-tf`. User errors print one line and exit with 2."""

from __future__ import annotations

import os
import platform
import re
import sys
from importlib.metadata import version
from typing import Annotated, Any

import typer
from typer.core import TyperCommand

from spinenet_tf import __version__
from spinenet_tf._files import native_output
from spinenet_tf.cli import dataset
from spinenet_tf.cli.benchmark import benchmark
from spinenet_tf.cli.convert import convert
from spinenet_tf.cli.convert_config import convert_config
from spinenet_tf.cli.demo import demo
from spinenet_tf.cli.evaluate import evaluate
from spinenet_tf.cli.export import export
from spinenet_tf.cli.inspect import inspect
from spinenet_tf.cli.interruption import INTERRUPTED
from spinenet_tf.cli.ladder import ladder
from spinenet_tf.cli.models import list_models, summary
from spinenet_tf.cli.predict import predict
from spinenet_tf.cli.search import search, search_compare, search_correlate
from spinenet_tf.cli.terminal import console
from spinenet_tf.cli.train import train

app = typer.Typer(
    add_completion=False,
    pretty_exceptions_enable=False,
    help="SpineNet for Keras 3: train, evaluate and export object detectors and image classifiers.",
)


def _print_version(wanted: bool) -> None:
    """Print the versions that a bug report needs, and exit."""
    if wanted:
        others = ", ".join(f"{name} {version(name)}" for name in ("keras", "tensorflow"))
        console.print(f"spinenet-tf {__version__} ({others}, Python {platform.python_version()})", highlight=False)
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Show the versions and exit.")
    ] = False,
) -> None:
    """Accept the options before a command."""


dataset_app = typer.Typer(help="Check, convert and show data sets of any format.")


class ComputingCommand(TyperCommand):
    """A command that imports TensorFlow only after parsing its arguments, so not for `--help`."""

    def invoke(self, ctx: Any) -> Any:
        native_output.import_tensorflow()
        return super().invoke(ctx)


# In the order of `--help`.
app.command("list")(list_models)
for command in (
    *(summary, train, evaluate, predict, export, inspect, benchmark, convert, convert_config),
    *(ladder, search, search_compare, search_correlate, demo),
):
    app.command(cls=ComputingCommand)(command)
for of_dataset in (dataset.check, dataset.convert, dataset.show):
    dataset_app.command(cls=ComputingCommand)(of_dataset)
app.add_typer(dataset_app, name="dataset")


def with_home(word: str) -> str:
    """Expand `~` at the start of a command-line word, or after `--option=`.

    Shells expand it only at the start of an unquoted word; Windows shells never do.
    """
    found = re.fullmatch(r"(--[\w-]+=|)(~(?:[/\\].*)?)", word, re.DOTALL)
    return found[1] + os.path.expanduser(found[2]) if found else word


def main() -> None:
    """Run the command line. Exit with 0 on success, and with 2 and a one-line message on a user error.

    With `SPINENET_TF_DEBUG` set, errors show a traceback, and native libraries print their logs. Training that SIGTERM
    stops saves its state and exits with 0. A command that Ctrl-C stops exits with 130; training saves its state first.
    """
    from spinenet_tf.training.preemption import Preempted

    words = [with_home(word) for word in sys.argv[1:]] or ["--help"]
    try:
        # With standalone_mode=False, typer raises errors, and returns the exit code.
        sys.exit(app(words, prog_name="spinenet-tf", standalone_mode=False))
    except Preempted as stop:
        console.print(str(stop), soft_wrap=True)
        sys.exit(0)
    except (KeyboardInterrupt, typer.Abort):
        sys.exit(INTERRUPTED)
    except (typer.TyperException, ValueError, OSError, RuntimeError, ImportError) as error:
        if os.environ.get(native_output.DEBUG):
            raise
        message = error.format_message() if isinstance(error, typer.TyperException) else str(error)
        print(f"spinenet-tf: {' '.join(message.split())}", file=sys.stderr)
        sys.exit(2)
