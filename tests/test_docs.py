"""Links, names and commands of the pages are valid, and the tutorial's commands run, with a shortened training."""

from __future__ import annotations

import importlib.util
import re
import shlex
from pathlib import Path

import pytest
import typer
import yaml
from pydantic import TypeAdapter

from spinenet_tf import cli
from spinenet_tf.data.formats.digits import write_digits
from spinenet_tf.training.sources import Source

ROOT = Path(__file__).parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("benchmarks/*.md")])
PAGE = ROOT / "docs" / "your-own-data.md"
SHORT = ["epochs=1", "steps_per_epoch=2", "evaluate_every=1", "batch_size=4", "model.image_size=[64,64]"]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_to_files_and_headings(page: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8")):
        if target.startswith("https://"):
            continue
        path, _, heading = target.partition("#")
        linked = page.parent / path if path else page
        assert linked.exists(), target
        if heading:
            assert heading in _headings(linked), target


def _headings(page: Path) -> set[str]:
    titles = re.findall(r"^#+ (.*)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_and_their_options_exist(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    for line in re.findall(r"^(?: {4})?spinenet-tf ([^|#\n]*)(?:#.*)?$", text, re.MULTILINE):
        command, words = typer.main.get_command(cli.app), shlex.split(line.partition("&&")[0])
        while hasattr(command, "commands"):
            assert words[0] in command.commands, line
            command = command.commands[words.pop(0)]
        valid = {option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts)}
        assert {word.partition("=")[0] for word in words if word.startswith("--")} <= valid, line


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_named_files_and_make_targets_exist(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    targets = re.findall(r"^([\w-]+)(?: [\w-]+)*:", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    assert {name for name in re.findall(r"(?:^ {4}|`)make ([a-z][\w-]*)", text, re.MULTILINE)} <= set(targets)
    folders = "benchmarks|configs|docs|export|spinenet_tf|tests"
    for path in re.findall(rf"`((?:{folders})/[\w./-]*)`", text):
        assert (ROOT / path).exists(), path
    for path in re.findall(r"`([\w/]+/\w+\.py)`", text):
        assert (ROOT / path).exists() or (ROOT / "spinenet_tf" / path).exists(), path


@pytest.mark.slow
def test_train_on_your_own_data(tmp_path, monkeypatch, succeed):
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"```(python|sh)\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    assert [language for language, _ in blocks] == ["python", "sh", "sh", "sh"]
    exec(re.sub(r"\b(200|40)\b", "6", blocks[0][1]), {})
    commands = [shlex.split(line) for _, lines in blocks[1:] for line in lines.splitlines()]
    for program, command, *arguments in commands:
        assert program == "spinenet-tf"
        succeed(command, *arguments, *(SHORT if command == "train" else []))
    assert len(list((tmp_path / "found").glob("*.png"))) == 6
    assert (tmp_path / "runs" / "mine" / "model-int8.tflite").is_file()
    assert (tmp_path / "found-int8" / "detections.json").is_file()


def test_the_settings_page_is_up_to_date(tmp_path):
    path = PAGE.parent / "write_settings.py"
    spec = importlib.util.spec_from_file_location("write_settings", path)
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    script.write(tmp_path / "settings.md")
    assert (tmp_path / "settings.md").read_text() == (PAGE.parent / "settings.md").read_text(), f"run {path.name}"
    rows = [line.split(" | ") for line in (tmp_path / "settings.md").read_text().splitlines() if line.startswith("| `")]
    assert len(rows) > 30
    assert all(len(row) == 4 and len(row[3]) > 4 for row in rows), "each option has a comment"


def test_data_sources_on_the_data_sets_page_are_valid():
    text = (PAGE.parent / "data-sets.md").read_text(encoding="utf-8")
    sources = [TypeAdapter(Source).validate_python(yaml.safe_load(found)) for found in re.findall(r"`(\{.*?\})`", text)]
    kinds = [type(source).__name__ for source in sources]
    assert kinds == ["CocoSource", "TfrecordSource", "YoloSource", "VocSource", "TfdsSource"]


def test_the_commands_on_the_data_sets_page_run_in_order(tmp_path, monkeypatch, succeed):
    text = (PAGE.parent / "data-sets.md").read_text(encoding="utf-8")
    images, annotations = write_digits(tmp_path / "digits", 10)
    (tmp_path / "annotations").mkdir()
    annotations.rename(tmp_path / "annotations" / "train.json")
    images.rename(tmp_path / "train")
    monkeypatch.chdir(tmp_path)
    commands = re.findall(r"^    spinenet-tf (.*)$", text, re.MULTILINE)
    assert len(commands) == 4
    for command in commands:
        succeed(*shlex.split(command))
    assert (tmp_path / "sheet.png").is_file()
    assert (tmp_path / "records" / "train" / "train-00009-of-00010.tfrecord").is_file()
    assert (tmp_path / "back" / "annotations.json").is_file()
