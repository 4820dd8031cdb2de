"""Test the drawings of graphs: what they show, their files, and messages for other models."""

from __future__ import annotations

from dataclasses import replace

import pytest
from matplotlib.colors import to_hex
from matplotlib.patches import FancyArrowPatch

from spinenet_tf import list_models, plot_architecture
from spinenet_tf.nets.graph_shapes import OUTPUT
from spinenet_tf.nets.spec_checks import BLOCK_KINDS
from spinenet_tf.nets.wiring import wiring


def _words(axes) -> list[str]:
    return [text.get_text() for text in axes.texts]


def test_a_drawing_shows_every_node_and_connection(tiny_spec):
    (axes,) = plot_architecture(tiny_spec).axes
    nodes, edges = wiring(tiny_spec, tiny_spec.output_levels)
    arrows = [patch for patch in axes.patches if isinstance(patch, FancyArrowPatch)]
    shapes = [patch for patch in axes.patches if patch not in arrows]
    assert (len(shapes), len(arrows)) == (len(nodes), len(edges)) == (8, 14)
    assert [arrow.get_linestyle() for arrow in arrows].count("--") == 1, "node 2 is read by no block"
    assert sorted(_words(axes)) == sorted([*map(str, range(8)), "P3", "P4", "P5"])
    red = [shape for shape in shapes if to_hex(shape.get_edgecolor()) == OUTPUT]
    assert len(red) == 3
    assert axes.get_title(loc="left") == "tiny"


def test_each_kind_has_its_own_shape(tiny_spec):
    blocks = [replace(block, kind=kind) for block, kind in zip(tiny_spec.blocks[2:], BLOCK_KINDS, strict=True)]
    figure = plot_architecture(replace(tiny_spec, blocks=(*tiny_spec.blocks[:2], *blocks)))
    shapes = [patch for patch in figure.axes[0].patches if not isinstance(patch, FancyArrowPatch)][-len(BLOCK_KINDS) :]
    assert len({(type(shape), len(shape.get_path())) for shape in shapes}) == len(BLOCK_KINDS)
    (legend,) = figure.legends
    assert "fused MBConv block" in [text.get_text() for text in legend.get_texts()]


@pytest.mark.parametrize("name", list_models())
def test_every_model_can_be_drawn(name):
    (axes,) = plot_architecture(name).axes
    assert axes.get_title(loc="left") == name
    assert len({word for word in _words(axes) if word.startswith("P")}) == (1 if name == "resnet_18" else 5)


def test_a_model_is_drawn_with_its_own_levels(tiny_backbone, tiny_spec):
    figure = plot_architecture([tiny_backbone, tiny_spec])
    assert [axes.get_title(loc="left") for axes in figure.axes] == ["tiny", "tiny"]
    assert _words(figure.axes[0]) == _words(figure.axes[1])


@pytest.mark.parametrize(("suffix", "start"), [(".svg", b"<?xml"), (".png", b"\x89PNG"), (".PDF", b"%PDF")])
def test_a_drawing_is_written_by_the_suffix_of_its_file(tiny_spec, tmp_path, suffix, start):
    path = tmp_path / f"tiny{suffix}"
    plot_architecture(tiny_spec, path)
    assert path.read_bytes().startswith(start)
    with pytest.raises(FileExistsError, match="tiny"):
        plot_architecture(tiny_spec, path, overwrite=False)


def test_equal_graphs_give_equal_svg_files(tiny_spec, tmp_path):
    first, second = tmp_path / "first" / "a.svg", tmp_path / "second" / "a.svg"
    for path in (first, second):
        path.parent.mkdir()
        plot_architecture(tiny_spec, path)
    assert first.read_bytes() == second.read_bytes()


def test_other_files_and_models_are_refused_in_one_line(tiny_spec, tmp_path):
    with pytest.raises(ValueError, match=r"one of \.svg, \.png, \.pdf\. Received: to_file='tiny.jpg'"):
        plot_architecture(tiny_spec, "tiny.jpg")
    with pytest.raises(ValueError, match="Received: an object of type int"):
        plot_architecture(3)
    with pytest.raises(ValueError, match="spinenet_50"):
        plot_architecture("spinenet_50")
