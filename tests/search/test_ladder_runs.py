"""The command trains what is missing, goes on after an interruption, and refuses to mix two proxies."""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import pytest

from spinenet_tf import cli
from spinenet_tf._files.ledger import Ledger
from spinenet_tf._files.locks import takes_lock
from spinenet_tf.search import ladder, ladder_runs
from spinenet_tf.search.ladder import Rung
from spinenet_tf.search.ladder_runs import check_proxy
from spinenet_tf.training.config import ConfigError
from spinenet_tf.training.config_file import read_config

pytestmark = [
    pytest.mark.usefixtures("eagerly"),
    pytest.mark.filterwarnings("ignore:Even though the `tf.config.experimental_run_functions_eagerly`"),
]


class Outcome(NamedTuple):
    code: int
    out: str
    err: str


@pytest.fixture
def command(tmp_path, tiny_model, tiny_spec, write_config, monkeypatch, capsys) -> Callable[..., Outcome]:
    """Return `command(*arguments)`, which runs `ladder` on two tiny nets, trained for two steps."""
    wide = replace(tiny_spec, name="wide", widths={2: 4, 3: 4, 4: 8, 5: 12})
    rungs = (
        Rung("fish", "ladder", lambda seed: tiny_spec, 37.5, seeds=1),
        Rung("chain", "edges", lambda seed: wide, seeds=1),
    )
    monkeypatch.setattr(ladder, "LADDER", rungs)
    fixed = [write_config(tmp_path), "epochs=1", "steps_per_epoch=2", "log_images=0", "--run", tmp_path / "ladder"]

    def run(*arguments: object) -> Outcome:
        monkeypatch.setattr(sys, "argv", ["spinenet-tf", "ladder", *map(str, [*fixed, *arguments])])
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            cli.main()
        return Outcome(ended.value.code or 0, *capsys.readouterr())

    return run


def rows(folder: Path) -> dict[str, dict]:
    lines = (folder / "ladder" / "ladder.jsonl").read_text().splitlines()
    return {row["unit"]: row for row in map(json.loads, lines)}


def test_two_nets_are_trained_and_nothing_is_trained_twice(command, tmp_path) -> None:
    code, out, _ = command("--only", "edges")
    assert code == 0
    assert "chain" in out
    first = rows(tmp_path)
    assert list(first) == ["proxy", "machine", "chain, seed 0"]
    assert first["chain, seed 0"]["steps"] == 2
    with (tmp_path / "ladder" / "ladder.jsonl").open("a") as file:
        file.write('{"unit": "fish, seed 0", "AP": ')  # as a killed process leaves it
    code, out, _ = command("--plot", tmp_path / "ladder.svg")
    assert code == 0
    found = rows(tmp_path)
    assert list(found) == [*first, "fish, seed 0"]
    assert found.items() >= first.items()
    assert found["fish, seed 0"]["parameters"] != found["chain, seed 0"]["parameters"]
    assert out.count("chain, seed 0") == 0
    assert out.count("37.5") == 1
    assert "fish" in (tmp_path / "ladder.svg").read_text()


def test_a_stopped_training_goes_on_where_it_stopped(command, tmp_path, monkeypatch) -> None:
    train = ladder_runs.train_proxy

    def stop_after_a_step(*arguments, callbacks, **more):
        (count,) = callbacks

        def stop(batch, logs):
            os.kill(os.getpid(), signal.SIGTERM)

        count.on_train_batch_end = stop
        return train(*arguments, callbacks=callbacks, **more)

    with monkeypatch.context() as patch:
        patch.setattr(ladder_runs, "train_proxy", stop_after_a_step)
        code, out, _ = command("--only", "edges")
    assert code == 0
    assert "Stopped by SIGTERM after step 1" in out
    assert list(rows(tmp_path)) == ["proxy", "machine"]
    states = sorted(path.name for path in (tmp_path / "ladder" / "chain-seed0" / "states").iterdir())
    assert states[0].startswith("epoch-00000-batch-00000001")
    assert command("--only", "edges").code == 0
    assert rows(tmp_path)["chain, seed 0"]["steps"] == 2


def test_a_training_of_another_process_is_left_to_it(command, tmp_path) -> None:
    folder = tmp_path / "ladder"
    folder.mkdir()
    with (folder / "chain-seed0.lock").open("w") as file:
        assert takes_lock(file)
        code, out, _ = command("--only", "edges")
    assert code == 0
    assert "chain, seed 0: another process trains it" in out
    assert list(rows(tmp_path)) == ["proxy", "machine"]


def test_results_of_two_proxies_are_not_mixed(tmp_path, tiny_model, write_config) -> None:
    ledger, config = Ledger(tmp_path / "ladder.jsonl"), read_config(write_config(tmp_path))
    check_proxy(config, ledger)
    moved = ["data.train.digits=elsewhere", "data.val.digits=elsewhere", "seed=4", "evaluation_batch_size=1"]
    check_proxy(read_config(write_config(tmp_path), moved), ledger)
    with pytest.raises(ConfigError, match=r"results of another config; .* Received: \['batch_size'\]"):
        check_proxy(read_config(write_config(tmp_path), ["batch_size=2"]), ledger)
    assert list(ledger.rows()) == ["proxy"]


def test_a_dry_run_writes_no_result(command, tmp_path) -> None:
    code, out, _ = command("--dry-run", "--seeds", 3)
    assert code == 0
    assert len([line for line in out.splitlines() if "fish" in line]) == 3
    assert not (tmp_path / "ladder").exists()


def test_a_mistake_is_one_line(command) -> None:
    for arguments, expected in (
        (["--only", "hourglass"], "Unknown net 'hourglass'"),
        (["--plot", "ladder.pdf"], "ends in .png or .svg"),
        (["steps_per_epoch=null"], "set steps_per_epoch"),
    ):
        code, _, err = command(*arguments)
        assert code == 2
        assert expected in err
        assert len(err.splitlines()) == 1
