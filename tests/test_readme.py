"""The sample in the README runs as it stands, in a fresh process, and its detector learns."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

README = Path(__file__).parents[1] / "README.md"


@pytest.mark.slow
def test_the_sample_ends_with_a_picture_an_ap_and_an_int8_file(tmp_path: Path) -> None:
    sample = re.findall(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)[0]
    assert len(sample.splitlines()) <= 36
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run([sys.executable, "-c", sample], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    assert float(re.search(r"^AP (\d\.\d+)", done.stdout, re.MULTILINE)[1]) > 0.2, done.stdout
    with Image.open(tmp_path / "digits.png") as picture:
        assert min(picture.size) >= 96
    assert (tmp_path / "digits.tflite").read_bytes()[4:8] == b"TFL3"
