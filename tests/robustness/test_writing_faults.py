"""Test that a system error at any step, or a kill, leaves either the old artifact or the complete new one."""

from __future__ import annotations

import errno
import itertools
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import spinenet_tf
from spinenet_tf._files import writing
from spinenet_tf._files.writing import WriteError, made, new_folder, remove_leftovers, staged, write_whole

STEPS = ("mkdir", "open", "fsync", "rename", "replace", "link")  # of the module os, that writing goes through


def file(folder: Path, text: str) -> None:
    write_whole(folder / "a.txt", text)


def several(folder: Path, text: str) -> None:
    with staged(folder / "a.txt") as part:
        part.write_text(text)
        for suffix in (".json", ".labels"):
            part.with_suffix(suffix).write_text(text)


def in_place_of_a_folder(folder: Path, text: str) -> None:
    with staged(folder / "made", replaces=lambda _: True) as part:
        (part / "inside").mkdir(parents=True)
        (part / "inside" / "a.txt").write_text(text)


def beside(folder: Path, text: str) -> None:
    with made(folder / "new" / "parents"):
        write_whole(folder / "new" / "parents" / "a.txt", text)


WRITERS = (file, several, in_place_of_a_folder, beside)


def tree(folder: Path) -> dict[str, str | None]:
    return {str(path.relative_to(folder)): path.read_text() if path.is_file() else None for path in folder.rglob("*")}


@pytest.mark.parametrize("writer", WRITERS)
def test_after_a_fault_at_any_step_what_stood_there_stands(writer, tmp_path: Path, monkeypatch, promise) -> None:
    cases = 0
    for former, step, code in itertools.product((False, True), STEPS, (errno.ENOSPC, errno.EACCES, errno.EIO)):
        for number in itertools.count(1):
            folder = tmp_path / f"{former}-{step}-{code}-{number}"
            folder.mkdir()
            if former:
                writer(folder, "former")
            before, fault = tree(folder), Fault(step, code, number)
            with monkeypatch.context() as patch:
                patch.setattr(os, step, fault)
                error = error_of(writer, folder)
            if fault.calls < number:  # it was written in fewer calls
                break
            cases += 1
            found = {path: text for path, text in tree(folder).items() if step != "open" or writing.PART not in path}
            assert found == before if error else "new" in found.values(), (step, code, number)
            assert error is None or isinstance(error, WriteError) or error.errno == errno.EIO
            assert set(found.values()) - {None} in ({"former"}, {"new"}, set()), "never half of it"
    promise("Writing: after a system error at any step, the old or the new artifact is complete", cases=cases)


def error_of(writer, folder: Path) -> OSError | None:
    try:
        writer(folder, "new")
    except OSError as error:
        return error
    return None


class Fault:
    """A replacement of an `os` function that fails at the given call."""

    def __init__(self, step: str, code: int, number: int):
        self.real, self.code, self.number, self.calls = getattr(os, step), code, number, 0

    def __call__(self, path, *arguments, **options):
        self.calls += 1
        if self.calls == self.number:
            raise OSError(self.code, os.strerror(self.code), str(path))
        return self.real(path, *arguments, **options)


# Writes ever longer versions of a file, of several and of a folder; knows nothing of Keras, so that it starts at once.
PROGRAM = """
import importlib.util, itertools, pathlib, sys
spec = importlib.util.spec_from_file_location("writing", sys.argv[1])
writing = sys.modules["writing"] = importlib.util.module_from_spec(spec)
spec.loader.exec_module(writing)
folder = pathlib.Path(sys.argv[2])
writing.remove_leftovers(folder)
print("ready", flush=True)
for number in itertools.count():
    writing.write_whole(folder / "a.txt", str(number % 10) * 200_000)
"""


def test_a_file_is_whole_after_any_kill(tmp_path: Path, promise) -> None:
    kills = 25
    write_whole(tmp_path / "a.txt", "0" * 200_000)
    for kill in range(kills):
        command = [sys.executable, "-c", PROGRAM, writing.__file__, str(tmp_path)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout.readline() == "ready\n"
            time.sleep(0.002 * kill)
            process.send_signal(signal.SIGKILL)
        text = (tmp_path / "a.txt").read_text()
        assert text == text[0] * 200_000
        assert len(list(tmp_path.iterdir())) <= 2, "the file, and what the killed process was writing"
    remove_leftovers(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["a.txt"]
    promise("Writing: a file is complete after kill -9 at any time", cases=kills)


def test_what_appears_is_on_the_disk_first(tmp_path: Path, monkeypatch) -> None:
    order: list[str] = []
    flush, replace = os.fsync, os.replace
    monkeypatch.setattr(
        os, "fsync", lambda handle: (order.append(os.readlink(f"/proc/self/fd/{handle}")), flush(handle))
    )
    monkeypatch.setattr(os, "replace", lambda *paths: (order.append("rename"), replace(*paths)))
    file(tmp_path, "new")
    assert [Path(step).name for step in order if step.endswith(("a.txt", "rename"))] == ["a.txt", "rename"]
    assert order[-1] == str(tmp_path), "a rename is durable when its folder is"


def test_a_new_folder_is_refused_where_something_is(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    with (
        pytest.raises(FileExistsError, match=r"data exists; delete it or choose another folder"),
        new_folder(tmp_path / "data"),
    ):
        pytest.fail("the block is not entered")
    with pytest.raises(FileExistsError, match=r"never replaced"):
        write_whole(tmp_path / "data", "text")


def test_an_error_in_the_block_takes_all_back_and_is_told_as_it_is(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), new_folder(tmp_path / "parents" / "data") as workplace:
        (workplace / "half").write_text(str(1 / 0))
    source = tmp_path / "unreadable.jpg"
    with (
        pytest.raises(WriteError, match=rf"a\.txt was not written, .*: Permission denied: {source}"),
        staged(tmp_path / "a.txt"),
    ):
        raise PermissionError(errno.EACCES, "Permission denied", str(source))
    assert list(tmp_path.iterdir()) == []


def test_nothing_else_in_the_package_renames_or_makes_temporary_files() -> None:
    """Only one module implements atomic writing, and one appending."""
    root = Path(spinenet_tf.__file__).parent
    own = re.compile(r"os\.(replace|rename|link|fsync)\b|mkstemp|mkdtemp|NamedTemporaryFile|shutil\.move")
    sources = [*root.rglob("*.py"), *(root.parent / "export").rglob("*.py")]
    found = sorted(path.name for path in sources if own.search(path.read_text()))
    assert found == ["appending.py", "writing.py"]
