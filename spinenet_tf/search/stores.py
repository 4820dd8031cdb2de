"""Where the workers of one study meet: a journal file, or a database, each with its claims and its lost trials."""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import optuna
from optuna.exceptions import ExperimentalWarning
from optuna.storages import BaseStorage, JournalStorage, RDBStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import TrialState

from spinenet_tf._files.locks import takes_lock
from spinenet_tf.search.claims import Claims, DatabaseClaims, FolderClaims
from spinenet_tf.search.journal import MendingLock
from spinenet_tf.search.retries import fail_and_requeue, never_began, requeue

_DRIVERS = {"postgres": "postgresql+psycopg", "postgresql": "postgresql+psycopg"}  # SQLAlchemy's default is psycopg2
_PATIENCE = 60  # seconds that SQLite waits for other writers


class Store(Protocol):
    """A study's storage, and what Optuna's storages lack."""

    storage: BaseStorage
    claims: Claims

    def working(self, worker: int) -> AbstractContextManager[None]:
        """Return a context in which other workers see that this one lives."""
        ...

    def requeue_stopped(self, study: optuna.Study) -> None:
        """Queue the trials of killed workers again."""
        ...


def open_store(where: str | Path, study: str, *, retries: int, heartbeat: int) -> Store:
    """Open a database, given as URL, or a journal, given as path; create it if it is missing.

    Args:
        where: `sqlite:///FILE`, `postgresql://USER@HOST/NAME`, another URL of SQLAlchemy, or the path of a journal.
        study: the name of the study, since a database may have several.
        retries: how often the trial of a killed worker is queued again.
        heartbeat: seconds between two signs of life in a database; a worker that misses three is considered killed.

    Raises:
        ValueError: the journal is damaged, or the database cannot be reached.
        ImportError: the driver of the database is not installed.
    """
    if "://" in str(where):
        return DatabaseStore(database_url(str(where)), study, retries, heartbeat)
    return JournalStore(Path(where), retries)


def database_url(url: str) -> str:
    """Return a URL with the driver that this package installs, unless it names one."""
    kind, separator, rest = url.partition("://")
    return f"{_DRIVERS.get(kind, kind)}{separator}{rest}"


class JournalStore:
    """A journal file. Beside it are a folder of claims and a folder of locks, one per worker.

    On several machines, the file system must support locks, as NFS does from version 4.
    """

    def __init__(self, path: Path, retries: int):
        self.path, self.retries = path.absolute(), retries  # Optuna's lock is a link, which needs an absolute path
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.locks = path.with_name(f"{path.name}.workers").absolute()
        self.locks.mkdir(exist_ok=True)
        self.claims: Claims = FolderClaims(path.with_name(f"{path.name}.claims").absolute())
        try:
            self.storage: BaseStorage = JournalStorage(JournalFileBackend(str(self.path), MendingLock(self.path)))
        except json.JSONDecodeError as error:
            raise ValueError(f"{path} is damaged, and is not the journal of a search: {error}.") from error

    @contextmanager
    def working(self, worker: int) -> Iterator[None]:
        """Hold the worker's lock, which the system releases when the process ends for any reason."""
        with self._lock_of(worker).open("w") as file:
            if not takes_lock(file):
                raise RuntimeError(f"Another process is worker {worker} of {self.path}.")
            yield

    def requeue_stopped(self, study: optuna.Study) -> None:
        """Queue the trials whose worker's lock is free; do nothing while another worker does the same."""
        with (self.locks / "requeue.lock").open("w") as turn:
            if not takes_lock(turn):
                return
            for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
                worker = trial.user_attrs.get("worker")
                if never_began(trial) if worker is None else self._is_free(worker):
                    fail_and_requeue(study, trial, limit=self.retries)

    def _lock_of(self, worker: int) -> Path:
        return self.locks / f"{worker}.lock"

    def _is_free(self, worker: int) -> bool:
        with self._lock_of(worker).open("a") as file:
            return takes_lock(file)


class DatabaseStore:
    """A database. Each running trial records a sign of life there, so that other machines see if it ended."""

    def __init__(self, url: str, study: str, retries: int, heartbeat: int):
        from sqlalchemy.exc import OperationalError
        from sqlalchemy.pool import NullPool

        self.retries = retries
        # Without a pool, workers hold no connection while they train: a server allows only so many.
        options: dict[str, Any] = {"poolclass": NullPool}
        if url.startswith("sqlite"):
            options["connect_args"] = {"timeout": _PATIENCE}
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", ExperimentalWarning)  # of the heartbeat, tested here
                found = RDBStorage(
                    url,
                    engine_kwargs=options,
                    heartbeat_interval=heartbeat,
                    grace_period=3 * heartbeat,
                    heartbeat_stale_trial_callback=partial(requeue, limit=retries),
                )
        except OperationalError as error:
            raise ValueError(f"The database of the study cannot be opened: {error.orig}") from error
        self.storage: BaseStorage = found
        self.claims: Claims = DatabaseClaims(found.engine, study)

    @contextmanager
    def working(self, worker: int) -> Iterator[None]:
        """Do nothing: Optuna records the signs of life of a trial."""
        yield

    def requeue_stopped(self, study: optuna.Study) -> None:
        """Queue the trials that gave no sign of life for three heartbeats."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ExperimentalWarning)
            optuna.storages.fail_stale_trials(study)
        for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
            if never_began(trial):
                fail_and_requeue(study, trial, limit=self.retries)
