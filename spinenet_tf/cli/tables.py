"""Tables for the terminal."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rich.table import Table

from spinenet_tf.evaluation.accuracy import Accuracy
from spinenet_tf.evaluation.average_precision import Evaluation

if TYPE_CHECKING:
    from spinenet_tf.export.check.measurement import Benchmark
    from spinenet_tf.export.litert.sensitivity import Sensitivity
    from spinenet_tf.inference.inspection import Inspection


def summary_table(rows: Sequence[Mapping[str, Any]]) -> Table:
    """Show what `family_costs.summarize` returned; published figures stand in brackets behind the counted ones."""
    table = Table(title="Multiply-adds of the detector's convs; published figures in brackets")
    columns = (
        "model",
        "input",
        "backbone M",
        "detector M",
        "classifier M",
        "published order B",
        "as run B",
        "FLOPs B",
        "AP",
    )
    for column in columns:
        table.add_column(column, justify="left" if column == "model" else "right", no_wrap=True)
    for row in rows:
        published, macs = row["published"], row["macs"] / 1e9
        table.add_row(
            row["name"],
            str(row["input"]),
            f"{row['backbone_params'] / 1e6:.2f}",
            _counted(row["detector_params"] / 1e6, published["params_m"], 2),
            f"{row['classifier_params'] / 1e6:.2f}",
            _counted(row["macs_published_order"] / 1e9, published["macs_b"], 1 if macs > 5 else 3),
            f"{macs:.{1 if macs > 5 else 3}f}",
            f"{2 * macs:.{1 if macs > 5 else 3}f}",
            "-" if published["ap"] is None else f"({published['ap']})",
        )
    return table


def measured_table(numbers: Evaluation | Accuracy) -> Table:
    """Show what was measured of a model, whatever its task."""
    return accuracy_table(numbers) if isinstance(numbers, Accuracy) else evaluation_table(numbers)


def evaluation_table(evaluation: Evaluation) -> Table:
    """Show COCO's twelve numbers beside the AP of each class, and under them what keeps these from 1."""
    numbers = Table(box=None, show_header=False)
    for name, label in evaluation.labels.items():
        numbers.add_row(label, _defined(getattr(evaluation, name)))
    classes = Table(box=None, show_header=False)
    for name, ap in evaluation.per_class.items():
        classes.add_row(name, _defined(ap))
    table = Table("COCO" if evaluation.is_coco else "not COCO's", "AP by class", caption=" ".join(evaluation.remarks()))
    table.add_row(numbers, classes)
    return table


def inspection_table(found: Inspection) -> Table:
    """Show what `inference.inspection.inspect` returned."""
    table = Table(show_header=False)
    table.add_row("operations", _times(found.ops))
    if found.float_ops != found.ops:
        table.add_row("of these in float", _times(found.float_ops) or "-")
    table.add_row("largest rank", str(found.max_rank))
    table.add_row("XNNPACK partitions", str(found.xnnpack_partitions))
    table.add_row("not run by XNNPACK", _times(found.xnnpack_leaves) or "-")
    table.add_row("activations alive at once", f"{found.arena_bytes / 1e6:.2f} MB")
    table.add_row("file", f"{found.file_bytes / 1e6:.2f} MB")
    for end, tensors in (("input", found.inputs), ("output", found.outputs)):
        for name, tensor in sorted(tensors.items()):
            table.add_row(f"{end} {name}", f"{tensor['dtype']} {tensor['shape']}")
    return table


def sensitivity_tables(found: Sensitivity, layers: int = 20) -> tuple[Table, Table]:
    """Show what `export.litert.sensitivity.find_sensitive` returned: the parts, and the noisiest layers."""
    parts = Table("kept in float", title="What keeping a part in float gains at the outputs")
    for column in ("operations", "gain", *(f"error of {name}" for name in found.errors), "ms"):
        parts.add_column(column, justify="right")
    kept = ", ".join(found.kept) or "nothing"
    rows = [(kept, "", "", found.errors, found.milliseconds)]
    rows += [(p.pattern, str(p.operations), f"{p.gain:.1%}", p.errors, p.milliseconds) for p in found.parts]
    for name, count, gain, errors, milliseconds in rows:
        parts.add_row(name, count, gain, *(f"{error:.5f}" for error in errors.values()), f"{milliseconds:.2f}")
    parts.caption = "Root mean squares of the difference to Keras. Hand a name back: --keep-float NAME"
    noisy = Table("layer", "operations", title=f"The noisiest of {len(found.layers)} layers")
    for column in ("range", "error in steps", "noise"):
        noisy.add_column(column, justify="right")
    for layer in found.layers[:layers]:
        low, high = layer.range
        operations = ", ".join(layer.operations)
        noisy.add_row(layer.layer, operations, f"{low:.3g} to {high:.3g}", f"{layer.steps:.2f}", f"{layer.noise:.1%}")
    noisy.caption = "A layer's own error: in steps of its scale (rounding alone: 0.29), and relative to its outputs"
    return parts, noisy


def benchmark_table(found: Benchmark) -> Table:
    """Show what `export.check.measurement.benchmark` returned."""
    table = Table(title="One image, from normalized pixels to the host's memory")
    table.add_column("model", overflow="fold")
    table.add_column("engine", no_wrap=True)
    for column in ("threads", "gives", "median ms", "p90 ms", "memory MB", "file MB", "AP"):
        table.add_column(column, justify="left" if column == "gives" else "right", no_wrap=True)
    for row in found.measurements:
        table.add_row(
            row.model,
            row.engine,
            str(row.threads or "-"),
            "detections" if row.detects else "raw outputs",
            f"{row.median_ms:.1f}",
            f"{row.p90_ms:.1f}",
            "-" if row.memory_bytes is None else f"{row.memory_bytes / 1e6:.1f}",
            f"{row.file_bytes / 1e6:.2f}",
            "-" if row.ap is None else _defined(row.ap),
        )
    table.caption = (
        f"{found.repeats} calls in turns. Memory: by how much the resident peak of a process of its own grows while it "
        f"loads and runs, without the engine's libraries. Threads: TensorFlow takes what it likes of "
        f"{found.machine['cores']} cores."
    )
    return table


def _times(ops: Mapping[str, int]) -> str:
    return ", ".join(f"{count} {name}" for name, count in ops.items())


def accuracy_table(accuracy: Accuracy) -> Table:
    """Show top-1 and top-5 accuracy beside the top-1 of each class."""
    numbers = Table(box=None, show_header=False)
    for name, value in (("top-1", accuracy.top1), ("top-5", accuracy.top5)):
        numbers.add_row(name, _defined(value))
    numbers.add_row("images", str(accuracy.images))
    classes = Table(box=None, show_header=False)
    for name, value in accuracy.per_class.items():
        classes.add_row(name, _defined(value))
    table = Table("accuracy", "top-1 by class")
    table.add_row(numbers, classes)
    return table


def statistics_table(name: str, statistics: Mapping[str, Any]) -> Table:
    """Show what `data.checking.check` counted in a data set, the objects of each class beside it."""
    numbers = Table(box=None, show_header=False)
    for key, value in statistics.items():
        if key == "classes":
            continue
        told = ", ".join(f"{k} {v}" for k, v in value.items()) if isinstance(value, dict) else str(value)
        numbers.add_row(key.replace("_", " "), "-" if value is None else told)
    classes = Table(box=None, show_header=False)
    for label, count in statistics["classes"].items():
        classes.add_row(label, str(count))
    table = Table(name, "by class")
    table.add_row(numbers, classes)
    return table


def demo_table(summary: Mapping[str, Any]) -> Table:
    """Show what `demonstration.run_demo` returned."""
    table = Table("format", "AP", "size MB", "ms per image", "where", title="What the demo made")
    accuracy = {"keras_weights": summary["ap_float"], "tflite_int8": summary["ap_int8"]}
    for name, path in summary["paths"].items():
        ap = f"{accuracy[name]:.3f}" if name in accuracy else "as Keras"
        size, latency = summary["sizes_bytes"][name] / 1e6, summary["latencies_ms"][name]
        table.add_row(name, ap, f"{size:.2f}", f"{latency:.1f}", path)
    table.add_row("detections of the int8 file", "", "", "", summary["picture"])
    table.caption = f"on this machine, in {summary['seconds']:.0f} s"
    return table


def _counted(value: float, published: float | None, digits: int) -> str:
    return f"{value:.{digits}f}" + ("" if published is None else f" ({published})")


def _defined(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.3f}"
