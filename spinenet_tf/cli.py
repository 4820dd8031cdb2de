"""The command line: `spinenet-tf COMMAND`. A user's mistake ends in one line and exit code 2."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from rich.console import Console

from spinenet_tf import dataset_cli, family, native_output

app = typer.Typer(
    add_completion=False,
    pretty_exceptions_enable=False,
    help="SpineNet for Keras 3: train detectors, evaluate them, and ship them as SavedModel or TFLite.",
)
console = Console()
app.add_typer(dataset_cli.app, name="dataset")

Quantization = Literal["none", "fp16", "dynamic", "int8", "int16x8"]
Target = Literal["cpu", "gpu", "npu", "mediapipe"]
Inputs = Literal["float32", "uint8"]
Outputs = Literal["raw", "decoded", "detections", "postprocess"]
Format = Literal["tflite", "saved_model", "onnx", "web"]
ModelPath = Annotated[Path, typer.Argument(help="The folder of a run, or a .tflite file.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace what is there.")]


@app.callback()
def prepare() -> None:
    # No docstring: it would stand in place of the help text above.
    if not {"list", "--help"} & set(sys.argv):
        native_output.import_tensorflow()


@app.command("list")
def list_models(kind: Annotated[str | None, typer.Argument(help="Only this kind.")] = None) -> None:
    """List the models.

    Example: spinenet-tf list mobile
    """
    for name in family.list_models(kind):
        console.print(name, highlight=False)


@app.command()
def summary(
    names: Annotated[list[str] | None, typer.Argument(help="Only these models.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Count parameters and multiply-adds of every model, beside the published figures.

    Example: spinenet-tf summary spinenet_49 spinenet_mobile_49
    """
    from spinenet_tf.summary import summarize

    names = names or family.list_models()
    with console.status("Building the models"):
        rows = summarize(names)
    if as_json:
        print(json.dumps(rows, indent=2))
        return
    from spinenet_tf.tables import summary_table

    # Wider than a piped terminal claims to be: a cut table is of no use.
    Console(width=max(console.width, 130)).print(summary_table(rows))


@app.command()
def train(
    config: Annotated[str, typer.Argument(help="A YAML file, or the name of a config that is shipped.")],
    overrides: Annotated[list[str] | None, typer.Argument(help="key.subkey=value ...")] = None,
    run: Annotated[Path | None, typer.Option(help="The run's folder; default: runs/NAME.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on after the last saved step, exactly.")] = False,
    overwrite: Overwrite = False,
    smoke: Annotated[bool, typer.Option("--smoke", help="Only try it: two steps, tiny net, made-up images.")] = False,
) -> None:
    """Train a detector, or a classifier, as a config says.

    Example: spinenet-tf train digits epochs=2 --run runs/short
    """
    from spinenet_tf.training.config import find_config, read_config

    path = find_config(config)
    folder = run or Path("runs") / path.stem
    resolved = read_config(path, overrides)
    if smoke:
        _try_out(resolved, folder, resume=resume, overwrite=overwrite)
    else:
        train_config(resolved, folder, resume=resume, overwrite=overwrite)
    console.print(f"The run is in {folder}. Next: spinenet-tf evaluate {folder}", soft_wrap=True)


@app.command()
def evaluate(
    model: ModelPath,
    annotations: Annotated[Path | None, typer.Option(help="COCO JSON; default: the run's validation data.")] = None,
    images: Annotated[Path | None, typer.Option(help="The folder of its images.")] = None,
    output: Annotated[Path | None, typer.Option("--json", help="Also write the numbers to this file.")] = None,
    report: Annotated[Path | None, typer.Option(help="Also write a page with curves and pictures to a folder.")] = None,
    threshold: Annotated[float, typer.Option(help="Lowest score of what the report shows.", min=0.0, max=1.0)] = 0.3,
    overwrite: Overwrite = False,
) -> None:
    """Print COCO's twelve numbers and the AP of each class; of a classifier how often it is right.

    Example: spinenet-tf evaluate runs/digits --report digits-report
    """
    if output and not output.parent.is_dir():
        raise FileNotFoundError(f"There is no folder {output.parent} to write into.")
    if _is_classifier(model):
        if report:
            raise ValueError("A report is made of a detector. Received: --report with a classifier")
        _evaluate_classifier(model, annotations, images, output)
        return
    if report:
        from spinenet_tf.evaluation.report import check_report_folder

        check_report_folder(report, overwrite)
    from spinenet_tf.evaluation.coco import evaluate as measure
    from spinenet_tf.evaluation.inference import detect_in_dataset, in_classes_of
    from spinenet_tf.predictor import load_predictor
    from spinenet_tf.tables import evaluation_table

    predictor = load_predictor(model)
    dataset = _dataset(model, annotations, images)
    found = detect_in_dataset(predictor.predict, dataset, predictor.image_size)
    found = in_classes_of(dataset, predictor.class_names, found)
    detections = list(_with_progress(found, len(dataset), "Detecting"))
    numbers = measure(dataset, detections)
    console.print(evaluation_table(numbers))
    if output:
        output.write_text(json.dumps(numbers.to_dict(), indent=2))
    if report:
        from spinenet_tf.evaluation.report import write_report

        options: dict[str, Any] = {"model": str(model), "threshold": threshold, "overwrite": overwrite}
        page = write_report(report, dataset, detections, numbers, **options)
        console.print(f"The report is {page}.", soft_wrap=True)


@app.command()
def predict(
    source: Annotated[Path, typer.Argument(help="An image, or a folder of images.")],
    model: Annotated[Path, typer.Option(help="The folder of a run, or a .tflite file.")],
    output: Annotated[Path, typer.Option(help="Where pictures and detections.json go.")] = Path("predictions"),
    threshold: Annotated[float, typer.Option(help="Lowest score that is drawn.", min=0.0, max=1.0)] = 0.3,
    overwrite: Overwrite = False,
) -> None:
    """Detect objects: write a picture with boxes for each image, and all detections as JSON; or classify images.

    Example: spinenet-tf predict photo.jpg --model runs/digits
    """
    from spinenet_tf.predictor import detect_in_files, image_files, load_predictor

    files = image_files(source)
    if output.exists() and not overwrite:
        raise ValueError(f"{output} exists. Pass --overwrite to write into it.")
    if _is_classifier(model):
        _classify(model, files, output)
        return
    predictor = load_predictor(model)
    detected = detect_in_files(predictor, files, output, threshold)
    count = sum(1 for _ in _with_progress(detected, len(files), "Detecting"))
    console.print(f"{count} pictures and detections.json are in {output}.", soft_wrap=True)


@app.command()
def export(
    run: Annotated[Path, typer.Argument(help="The folder of a run.")],
    form: Annotated[Format, typer.Option("--format", help="What to write.")] = "tflite",
    quantization: Annotated[Quantization, typer.Option(help="Of TFLite and web.")] = "none",
    target: Annotated[Target | None, typer.Option(help="The engine that a TFLite file is for; default: cpu.")] = None,
    inputs: Annotated[Inputs | None, typer.Option(help="Of TFLite: normalised, or pixels; default: target's.")] = None,
    outputs: Annotated[Outputs | None, typer.Option(help="Of TFLite; default: the target's.")] = None,
    output: Annotated[Path | None, typer.Option(help="Default: inside the run's folder.")] = None,
    annotations: Annotated[Path | None, typer.Option(help="COCO JSON to calibrate and check by; default: own.")] = None,
    images: Annotated[Path | None, typer.Option(help="The folder of its images.")] = None,
    nms: Annotated[bool | None, typer.Option(help="Of SavedModel: detections, or every anchor.")] = None,
    overwrite: Overwrite = False,
) -> None:
    """Export a run's best weights, and check the artifact against Keras.

    Example: spinenet-tf export runs/digits --format tflite --quantization int8
    """
    from spinenet_tf.export.run import export_run

    with console.status(f"Exporting {run}"):
        options: dict[str, Any] = {"target": target, "inputs": inputs, "outputs": outputs, "nms": nms}
        report = export_run(run, form, quantization, output, overwrite, _coco(annotations, images), **options)
    console.print(f"Wrote {report.path}, {report.size / 1e6:.2f} MB.", soft_wrap=True)
    console.print(f"Largest difference to Keras: {report.difference['max']:.2g} of the largest output.", soft_wrap=True)
    if report.ap:
        console.print(f"AP {report.ap['keras']:.3f} in Keras, {report.ap['exported']:.3f} exported.", soft_wrap=True)


@app.command()
def inspect(
    model: Annotated[Path, typer.Argument(help="A .tflite file of any origin.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Show what a TFLite file asks of an engine: operations, ranks, delegate partitions, memory.

    Example: spinenet-tf inspect runs/digits/model-int8.tflite
    """
    from spinenet_tf.export.inspection import inspect as look_into

    found = look_into(model)
    if as_json:
        print(json.dumps(found.to_dict(), indent=2))
        return
    from spinenet_tf.tables import inspection_table

    console.print(inspection_table(found))


@app.command()
def benchmark(
    models: Annotated[list[Path], typer.Argument(help="Folders of runs or SavedModels, .tflite and .onnx files.")],
    quantization: Annotated[list[str] | None, typer.Option(help="Export runs anew like this; may be repeated.")] = None,
    threads: Annotated[int | None, typer.Option(help="Up to so many; default: the cores.", min=1)] = None,
    repeats: Annotated[int, typer.Option(help="Calls of each.", min=1)] = 50,
    raw: Annotated[bool, typer.Option("--raw", help="Without decoding and NMS.")] = False,
    memory: Annotated[bool, typer.Option(help="Also measure memory, each in a process of its own.")] = True,
    ap: Annotated[bool, typer.Option("--ap", help="Also measure AP, on a run's validation data.")] = False,
    annotations: Annotated[Path | None, typer.Option(help="COCO JSON for AP in place of a run's data.")] = None,
    images: Annotated[Path | None, typer.Option(help="The folder of its images.")] = None,
    output: Annotated[Path | None, typer.Option("--json", help="Also write the numbers to this file.")] = None,
    plot: Annotated[Path | None, typer.Option(help="Draw AP against latency into this PNG; needs --ap.")] = None,
) -> None:
    """Measure latency, memory, file size and AP of a detector in all its forms, side by side.

    Example: spinenet-tf benchmark runs/digits --ap --plot tradeoff.png
    """
    for file in (output, plot):
        if file and not file.parent.is_dir():
            raise FileNotFoundError(f"There is no folder {file.parent} to write into.")
    if plot and (not ap or plot.suffix != ".png"):
        raise ValueError(f"A plot needs --ap and a name that ends in .png. Received: {plot}")
    if (annotations or images) and not ap:
        raise ValueError("--annotations and --images are for --ap.")
    from spinenet_tf.export.benchmark import benchmark as measure
    from spinenet_tf.export.tradeoff import draw_tradeoff
    from spinenet_tf.tables import benchmark_table

    options: dict[str, Any] = {"dataset": _coco(annotations, images), "quantizations": quantization or ()}
    found = measure(models, threads, repeats, raw, memory, ap, track=_with_progress, **options)
    # Wider than a piped terminal claims to be: a cut table is of no use.
    Console(width=max(console.width, 130)).print(benchmark_table(found))
    if output:
        output.write_text(json.dumps(found.to_dict(), indent=2))
    if plot:
        plot.write_bytes(draw_tradeoff(found.measurements))


@app.command()
def convert(
    source: Annotated[Path, typer.Argument(help="A checkpoint of TF Model Garden (its prefix or folder), or a run.")],
    target: Annotated[Path, typer.Argument(help="A new run folder, a .weights.h5 file, or a checkpoint's prefix.")],
    overrides: Annotated[list[str] | None, typer.Argument(help="Of the model: key=value ...")] = None,
    model: Annotated[str | None, typer.Option(help="What the checkpoint holds, such as spinenet_49.")] = None,
    class_names: Annotated[Path | None, typer.Option(help="A name a line, the background first.")] = None,
    image_size: Annotated[tuple[int, int] | None, typer.Option(help="Height and width; default: published.")] = None,
    trained: Annotated[bool, typer.Option("--trained", help="Take the weights as trained, not averaged.")] = False,
    ignore: Annotated[list[str] | None, typer.Option(help="Leave out variables that begin so.")] = None,
    classifier: Annotated[bool, typer.Option("--classifier", help="Write all of a classifier.")] = False,
    overwrite: Overwrite = False,
) -> None:
    """Convert a checkpoint of TF Model Garden into a run, or into backbone weights; or a run into a checkpoint.

    Example: spinenet-tf convert ckpt-277200 runs/coco activation=swish --model spinenet_49
    """
    from spinenet_tf.base import SUFFIX
    from spinenet_tf.checkpoints import convert as conversion

    if model is None:
        conversion.convert_run(source, target)
    else:
        values = conversion.parse_overrides(overrides or [])
        options: dict[str, Any] = {"averaged": not trained, "ignore": ignore or (), "overwrite": overwrite}
        if target.name.endswith(SUFFIX):
            conversion.convert_weights(source, target, model, as_classifier=classifier, overrides=values, **options)
        else:
            names = class_names.read_text(encoding="utf-8").splitlines() if class_names else None
            sizes: dict[str, Any] = {"image_size": image_size, "class_names": names}
            conversion.convert_detector(source, target, model, overrides=values, **sizes, **options)
    console.print(f"Wrote {target}.", soft_wrap=True)


@app.command()
def demo(
    run: Annotated[Path, typer.Option(help="The run's folder; the scenes go to data beside it.")] = Path("runs/demo"),
    overwrite: Overwrite = False,
) -> None:
    """Train on the embedded digits, evaluate, export, run the TFLite file, and draw the result, in a few minutes.

    Example: spinenet-tf demo
    """
    from spinenet_tf.demo import run_demo

    run_demo(run, overwrite=overwrite, console=console)


def _try_out(config, folder: Path, **options) -> None:
    """Train a config shrunk to seconds; its images go to a temporary folder."""
    from tempfile import TemporaryDirectory

    from spinenet_tf.training.smoke import smoke

    with TemporaryDirectory() as images:
        train_config(smoke(config, Path(images)), folder, **options)


def train_config(config, folder: Path, **options) -> None:
    """Train what a config's task asks for."""
    if config.task == "classification":
        from spinenet_tf.training.classification import train_classifier

        train_classifier(config, folder, **options)
    else:
        from spinenet_tf.training.recipe import train as train_detector

        train_detector(config, folder, **options)


def _is_classifier(model: Path) -> bool:
    from spinenet_tf.classify import is_classifier

    return is_classifier(model)


def _evaluate_classifier(run: Path, annotations: Path | None, images: Path | None, output: Path | None) -> None:
    from spinenet_tf.classify import load_classifier
    from spinenet_tf.data.image_folder import read_image_folder
    from spinenet_tf.tables import accuracy_table
    from spinenet_tf.training.run import Run

    if annotations:
        raise ValueError("A classifier is evaluated on a folder of class folders: give --images alone.")
    dataset = read_image_folder(images) if images else Run(run).config().own_images().read("val")
    with console.status("Classifying"):
        numbers = load_classifier(run).evaluate(dataset)
    console.print(accuracy_table(numbers))
    if output:
        output.write_text(json.dumps(numbers.to_dict(), indent=2))


def _classify(run: Path, files: list[Path], output: Path) -> None:
    from spinenet_tf.classify import classify_files, load_classifier

    found = classify_files(load_classifier(run), files, output)
    for name, classes in found.items():
        console.print(f"{name}: {classes[0]['class']} ({classes[0]['score']:.3f})", soft_wrap=True, highlight=False)
    console.print(f"{len(found)} images are classified in {output / 'classes.json'}.", soft_wrap=True)


def _coco(annotations: Path | None, images: Path | None):
    if (annotations is None) != (images is None):
        raise ValueError("--annotations and --images go together.")
    if annotations is None or images is None:
        return None
    from spinenet_tf.data.coco import read_coco

    return read_coco(annotations, images)


def _dataset(model: Path, annotations: Path | None, images: Path | None):
    dataset = _coco(annotations, images)
    if dataset is not None:
        return dataset
    if not model.is_dir():
        raise ValueError("A .tflite file has no data of its own: give --annotations and --images.")
    from spinenet_tf.training.run import Run

    return Run(model).config().own_data().read("val")


def _with_progress(items, total: int, title: str):
    from rich.progress import track

    return track(items, title, total, console=console)


def main() -> None:
    """Run the command line: exit 0 on success, 2 with one line on a user's mistake.

    With `SPINENET_TF_DEBUG` set, a mistake shows its traceback, and native libraries their logs. A training that
    SIGTERM stopped has saved its state: 0.
    """
    from spinenet_tf.training.preemption import Preempted

    try:
        # Outside of its standalone mode typer leaves errors to us, and returns what would be the exit code.
        sys.exit(app(sys.argv[1:] or ["--help"], prog_name="spinenet-tf", standalone_mode=False))
    except Preempted as stop:
        console.print(str(stop), soft_wrap=True)
        sys.exit(0)
    except (typer.TyperException, ValueError, OSError, RuntimeError, ImportError) as error:
        if os.environ.get(native_output.DEBUG):
            raise
        message = error.format_message() if isinstance(error, typer.TyperException) else str(error)
        print(f"spinenet-tf: {' '.join(message.split())}", file=sys.stderr)
        sys.exit(2)
