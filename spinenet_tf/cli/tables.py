"""Build the tables that commands print."""

from __future__ import annotations

import math
from collections.abc import Container, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rich.table import Table

from spinenet_tf.evaluation.accuracy import Accuracy
from spinenet_tf.evaluation.metrics import Evaluation

if TYPE_CHECKING:
    from spinenet_tf.data.checking import Findings
    from spinenet_tf.export.check.measurement import Benchmark
    from spinenet_tf.export.litert.sensitivity import Sensitivity
    from spinenet_tf.search.ladder_results import Result
    from spinenet_tf.search.ladder_runs import Job
    from spinenet_tf.training.plan import Plan


def summary_table(rows: Sequence[Mapping[str, Any]]) -> Table:
    """Build a table of the rows of `family_costs.summarize`, with published figures in parentheses, and notes below."""
    table = Table(title="Multiply-adds of the detector's convs; published figures in parentheses")
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
            "-" if row["classifier_params"] is None else f"{row['classifier_params'] / 1e6:.2f}",
            _counted(row["macs_published_order"] / 1e9, published["macs_b"], 1 if macs > 5 else 3),
            f"{macs:.{1 if macs > 5 else 3}f}",
            f"{2 * macs:.{1 if macs > 5 else 3}f}",
            "-" if published["ap"] is None else f"({published['ap']})",
        )
    table.caption, table.caption_justify = _notes(rows), "left"
    return table


def _notes(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return one line for each note, with the models that it is about."""
    names: dict[str, list[str]] = {}
    for row in rows:
        names.setdefault(row["published"]["note"], []).append(row["name"])
    return "\n".join(f"{', '.join(found)}: {note}." for note, found in names.items() if note)


def measured_table(numbers: Evaluation | Accuracy) -> Table:
    """Build a table of the metrics of either task."""
    return accuracy_table(numbers) if isinstance(numbers, Accuracy) else evaluation_table(numbers)


def evaluation_table(evaluation: Evaluation) -> Table:
    """Build a table of the 12 COCO metrics and the AP per class, with the evaluation's remarks as caption.

    With masks, each has a column of boxes and one of masks.
    """
    shapes = evaluation.shapes
    numbers, classes = (Table("", *shapes, box=None, show_header=len(shapes) > 1) for _ in range(2))
    for name, label in evaluation.labels.items():
        numbers.add_row(label, *(_defined(getattr(of, name)) for of in shapes.values()))
    for name in evaluation.per_class:
        classes.add_row(name, *(_defined(of.per_class[name]) for of in shapes.values()))
    title = "COCO metrics" if evaluation.is_coco else "non-COCO metrics"
    table = Table(title, "AP by class", caption=" ".join(evaluation.remarks()))
    table.add_row(numbers, classes)
    return table


def sensitivity_tables(found: Sensitivity, layers: int = 20) -> tuple[Table, Table]:
    """Build two tables of the result of `export.litert.sensitivity.find_sensitive`: parts, and noisiest layers."""
    parts = Table("kept in float", title="Reduction of the output error by keeping one part in float")
    for column in ("operations", "gain", *(f"error of {name}" for name in found.errors), "ms"):
        parts.add_column(column, justify="right")
    kept = ", ".join(found.kept) or "nothing"
    rows = [(kept, "", "", found.errors, found.milliseconds)]
    rows += [(p.pattern, str(p.operations), f"{p.gain:.1%}", p.errors, p.milliseconds) for p in found.parts]
    for name, count, gain, errors, milliseconds in rows:
        parts.add_row(name, count, gain, *(f"{error:.5f}" for error in errors.values()), f"{milliseconds:.2f}")
    parts.caption = "Errors are root mean square differences from Keras. Keep a part in float: --keep-float NAME"
    noisy = Table("layer", "operations", title=f"The noisiest of {len(found.layers)} layers")
    for column in ("range", "error in steps", "noise"):
        noisy.add_column(column, justify="right")
    for layer in found.layers[:layers]:
        low, high = layer.range
        operations = ", ".join(layer.operations)
        noisy.add_row(layer.layer, operations, f"{low:.3g} to {high:.3g}", f"{layer.steps:.2f}", f"{layer.noise:.1%}")
    noisy.caption = "Error of each layer alone: in quantization steps (rounding: 0.29), and relative to its outputs"
    return parts, noisy


def benchmark_table(found: Benchmark) -> Table:
    """Build a table of the result of `export.check.measurement.benchmark`."""
    table = Table(title="One call, from normalized pixels to outputs in host memory")
    table.add_column("model", overflow="fold")
    table.add_column("engine", no_wrap=True)
    for column in ("threads", "outputs", "images", "median ms", "p90 ms", "memory MB", "file MB", "AP"):
        table.add_column(column, justify="left" if column == "outputs" else "right", no_wrap=True)
    for row in found.measurements:
        table.add_row(
            row.model,
            row.engine,
            str(row.threads or "-"),
            "detections" if row.detects else "raw",
            str(row.input_shape[0]),
            f"{row.median_ms:.1f}",
            f"{row.p90_ms:.1f}",
            "-" if row.memory_bytes is None else f"{row.memory_bytes / 1e6:.1f}",
            f"{row.file_bytes / 1e6:.2f}",
            "-" if row.ap is None else _defined(row.ap),
        )
    table.caption = (
        f"{found.repeats} alternating calls. Memory: growth of peak resident memory while a separate process loads and "
        f"runs the model, without the engine's libraries. TensorFlow chooses its own number of threads, up to "
        f"{found.machine['cores']}."
    )
    return table


def accuracy_table(accuracy: Accuracy) -> Table:
    """Build a table of top-1 and top-5 accuracy, and top-1 per class."""
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


def statistics_table(findings: Findings) -> Table:
    """Build a table of the statistics of a data set, with the number of objects per class."""
    numbers = Table(box=None, show_header=False)
    for name, text in findings.rows():
        if name != "classes":
            numbers.add_row(name, text)
    classes = Table(box=None, show_header=False)
    for label, count in findings.statistics["classes"].items():
        classes.add_row(label, str(count))
    table = Table(findings.name, "by class")
    table.add_row(numbers, classes)
    return table


def plan_table(found: Plan) -> Table:
    """Build a table of the result of `training.plan.plan`."""
    table = Table(box=None, show_header=False)
    table.add_row("run", str(found.folder))
    table.add_row("steps per epoch", f"{found.steps_per_epoch:,}")
    table.add_row("steps", f"{found.steps:,}")
    table.add_row("parameters", f"{found.parameters:,}")
    table.add_row("trainable parameters", f"{found.trainable_parameters:,}")
    table.add_row("bad training images", f"{found.bad_images:,}")
    return table


def ladder_table(results: Sequence[Result]) -> Table:
    """Build a table of the results of `ladder_results.summarize`."""
    table = Table(title="AP under the proxy, mean and deviation without failed trainings")
    names = ("net", "trainings", "failed", "AP", "spread", "best", "APs", "APm", "M parameters", "M multiply-adds")
    for column in names:
        table.add_column(column, justify="left" if column == "net" else "right", no_wrap=True)
    table.add_column("published AP", justify="right")
    for result in results:
        table.add_row(
            result.rung.name,
            str(len(result.AP)),
            str(len(result.failed)),
            f"{result.mean:.3f}",
            *("-" if ap is None else f"{ap:.3f}" for ap in (result.spread, max(result.AP), result.APs, result.APm)),
            f"{result.parameters / 1e6:.2f}",
            f"{result.multiply_adds / 1e6:,.0f}",
            "-" if result.rung.published is None else f"{result.rung.published}",
        )
    return table


def jobs_table(jobs: Sequence[Job], finished: Container[str]) -> Table:
    """Build a table of the trainings of `ladder_runs.make_jobs`; `finished` are the units that have a result."""
    table = Table("net", "seed", "steps", "M parameters", "M multiply-adds", "is done")
    for job in jobs:
        costs = (f"{job.costs.parameters / 1e6:.2f}", f"{job.costs.multiply_adds / 1e6:,.0f}")
        table.add_row(job.rung.name, str(job.seed), f"{job.steps:,}", *costs, "yes" if job.unit in finished else "no")
    return table


def demo_table(summary: Mapping[str, Any]) -> Table:
    """Build a table of the result of `demonstration.run_demo`."""
    table = Table("format", "AP", "size MB", "ms per image", "path", title="Demo results")
    accuracy = {"keras_weights": summary["ap_float"], "tflite_int8": summary["ap_int8"]}
    for name, path in summary["paths"].items():
        ap = f"{accuracy[name]:.3f}" if name in accuracy else "same as Keras"
        size, latency = summary["sizes_bytes"][name] / 1e6, summary["latencies_ms"][name]
        table.add_row(name, ap, f"{size:.2f}", f"{latency:.1f}", path)
    table.add_row("detections of the int8 file", "", "", "", summary["picture"])
    table.caption = f"Measured on this machine. Total time: {summary['seconds']:.0f} s."
    return table


def _counted(value: float, published: float | None, digits: int) -> str:
    return f"{value:.{digits}f}" + ("" if published is None else f" ({published})")


def _defined(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.3f}"
