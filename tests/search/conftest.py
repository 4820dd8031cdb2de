"""A PostgreSQL server, and searches without the costs of building nets."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from spinenet_tf.search.proxy import Costs

pytest.importorskip("optuna")


@pytest.fixture(scope="session")
def postgres() -> Iterator[str]:
    """Start Debian's PostgreSQL in a temporary folder, and return its URL."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    if not found:
        assert "CI" not in os.environ, "PostgreSQL is missing: apt-get install postgresql"
        pytest.skip("needs Debian's package postgresql")
    programs, folder = found[-1].parent, Path(tempfile.mkdtemp(prefix="postgres-"))
    as_user: list[str] = []
    if os.getuid() == 0:  # the server refuses root
        shutil.chown(folder, "postgres")
        as_user = ["runuser", "-u", "postgres", "--"]

    def run(program: str, *options: str) -> None:
        command = [*as_user, str(programs / program), "--pgdata", str(folder / "data"), *options]
        subprocess.run(command, check=True, cwd=folder, stdout=subprocess.DEVNULL)

    run("initdb", "--auth=trust", "--username=postgres", "--no-sync")
    server = f"-c listen_addresses= -c unix_socket_directories={folder} -c fsync=off"
    run("pg_ctl", "--wait", f"--log={folder / 'log'}", f"--options={server}", "start")
    yield f"postgresql://postgres@/postgres?host={folder}"
    run("pg_ctl", "--wait", "--mode=immediate", "stop")
    shutil.rmtree(folder)


@pytest.fixture
def without_costs(monkeypatch) -> None:
    """Do not build nets to count their multiply-adds."""
    monkeypatch.setattr("spinenet_tf.search.trial_function.count_costs", lambda proxy, spec: Costs(1000, 2000))
