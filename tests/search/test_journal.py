"""A journal survives writers that are killed: an incomplete last line is cut off before the next one is written."""

from __future__ import annotations

import optuna
import pytest
import synthetic
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend


def tear(path) -> None:
    """Leave what a process leaves that is killed while it appends."""
    with path.open("ab") as file:
        file.write(b'{"op_code":4,"worker_id":"1-')


def test_a_torn_line_does_not_lose_the_study(tmp_path):
    _, study, _ = synthetic.new_study(tmp_path, synthetic.config())
    study.add_trial(optuna.create_trial(value=0.25))
    tear(tmp_path / "study.journal")
    study.add_trial(optuna.create_trial(value=0.5))  # the lock mends the file also for a process that has it open
    tear(tmp_path / "study.journal")
    _, again, _ = synthetic.new_study(tmp_path, synthetic.config())
    again.add_trial(optuna.create_trial(value=0.75))
    _, last, _ = synthetic.new_study(tmp_path, synthetic.config())
    assert [trial.value for trial in last.trials] == [0.25, 0.5, 0.75]


def test_optuna_alone_loses_such_a_study(tmp_path):
    """If this fails, Optuna mends journals, and `MendingLock` is not needed any more."""
    path = tmp_path / "optuna.journal"
    backend = JournalFileBackend(str(path))
    optuna.create_study(storage=JournalStorage(backend))
    tear(path)
    for _ in range(2):
        backend.append_logs([{}])
    with pytest.raises(ValueError, match=r"Invalid|Expecting|Unterminated|Extra"):
        JournalStorage(JournalFileBackend(str(path)))


def test_a_file_that_is_no_journal_is_refused(tmp_path):
    (tmp_path / "study.journal").write_text("not JSON\n{}\n")
    with pytest.raises(ValueError, match="is damaged, and is not the journal of a search"):
        synthetic.new_study(tmp_path, synthetic.config())
