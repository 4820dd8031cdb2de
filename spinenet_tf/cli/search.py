"""Define `spinenet-tf search`, `search-compare` and `search-correlate`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from spinenet_tf.cli.interruption import interruptible
from spinenet_tf.cli.terminal import console, show_whole, with_progress

if TYPE_CHECKING:
    from spinenet_tf.search.searching import Progress

Folder = Annotated[Path, typer.Argument(help="The folder of a search.")]
Storage = Annotated[
    str | None,
    typer.Option(help="Where workers of all machines meet: the path of a journal, or a URL of a database."),
]


def search(
    config: Annotated[str, typer.Argument(help="A YAML file, or the name of a built-in search.")],
    overrides: Annotated[list[str] | None, typer.Argument(help="Config values to change: key.subkey=value ...")] = None,
    run: Annotated[Path | None, typer.Option(help="The folder of the results; default: runs/search-NAME.")] = None,
    storage: Storage = None,
    workers: Annotated[int, typer.Option(help="Number of processes on this machine.", min=1)] = 1,
    trials: Annotated[int | None, typer.Option(help="Number of trainings; default: the config's.", min=1)] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of the sampler; default: the config's.", min=0)] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Continue a search, or join that in --storage.")] = False,
) -> None:
    """Search for architectures: train graphs of a space under a proxy, and keep the best as YAML.

    The folder gets the best graphs, a line per trial, and a report page. Ctrl-C saves the running trainings.

    Example: spinenet-tf search demo --workers 2 --run runs/search
    """
    from spinenet_tf.cli.search_tables import search_table
    from spinenet_tf.search.searching import run_search

    given = [f"{key}={value}" for key, value in (("trials", trials), ("seed", seed)) if value is not None]
    folder = run or Path("runs") / f"search-{Path(config).stem}"
    with interruptible(), _shown() as watch:
        found = run_search(
            config,
            folder,
            storage=storage,
            workers=workers,
            overrides=[*(overrides or []), *given],
            resume=resume,
            watch=watch,
        )
    show_whole(search_table(found))
    console.print(f"Wrote {found.report}. Next: spinenet-tf search-compare {folder}", soft_wrap=True)


def search_compare(
    run: Folder,
    named: Annotated[str, typer.Option("--with", help="The model whose graph is compared.")] = "spinenet_49",
    best: Annotated[int, typer.Option(help="Number of best graphs.", min=1)] = 1,
    seeds: Annotated[int, typer.Option(help="Trainings of each graph.", min=1)] = 3,
    storage: Storage = None,
) -> None:
    """Train the best graphs of a search and a named graph again, with several seeds, under the search's proxy.

    The named graph is trained as it is, and at the width at which it has the multiply-adds of the best graph. The same
    command continues after an interruption.

    Example: spinenet-tf search-compare runs/search --with spinenet_49 --seeds 3
    """
    from spinenet_tf.cli.search_tables import comparison_table
    from spinenet_tf.search.comparison import compare, contestants
    from spinenet_tf.search.report import write_search_report
    from spinenet_tf.search.results import best_of, graph_of
    from spinenet_tf.search.searching import load_search

    config, study = load_search(run, storage)
    graphs = [graph_of(config, trial) for trial in best_of(study, best)]
    with console.status("Counting multiply-adds"):
        found = contestants(graphs, named, config.proxy)
    show_whole(comparison_table(compare(run, found, seeds, track=with_progress)))
    console.print(f"Wrote {write_search_report(run, config, study)}.", soft_wrap=True)


def search_correlate(
    run: Folder,
    graphs: Annotated[int, typer.Option(help="Number of graphs, spread over all ranks.", min=3)] = 8,
    times: Annotated[int, typer.Option(help="Length of the new training relative to the proxy's.", min=2)] = 3,
    storage: Storage = None,
) -> None:
    """Train some graphs of a search longer, and tell if the proxy ranks graphs as a longer training does.

    The same command continues after an interruption.

    Example: spinenet-tf search-correlate runs/search --graphs 8 --times 3
    """
    from spinenet_tf.search.correlation import correlate
    from spinenet_tf.search.report import write_search_report
    from spinenet_tf.search.searching import load_search

    config, study = load_search(run, storage)
    found = correlate(run, config, study, graphs, times, track=with_progress)
    console.print(
        f"{found.graphs} graphs, trained {found.times} times as long: Kendall {found.kendall:.2f} "
        f"(p {found.kendall_p:.2g}), Spearman {found.spearman:.2f} (p {found.spearman_p:.2g}).",
        soft_wrap=True,
    )
    console.print(f"Wrote {write_search_report(run, config, study)}.", soft_wrap=True)


@contextmanager
def _shown() -> Iterator[Callable[[Progress], None]]:
    """Yield a function that shows the progress of a search as a bar."""
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn
    from rich.progress import Progress as Bar

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[told]}"))
    with Bar(*columns, console=console) as bar:
        task = bar.add_task("Searching", told="")

        def watch(progress: Progress) -> None:
            bar.update(task, completed=progress.done, total=progress.trials, told=_told(progress))

        yield watch


def _told(progress: Progress) -> str:
    """Return the best value, the trials that were not trained, and the time left."""
    best = "-" if progress.best is None else f"{progress.best:.4f}"
    others = [f"{count} {name}" for name, count in progress.counts.items() if count and name not in ("trained",)]
    left = progress.seconds_left
    time = "" if left is None else f", {left / 60:.0f} min left"
    return f"best {best}{time} ({', '.join(others) or 'nothing else'})"
