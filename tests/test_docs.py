"""Links, names and commands of the pages are valid, and the tutorial's commands run, with a shortened training."""

from __future__ import annotations

import configparser
import importlib.util
import json
import pickle
import re
import shlex
import shutil
from inspect import ismodule
from pathlib import Path
from types import ModuleType

import pytest
import typer
import yaml
from pydantic import TypeAdapter

import spinenet_tf
from spinenet_tf import cli
from spinenet_tf.data.formats.digits import write_digits
from spinenet_tf.nets.family import VARIANTS
from spinenet_tf.training.config_file import find_config
from spinenet_tf.training.sources import Source

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = sorted([*ROOT.glob("*.md"), *DOCS.glob("**/*.md"), *ROOT.glob("benchmarks/*.md")])
PAGE = DOCS / "your-own-data.md"
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
@pytest.mark.filterwarnings("ignore:OpenCV:UserWarning")  # supervision's import recommends it
def test_train_on_your_own_data(tmp_path, monkeypatch, succeed, tiny_row):
    """The page's net has a tiny graph here; `tests/test_readme.py` runs a sample with a net of the family."""
    monkeypatch.setitem(VARIANTS, "spinenet_mobile_49xs", tiny_row)
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"```(python|sh)\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    assert [language for language, _ in blocks] == ["python", "sh", "sh", "sh", "python"]
    exec(re.sub(r"\b(200|40)\b", "6", blocks[0][1]), {})
    commands = [shlex.split(line) for language, lines in blocks if language == "sh" for line in lines.splitlines()]
    for program, command, *arguments in commands:
        assert program == "spinenet-tf"
        succeed(command, *arguments, *(SHORT if command == "train" else []))
    assert len(list((tmp_path / "found").glob("*.png"))) == 6
    assert (tmp_path / "runs" / "mine" / "model-int8.tflite").is_file()
    assert (tmp_path / "found-int8" / "detections.jsonl").is_file()
    for given, short in (("(256, 256", "(64, 64"), ("16, augment", "3, augment"), ("epochs=30", "epochs=1")):
        assert given in blocks[-1][1]
        blocks[-1] = ("python", blocks[-1][1].replace(given, short))
    exec(blocks[-1][1], {})
    assert (tmp_path / "mine.weights.h5").is_file()
    assert (tmp_path / "found.png").is_file()
    assert (tmp_path / "mine.tflite").is_file()
    _try_the_page_on_evaluation(tmp_path)


def _try_the_page_on_evaluation(folder: Path) -> None:
    """Run its first and last sample on the run and the photos of the tutorial; the others need masks or detections."""
    samples = re.findall(r"```python\n(.*?)```", (DOCS / "evaluate.md").read_text(encoding="utf-8"), re.DOTALL)
    assert len(samples) == 5
    shutil.rmtree(folder / "report")
    shutil.copy(next((folder / "photos" / "val").iterdir()), folder / "photo.jpg")
    exec(samples[0] + samples[-1], {})
    assert (folder / "report" / "index.html").is_file()
    assert (folder / "results.json").is_file()
    assert (folder / "drawn.jpg").is_file()


def _script(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, DOCS / f"{name}.py")
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    return script


def test_the_settings_page_is_up_to_date(tmp_path):
    _script("write_settings").write(tmp_path / "settings.md")
    assert (tmp_path / "settings.md").read_text() == (DOCS / "settings.md").read_text(), "run docs/write_settings.py"
    rows = [line.split(" | ") for line in (tmp_path / "settings.md").read_text().splitlines() if line.startswith("| `")]
    assert len(rows) > 30
    assert all(len(row) == 4 and len(row[3]) > 4 for row in rows), "each option has a comment"


@pytest.mark.slow
def test_tables_of_computed_figures_are_up_to_date(tmp_path, summary_rows):
    script, tables = _script("write_tables"), []
    script.summarize = lambda: list(summary_rows.values())  # to build all models once
    for page in PAGES:
        tables += (found := re.findall(r"<!-- table: (\w+) -->", page.read_text(encoding="utf-8")))
        if found:
            script.write(Path(shutil.copy(page, tmp_path / page.name)))
            assert (tmp_path / page.name).read_text() == page.read_text(), f"run docs/write_tables.py {page.name}"
    assert sorted(tables) == sorted(script.TABLES)


def test_the_notebook_has_the_text_and_the_code_of_its_page(tmp_path):
    _script("write_notebook").write(DOCS / "first-detector.md", tmp_path / "first-detector.ipynb")
    written = (DOCS / "first-detector.ipynb").read_text(encoding="utf-8")
    assert (tmp_path / "first-detector.ipynb").read_text(encoding="utf-8") == written, "run docs/write_notebook.py"
    assert [cell["cell_type"] for cell in json.loads(written)["cells"]].count("code") > 5


# A cell before the notebook's first: its net has a tiny graph.
TINY = """
import pickle
from spinenet_tf.nets.family import VARIANTS

VARIANTS["spinenet_mobile_49xs_lite"] = pickle.loads(bytes.fromhex("{}"))
"""


@pytest.mark.slow
def test_the_notebook_runs_and_ends_with_a_picture(tmp_path, monkeypatch, tiny_row):
    import nbformat
    from nbclient import NotebookClient

    monkeypatch.setenv("SPINENET_TF_SHORT", "1")
    notebook = nbformat.read(DOCS / "first-detector.ipynb", as_version=4)
    notebook.cells.insert(0, nbformat.v4.new_code_cell(TINY.format(pickle.dumps(tiny_row).hex())))
    NotebookClient(notebook, timeout=600, kernel_name="python3", resources={"metadata": {"path": tmp_path}}).execute()
    outputs = [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]
    text = "".join(output.get("text", "") for output in outputs)
    assert re.search(r"^AP \d\.\d{3}", text, re.MULTILINE), text
    assert re.search(r"^\d\.\d\d MB; AP", text, re.MULTILINE), text
    assert sum("image/png" in output.get("data", {}) for output in outputs) == 2
    assert (tmp_path / "digits-int8.tflite").is_file()


def test_every_dependency_is_explained():
    settings = configparser.ConfigParser()
    settings.read(ROOT / "setup.cfg", encoding="utf-8")
    extras = settings["options.extras_require"]
    listed = "\n".join([settings["options"]["install_requires"], *extras.values()])
    table = (DOCS / "dependencies.md").read_text(encoding="utf-8")
    names = {re.split(r"[\[<>=~]", line)[0] for line in listed.split()} - {"spinenet_tf"}
    assert {name for name in names if not re.search(rf"(?<![\w-]){name}(?![\w-])", table, re.IGNORECASE)} == set()
    page = (DOCS / "install.md").read_text(encoding="utf-8")
    assert set(extras) == set(re.findall(r"`(\w+)`", "".join(re.findall(r"^\| (`.*?`) \|", page, re.MULTILINE))))


def test_the_samples_of_the_page_on_extension_run(tmp_path, monkeypatch):
    from spinenet_tf.nets import family

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(family, "VARIANTS", dict(family.VARIANTS))
    monkeypatch.setattr(family, "_REGISTERED", set(family._REGISTERED))
    printed: list = []
    text = (DOCS / "extend.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    exec("\n".join(blocks), {"print": printed.append})
    assert [str(line) for line in printed] == re.findall(r"^print\(.*\)  # (.*)$", text, re.MULTILINE)


def test_every_page_is_in_the_navigation_of_the_site():
    site = yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))

    def listed(entry) -> list[str]:
        if isinstance(entry, str):
            return [entry]
        return [page for part in (entry.values() if isinstance(entry, dict) else entry) for page in listed(part)]

    assert sorted(listed(site["nav"])) == sorted(str(page.relative_to(ROOT)) for page in PAGES)


def test_the_api_reference_has_every_public_name_and_no_other():
    text = "\n".join(page.read_text(encoding="utf-8") for page in DOCS.glob("api/*.md"))
    modules = [spinenet_tf, *(part for name in spinenet_tf.__all__ if ismodule(part := getattr(spinenet_tf, name)))]
    names = {f"{module.__name__}.{name}" for module in modules for name in module.__all__}
    names -= {module.__name__ for module in modules}
    assert set(re.findall(r"^::: (\S+)$", text, re.MULTILINE)) == names


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_a_blank_line_comes_before_each_list_and_table(page: Path) -> None:
    """GitHub does not need it, but the site would join the lines into one paragraph."""
    text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    assert not re.findall(r"^(?![-|#<\s]|\d+\. )\S.*\n(?:- |\d+\. |\| ).*", text, re.MULTILINE)


# Sections, figures and tables of arXiv 1912.05027; a section stands for its subsections that are not listed.
PARTS = {
    *(f"§ {section}" for section in ("1", "2", "3", "3.1", "3.2", "3.3", "3.4", "4.1", "4.2")),
    *(f"§ {section}" for section in ("5.1", "5.2", "5.3", "5.4", "5.5", "5.6", "6")),
    *(f"figure {number}" for number in range(1, 7)),
    *(f"table {number}" for number in range(1, 12)),
    "appendix A",
    "appendix B",
}


def test_the_map_of_the_paper_has_every_part_and_names_only_what_exists():
    page = (DOCS / "paper.md").read_text(encoding="utf-8")
    rows = [line.split(" | ") for line in page.splitlines() if re.match(r"\| (§|figure|table|appendix)", line)]
    parts = [part for row in rows for part in re.sub(r"tables (\d+) and", r"table \1, table", row[0][2:]).split(", ")]
    assert sorted(parts) == sorted(PARTS)
    for name in re.findall(r"`(.*?)`", "".join(row[2] for row in rows)):
        if name.startswith("spinenet-tf "):
            assert name.split()[1] in typer.main.get_command(cli.app).commands, name
        elif "/" not in name:  # `test_named_files_and_make_targets_exist` checks files
            assert name in typer.main.get_command(cli.app).commands or find_config(name).is_file(), name


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
    (code,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    values: dict = {}
    exec(code, values)
    assert code.partition("# ")[2].partition("...")[0] == repr(values["dataset"]).partition("10 classes")[0]
    assert int(values["batches"].cardinality()) == 1
    commands = re.findall(r"^    spinenet-tf (.*)$", text, re.MULTILINE)
    assert len(commands) == 5
    for command in commands:
        succeed(*shlex.split(command))
    assert (tmp_path / "sheet.png").is_file()
    assert (tmp_path / "records" / "train" / "train-00009-of-00010.tfrecord").is_file()
    assert (tmp_path / "back" / "annotations.json").is_file()
    assert (tmp_path / "yolo" / "labels" / "000001.txt").is_file()
