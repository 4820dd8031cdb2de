"""Build the tables of `spinenet-tf inspect`."""

from __future__ import annotations

from math import floor

from rich.bar import Bar
from rich.table import Table

from spinenet_tf.inference.inspection import Inspection

BAR = 16  # characters


def costs_table(found: Inspection) -> Table:
    """Build a table with a row per type of operation: its number, costs, and which engines support it."""
    table = Table("operation", title="Costs of one call")
    for column in ("number", "M multiply-adds"):
        table.add_column(column, justify="right")
    table.add_column("of all", width=BAR)
    for column in ("MB moved", *found.engines):
        table.add_column(column, justify="right")
    everything = sum(found.multiply_adds.values())
    costs = {name: (found.multiply_adds.get(name, 0), found.moved_bytes.get(name, 0)) for name in found.ops}
    for name, (work, moved) in sorted(costs.items(), key=lambda item: item[1], reverse=True):
        bar = Bar(everything, 0, work, width=BAR) if work else ""
        left = [engine.leaves.get(name, 0) for engine in found.engines.values()]
        supported = [_supported(found.ops[name], count) for count in left]
        table.add_row(name, str(found.ops[name]), _millions(work), bar, f"{moved / 1e6:.2f}", *supported)
    table.add_section()
    total, moved = sum(found.ops.values()), sum(found.moved_bytes.values())
    supported = [_supported(total, sum(engine.leaves.values())) for engine in found.engines.values()]
    table.add_row("all", str(total), _millions(everything), "", f"{moved / 1e6:.2f}", *supported)
    table.caption = (
        "Multiply-adds: convs and fully connected layers. MB moved: activations, read and written once per operation. "
        "XNNPACK: as LiteRT plans it on this machine. GPU, NPU: operations that phones are documented to support."
    )
    return table


def requirements_table(found: Inspection) -> Table:
    """Build a table of a file's memory, how much of it each engine supports, and its inputs and outputs."""
    table = Table(show_header=False)
    if found.float_ops != found.ops:
        operations = ", ".join(f"{count} {name}" for name, count in found.float_ops.items())
        table.add_row("float operations", operations or "-")
    table.add_row("largest tensor rank", str(found.max_rank))
    table.add_row("XNNPACK partitions", str(found.xnnpack_partitions))
    for engine, coverage in found.engines.items():
        operations, work = _percent(coverage.operations), _percent(coverage.multiply_adds)
        table.add_row(f"supported by {engine}", f"{operations} of operations, {work} of multiply-adds")
    sizes = {"weights": found.weight_bytes, "peak activation memory": found.arena_bytes, "file size": found.file_bytes}
    for title, size in sizes.items():
        table.add_row(title, f"{size / 1e6:.2f} MB")
    for end, tensors in (("input", found.inputs), ("output", found.outputs)):
        for name, tensor in sorted(tensors.items()):
            table.add_row(f"{end} {name}", f"{tensor['dtype']} {tensor['shape']}")
    return table


def _millions(work: int) -> str:
    return f"{work / 1e6:,.2f}" if work else ""


def _supported(count: int, left: int) -> str:
    return {0: "yes", count: "no"}.get(left, f"{count - left} of {count}")


def _percent(fraction: float | None) -> str:
    """Return a percentage that is 100 only for all of it."""
    return "-" if fraction is None else f"{floor(1000 * fraction) / 10:g} %"
