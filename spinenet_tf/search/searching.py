"""Search for architectures with the worker processes of this machine, beside those of others."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna

from spinenet_tf._files.writing import write_whole
from spinenet_tf.search.config import Overrides, SearchConfig, read_search_config
from spinenet_tf.search.outcomes import count_outcomes, used
from spinenet_tf.search.proxy import train_proxy
from spinenet_tf.search.report import write_search_report
from spinenet_tf.search.results import TRIALS, best_of, ranked, write_best, write_trials
from spinenet_tf.search.stores import open_store
from spinenet_tf.search.study import open_study
from spinenet_tf.search.worker import POLL, SearchError
from spinenet_tf.search.workers import Workers
from spinenet_tf.training.config import ConfigError

CONFIG, JOURNAL = "config.yaml", "study.journal"
LOGS, TRAININGS = "logs", "trainings"
_PER_PROCESS = 8  # trainings: each leaves about 0.1 GB of memory to TensorFlow


@dataclass(frozen=True)
class Progress:
    """How far a search is."""

    done: int  # trials of the budget
    trials: int  # the budget
    best: float | None  # the best value, or the best AP on a front
    counts: Mapping[str, int]  # trials by outcome
    seconds: float  # since this process started
    started_at: int  # trials that were done then

    @property
    def seconds_left(self) -> float | None:
        """The time left at this machine's speed so far."""
        done = self.done - self.started_at
        return None if done <= 0 else (self.trials - self.done) * self.seconds / done


@dataclass(frozen=True)
class SearchResult:
    """A finished search."""

    folder: Path
    study: optuna.Study  # Optuna's, with all trials
    graphs: list[Path]  # YAML files of the best graphs, the best first
    report: Path  # the page


def run_search(
    config: SearchConfig | Mapping[str, Any] | str | os.PathLike,
    run: str | os.PathLike,
    *,
    storage: str | os.PathLike | None = None,
    workers: int = 1,
    overrides: Overrides = (),
    resume: bool = False,
    watch: Callable[[Progress], None] = lambda progress: None,
    train: Callable[..., float] = train_proxy,
) -> SearchResult:
    """Search for architectures as a config says, and write the best graphs, all trials and a report page.

        result = spinenet_tf.search.run_search("demo", "runs/search", workers=2)
        detector = spinenet_tf.detector(spinenet_tf.ArchitectureSpec.load(result.graphs[0]), 80)

    Args:
        config: the name of a config of the package, a YAML file, or its content.
        run: the folder for the results of this machine.
        storage: where the workers of all machines meet: the path of a journal, or the URL of a database, such as
            `postgresql://user@host/name`. Default: a journal in the folder.
        workers: the number of processes on this machine.
        overrides: values of the config to change, as in `spinenet_tf.train`.
        resume: continue the search in the folder, or join the search in the storage.
        watch: called twice a second.
        train: trains a graph and returns its AP; it must be importable. See `search.proxy.train_proxy`.

    Raises:
        ConfigError: the config is invalid, or the search was started with another one.
        FileExistsError: the folder or the search exists, and `resume` is not set.
        SearchError: many trainings in a row failed, or the sampler finds no new graphs.
        KeyboardInterrupt: Ctrl-C was pressed; the trials that ran are queued again.
    """
    resolved, folder = read_search_config(config, overrides), Path(run)
    if folder.exists() and not resume:
        raise FileExistsError(f"{folder} exists. Pass --resume to continue, or choose another folder.")
    folder.mkdir(parents=True, exist_ok=True)
    where = str(storage or folder / JOURNAL)
    store = open_store(where, resolved.name, retries=resolved.retries, heartbeat=resolved.heartbeat)
    study = open_study(store, resolved, resume=resume, where=where)
    write_whole(folder / CONFIG, resolved.to_yaml())
    crew = Workers(
        workers,
        folder / LOGS,
        (resolved, where, folder / TRAININGS),
        {"train": train, "most": _PER_PROCESS},
        max_kills=resolved.max_failures,
    )
    try:
        _oversee(crew, study, resolved, folder, watch)
    except SearchError:
        if ranked(study):  # what was found is not lost
            finish(folder, resolved, study)
        raise
    return finish(folder, resolved, study)


def _oversee(
    crew: Workers, study: optuna.Study, config: SearchConfig, folder: Path, watch: Callable[[Progress], None]
) -> None:
    """Let the workers run to the end, and keep `trials.jsonl` up to date; stop them if this is interrupted."""
    start, first, written = time.monotonic(), used(study.get_trials(deepcopy=False)), -1
    crew.start()
    try:
        runs = True
        while runs:
            runs = crew.run_on()
            trials = study.get_trials(deepcopy=False)
            progress = _progress(study, config, time.monotonic() - start, first)
            if progress.done != written:
                write_trials(folder, trials)
                written = progress.done
            watch(progress)
            time.sleep(POLL)
    except KeyboardInterrupt:
        message = "The search was interrupted, and its trials are queued again. Continue with --resume."
        raise KeyboardInterrupt(message) from None
    finally:
        crew.stop()
        write_trials(folder, study.get_trials(deepcopy=False))


def _progress(study: optuna.Study, config: SearchConfig, seconds: float, first: int) -> Progress:
    trials, best = study.get_trials(deepcopy=False), best_of(study, 1)
    value = best[0].values[0] if best else None
    return Progress(used(trials), config.trials, value, count_outcomes(trials), seconds, first)


def finish(folder: Path, config: SearchConfig, study: optuna.Study) -> SearchResult:
    """Write the best graphs and the report.

    Raises:
        SearchError: no training ended.
    """
    graphs = write_best(folder, config, study)
    if not graphs:
        raise SearchError(f"No training ended: see {folder / TRIALS}.")
    return SearchResult(folder, study, graphs, write_search_report(folder, config, study))


def load_search(run: str | os.PathLike, storage: str | os.PathLike | None = None) -> tuple[SearchConfig, optuna.Study]:
    """Return the config and the study of an earlier search.

    Raises:
        ConfigError: the folder is not that of a search.
    """
    folder = Path(run)
    where = str(storage or folder / JOURNAL)
    if not (folder / CONFIG).is_file() or not ("://" in where or Path(where).is_file()):
        raise ConfigError(f"{folder} is not the folder of a search, or its storage is elsewhere: pass --storage.")
    config = read_search_config(folder / CONFIG)
    store = open_store(where, config.name, retries=config.retries, heartbeat=config.heartbeat)
    try:
        return config, optuna.load_study(study_name=config.name, storage=store.storage)
    except KeyError:
        raise ConfigError(f"{where} has no search {config.name!r}.") from None
