"""A graph survives its YAML file; errors in a file name the place and the valid values."""

from __future__ import annotations

from dataclasses import replace

import pytest

from spinenet_tf import ArchitectureSpec, BlockSpec
from spinenet_tf._files.writing import WriteError
from spinenet_tf.nets.graphs import R0_SP53, R23_SP30, R50_FPN, SPINENET, SPINENET_MOBILE

GRAPHS = {spec.name: spec for spec in (SPINENET, SPINENET_MOBILE, R0_SP53, R23_SP30, R50_FPN)}
MINE = ArchitectureSpec(
    "mine",
    (2, 2),
    (
        BlockSpec(4, "bottleneck", (0, 1), expansion=2.5),
        BlockSpec(3, "mbconv", (1, 2), is_output=True, width=24, repeats=2),
        BlockSpec(1, "residual", (3,)),
    ),
    round_to=8,
)
TEXT = """\
# A graph of spinenet_tf. Comments number the blocks; the nodes of the stem come first, from 0.
name: mine
stem: [2, 2]
widths: {1: 32, 2: 64, 3: 128, 4: 256, 5: 256, 6: 256, 7: 256}
stem_conv: resnet
stem_block: bottleneck
resampling: alpha
fusion: blocks
round_to: 8
blocks:
  - {level: 4, kind: bottleneck, parents: [0, 1], is_output: false, expansion: 2.5}  # 2
  - {level: 3, kind: mbconv, parents: [1, 2], is_output: true, width: 24, repeats: 2}  # 3
  - {level: 1, kind: residual, parents: [3], is_output: false}  # 4
"""


@pytest.mark.parametrize("name", GRAPHS)
def test_a_graph_survives_its_file(name, tmp_path):
    GRAPHS[name].save(tmp_path / "graph.yaml")
    assert ArchitectureSpec.load(tmp_path / "graph.yaml") == GRAPHS[name]


def test_a_file_is_read_by_people(tmp_path):
    MINE.save(tmp_path / "mine.yaml")
    assert (tmp_path / "mine.yaml").read_text() == TEXT
    assert ArchitectureSpec.load(str(tmp_path / "mine.yaml")) == MINE


@pytest.mark.parametrize("name", ["49", "yes", "1e5", "null", "0x1F", "1_000", "2026-01-01"])
def test_a_name_stays_text(name, tmp_path):
    replace(MINE, name=name).save(tmp_path / "mine.yaml")
    assert ArchitectureSpec.load(tmp_path / "mine.yaml").name == name


def test_a_name_needs_no_quotes(tmp_path):
    (tmp_path / "mine.yaml").write_text(TEXT.replace("name: mine", "name: 49"))
    assert ArchitectureSpec.load(tmp_path / "mine.yaml").name == "49"


def test_a_short_file_has_the_defaults_of_a_spec(tmp_path):
    path = tmp_path / "short.yaml"
    path.write_text(
        "name: short\nstem: [2, 2]\nblocks: [{level: 3, kind: residual, parents: [0, 1], is_output: true}]\n"
    )
    block = BlockSpec(3, "residual", (0, 1), is_output=True)
    assert ArchitectureSpec.load(path) == ArchitectureSpec("short", (2, 2), (block,))


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("stem_conv", "stem_cnv", r"mine.yaml: A graph: Unknown key 'stem_cnv'. Did you mean 'stem_conv'\? Valid:"),
        ("parents: [1, 2]", "parent: [1, 2]", r"mine.yaml: Block 3: Unknown key 'parent'. Did you mean 'parents'\?"),
        ("level: 3, ", "", "mine.yaml: Block 3 is missing keys: level. Received: kind, parents"),
        ("parents: [1, 2]", "parents: [1, 7]", "mine.yaml: Block 3 reads block 7, which is built later"),
        ("parents: [1, 2]", "parents: 1", "mine.yaml: Block 3 needs one or two parents: .*Received: parents=1"),
        ("kind: mbconv", "kind: mbconf", "mine.yaml: Block 3 has an unknown kind.*'mbconf'"),
        ("width: 24", "width: wide", "mine.yaml: The width of block 3 must be .*Received: width='wide'"),
        ("{1: 32,", "{one: 32,", "mine.yaml: `widths` must map levels .*'one': 32"),
        ("stem: [2, 2]", "stem: 2", "mine.yaml: `stem` must have two or more levels"),
        ("name: mine", "name: ", "mine.yaml: A name must have at most 100 characters"),
        ("name: mine", "name: mine\nname: mine", "mine.yaml is not YAML: the key 'name' occurs twice"),
        (TEXT, "[1, 2]", r"mine.yaml: A graph must be a mapping. Received: \[1, 2\]"),
        (TEXT, "name: [", "mine.yaml is not YAML"),
    ],
)
def test_a_file_with_a_fault_is_refused_by_name(old, new, message, tmp_path):
    assert old in TEXT
    (tmp_path / "mine.yaml").write_text(TEXT.replace(old, new))
    with pytest.raises(ValueError, match=message):
        ArchitectureSpec.load(tmp_path / "mine.yaml")


def test_a_file_that_is_not_there_is_said_to_be_missing(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"Graph file not found: .*mine\.yaml"):
        ArchitectureSpec.load(tmp_path / "mine.yaml")


def test_a_file_is_written_whole_or_not_at_all(tmp_path, monkeypatch):
    path = tmp_path / "mine.yaml"
    MINE.save(path)
    with pytest.raises(FileExistsError, match="overwrite=True"):
        R50_FPN.save(path, overwrite=False)

    def fail(*_) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.replace", fail)
    with pytest.raises(WriteError, match="was not written, and what was there is unchanged"):
        R50_FPN.save(path)
    assert ArchitectureSpec.load(path) == MINE
    assert [entry.name for entry in tmp_path.iterdir()] == ["mine.yaml"]
