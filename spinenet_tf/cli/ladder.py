"""Define `spinenet-tf ladder`, which compares the nets of the paper's ladder and ablations under one short training."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from spinenet_tf._files.ledger import Ledger
from spinenet_tf._files.writing import write_whole
from spinenet_tf.cli.arguments import check_parent
from spinenet_tf.cli.interruption import interruptible
from spinenet_tf.cli.terminal import WorkProgress, console, show_whole

if TYPE_CHECKING:
    from spinenet_tf.search.ladder_runs import Job


def ladder(
    config: Annotated[str, typer.Argument(help="The proxy: a YAML file, or the name of a built-in config.")] = "ladder",
    overrides: Annotated[list[str] | None, typer.Argument(help="Config values to change: key.subkey=value ...")] = None,
    run: Annotated[Path, typer.Option(help="The folder of the trainings and of ladder.jsonl, the results.")] = Path(
        "runs/ladder"
    ),
    only: Annotated[
        list[str] | None, typer.Option(help="Only this net or group, such as fish or edges; may be repeated.")
    ] = None,
    seeds: Annotated[int | None, typer.Option(help="Trainings of each net; default: 3, some 5.", min=1)] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only print all trainings and their costs.")] = False,
    plot: Annotated[Path | None, typer.Option(help="Draw AP against multiply-adds to this .png or .svg file.")] = None,
) -> None:
    """Train the nets of the paper's ladder and ablations under one proxy, and compare their AP.

    Each finished training is a line of ladder.jsonl. After an interruption, the same command continues. Several
    processes with this command share the work.

    Example: spinenet-tf ladder --only ladder --plot ladder.png
    """
    check_parent(plot)
    if plot and plot.suffix not in (".png", ".svg"):
        raise ValueError(f"--plot requires a file name that ends in .png or .svg. Received: {plot}")
    from spinenet_tf.search.ladder import chosen
    from spinenet_tf.search.ladder_runs import check_proxy, make_jobs, missing
    from spinenet_tf.training.config_file import resolve

    rungs, proxy, ledger = chosen(only), resolve(config, overrides or ()), Ledger(run / "ladder.jsonl")
    with console.status("Counting the costs of the nets"):
        jobs = list(make_jobs(proxy, rungs, seeds))
    if dry_run:
        from spinenet_tf.cli.tables import jobs_table

        show_whole(jobs_table(jobs, ledger.rows().keys()))
        return
    check_proxy(proxy, ledger)
    if left := missing(jobs, ledger):
        _carry_out(left, run, ledger)
    _show(ledger, plot)


def _carry_out(jobs: Sequence[Job], folder: Path, ledger: Ledger) -> None:
    import keras

    from spinenet_tf._fast.pools import share_one_pool
    from spinenet_tf.search.ladder_runs import carry_out

    share_one_pool()
    with interruptible(), WorkProgress(sum(job.work for job in jobs)) as progress:
        for number, job in enumerate(jobs, start=1):
            progress.begin(f"{job.unit} ({number} of {len(jobs)})", job.work)
            step = partial(progress.advance, job.work / job.steps)
            count = keras.callbacks.LambdaCallback(on_train_batch_end=lambda batch, logs, step=step: step())
            row = carry_out(job, folder, ledger, [count])
            result = "another process trains it" if row is None else f"AP {row['AP']:.3f} in {row['seconds']} s"
            progress.end(f"{job.unit}: {result}")


def _show(ledger: Ledger, plot: Path | None) -> None:
    from spinenet_tf.cli.tables import ladder_table
    from spinenet_tf.search.ladder_plot import draw_results
    from spinenet_tf.search.ladder_results import summarize

    results = summarize(ledger.rows().values())
    show_whole(ladder_table(results))
    if plot:
        write_whole(plot, draw_results(results, plot.suffix[1:]))
