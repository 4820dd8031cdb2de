"""Run .tflite files with LiteRT's builds for this machine and for ARM64, whose processors qemu emulates."""

from __future__ import annotations

import json
import os
import platform
import re
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from datetime import date
from importlib.metadata import distributions
from pathlib import Path

import numpy as np

HERE = Path(__file__).parent
INSTALLED = HERE.parents[1] / ".venv-arm"  # by install.sh
QEMU = INSTALLED / "qemu/usr/bin/qemu-aarch64-static"
# With products of 8-bit vectors; without; and with those of 8-bit and 16-bit matrices and SVE. qemu 7.2 computes the
# 8-bit products of SME wrongly, so that outputs were off by two thirds; with qemu 10 they were those of x86.
PROCESSORS = ("neoverse-n1", "cortex-a53", "max,sme=off")

Files = Mapping[str, tuple[Path, str]]  # the path of a file and the name of its images
Outputs = dict[str, dict[str, np.ndarray]]  # of each file by name, with a row per image


def run_here(files: Files, images: Mapping[str, np.ndarray]) -> Outputs:
    """Return the outputs of all files on this machine."""
    return _run([sys.executable], os.environ, files, images)


def run_on(processor: str, files: Files, images: Mapping[str, np.ndarray]) -> Outputs:
    """Return the outputs of all files on an emulated processor, by its name in qemu."""
    with tempfile.TemporaryDirectory() as root:
        _write_root(Path(root), processor)
        return _run(_python(processor, root), _ENVIRONMENT, files, images)


def litert_version() -> str:
    """Return the version of LiteRT's ARM64 build."""
    return next(distributions(name="ai-edge-litert", path=[str(INSTALLED / "site")])).version


def versions() -> dict[str, str]:
    """Return what the outputs depend on, and the date."""
    model = re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())
    return {
        "date": date.today().isoformat(),
        "litert": litert_version(),
        "qemu": _output_of([QEMU, "--version"], {}).split()[2],
        "machine": model[1] if model else platform.machine(),
    }


def features_of(processor: str) -> set[str]:
    """Return the instruction sets of an emulated processor, as Linux names them."""
    lines = describe(processor).splitlines()
    return set(next(line for line in lines if line.startswith("Features")).split()[2:])


def describe(processor: str) -> str:
    """Return the /proc/cpuinfo of an emulated processor."""
    command = [*_python(processor, INSTALLED / "root"), HERE / "processor.py", os.cpu_count()]
    return _output_of(command, _ENVIRONMENT)


_ENVIRONMENT = {"PYTHONPATH": str(INSTALLED / "site")}


def _python(processor: str, root: str | Path) -> list[str | Path]:
    """Return the command of Python on an emulated processor; qemu looks for absolute paths below `root` first."""
    return [QEMU, "-cpu", processor, "-L", root, INSTALLED / "root/usr/bin/python3"]


def _write_root(folder: Path, processor: str) -> None:
    """Write links to the installed system, and the /proc/cpuinfo of the processor.

    LiteRT crashes if it finds that of an x86 processor, and it chooses its kernels by what it finds.
    """
    for path in (INSTALLED / "root").iterdir():
        (folder / path.name).symlink_to(path)
    (folder / "proc").mkdir()
    (folder / "proc/cpuinfo").write_text(describe(processor))


def _run(
    python: Sequence[str | Path], environment: Mapping[str, str], files: Files, images: Mapping[str, np.ndarray]
) -> Outputs:
    with tempfile.TemporaryDirectory() as name:
        plan, given, found = (Path(name, file) for file in ("files.json", "images.npz", "outputs.npz"))
        plan.write_text(json.dumps({key: [str(path), kind] for key, (path, kind) in files.items()}))
        np.savez(given, **images)
        _output_of([*python, HERE / "run_files.py", plan, given, found], environment)
        with np.load(found) as arrays:
            outputs: Outputs = {key: {} for key in files}
            for key in arrays.files:
                file, _, output = key.rpartition("/")
                outputs[file][output] = arrays[key]
            return outputs


def _output_of(command: Sequence[object], environment: Mapping[str, str]) -> str:
    done = subprocess.run(list(map(str, command)), env=dict(environment), capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{' '.join(map(str, command))}\n{done.stderr[-2000:]}"
    return done.stdout
