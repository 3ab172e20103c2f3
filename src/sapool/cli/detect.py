"""``sapool detect train``, ``eval``, ``predict`` and ``compare``."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from sapool.base.reading import read_json
from sapool.base.sizes import parse_size
from sapool.cli.console import (
    AsJson,
    Terminal,
    check_folder,
    check_free,
    messages,
    names_in,
    print_table,
    read_plan,
    resumable,
    say,
)

if TYPE_CHECKING:
    from sapool.base.records import PoolingPlan
    from sapool.detection import BoxSplits, DetectConfig, DetectionRecord
    from sapool.detection.boxes import CocoAnnotations
    from sapool.workflows.compare import DetectorComparison
    from sapool.workflows.detect import DetectorRun

detect = typer.Typer(
    help="Object detection with any pooling in the backbone.\n\nStart with: sapool detect train",
    no_args_is_help=True,
    rich_markup_mode="rich",
)

_SPLITS = ("test", "val")
Folder = Annotated[Path, typer.Argument(help="Folder of a finished sapool detect train.")]
Hold = Annotated[Path | None, typer.Option(help="In place of --pool and --strides: a plan's file.")]


@detect.command()
def train(
    model: Annotated[str, typer.Option(help="Backbone: sapool:tiny, timm:NAME or torchvision:NAME.")] = "sapool:tiny",
    data: Annotated[str, typer.Option(help="scattered-digits, or a COCO folder.")] = "scattered-digits",
    recipe: Annotated[
        str, typer.Option(help="A recipe's name (an unknown one lists them) or .yaml file.")
    ] = "small",
    pool: Annotated[str | None, typer.Option(help="Pooling to put into the backbone; default: as it is.")] = None,
    strides: Annotated[str | None, typer.Option(help="One a site, comma-separated: 2,4,2,2,2.")] = None,
    plan: Hold = None,
    detector: Annotated[str | None, typer.Option(help="small, ssdlite, fasterrcnn or retinanet.")] = None,
    input_size: Annotated[int | None, typer.Option(help="Side or shorter side of images, in pixels.")] = None,
    classes: Annotated[str | None, typer.Option(help="Classes to keep, comma-separated; '' for all.")] = None,
    epochs: Annotated[int | None, typer.Option(help="Passes over the training split.")] = None,
    batch_size: Annotated[int | None, typer.Option(help="Images a step over all processes.")] = None,
    learning_rate: Annotated[float | None, typer.Option(help="Peak learning rate.")] = None,
    augment: Annotated[str | None, typer.Option(help="Augmentations, comma-separated; '' for none.")] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of weights, data and order.")] = None,
    pretrained: Annotated[bool, typer.Option("--pretrained", help="Fetch the backbone's trained weights.")] = False,
    skip_bad: Annotated[bool, typer.Option("--skip-bad", help="Leave bad entries out, and count them.")] = False,
    train_images: Annotated[int | None, typer.Option(help="Use only so many training images.")] = None,
    workers: Annotated[int, typer.Option(help="Processes that load images; 0: the one that trains.")] = 0,
    precision: Annotated[str, typer.Option(help="32, bf16-mixed or 16-mixed.")] = "32",
    accelerator: Annotated[str, typer.Option(help="auto, cpu, cuda or mps.")] = "auto",
    tensorboard: Annotated[bool, typer.Option(help="Write TensorBoard's files beside logs/metrics.csv.")] = True,
    measure: Annotated[bool, typer.Option(help="Export the backbone and measure its arena.")] = True,
    out: Annotated[Path | None, typer.Option(help="Folder of the results; default: one under runs/.")] = None,
    as_json: AsJson = False,
) -> None:  # fmt: skip
    """Train a detector with any pooling in its backbone; the epoch is chosen by AP on validation.

    The same command again goes on where an interrupted or killed one stopped; a finished run is read back. The folder
    gets weights.safetensors, record.json, results-test.json (COCO's format), backbone.tflite, logs/ and checkpoints/.
    Several accelerators: the same command behind torchrun --nproc-per-node N -m sapool.

    Example: sapool detect train --pool self_attentive --out runs/detector

    Example: sapool detect train --model torchvision:resnet18 --data /data/coco --recipe authors-fasterrcnn
    --pool self_attentive --strides 2,4,2,2,2 --pretrained --skip-bad
    """
    from sapool.detection import read_detection_recipe
    from sapool.training import Hardware, processes
    from sapool.workflows.detect import DetectRequest, run_detector

    check_folder(out)
    config = read_detection_recipe(
        recipe,
        detector=detector,
        input_size=input_size,
        classes=None if classes is None else names_in(classes),
        epochs=epochs,
        batch_size=batch_size,
        learning_rate=learning_rate,
        augment=None if augment is None else names_in(augment),
        seed=seed,
    )
    planned = _plan(model, config, pool, strides, plan)
    request = DetectRequest(model, data, planned, config, skip_bad, train_images, pretrained)
    hardware = Hardware(workers, precision, accelerator=accelerator, tensorboard=tensorboard)
    with resumable():
        run = run_detector(
            request, out or request.default_folder(recipe), hardware=hardware, reporter=Terminal(), measure=measure
        )
    if processes().rank == 0:
        _show_run(run, as_json)


def _plan(
    model: str, config: DetectConfig, pool: str | None, strides: str | None, plan: Path | None
) -> PoolingPlan | None:
    from sapool.cli.plan_table import parse_strides
    from sapool.workflows.detect import plan_detector

    if plan is None:
        if pool is None and strides is None:
            return None
        return plan_detector(model, config, pool or "self_attentive", parse_strides(strides))
    if pool is not None or strides is not None:
        raise ValueError("--plan and --pool or --strides exclude each other")
    return read_plan(plan, (3, *config.image_size), "the recipe's")


@detect.command("eval")
def evaluate(
    folder: Annotated[Path | None, typer.Argument(help="Folder of a finished sapool detect train.")] = None,
    split: Annotated[str, typer.Option(help="test or val, of the run's own data.")] = "test",
    annotations: Annotated[Path | None, typer.Option(help="In place of a folder: an instances_*.json.")] = None,
    results: Annotated[Path | None, typer.Option(help="With --annotations: results in COCO's format.")] = None,
    out: Annotated[Path | None, typer.Option(help="Write what was found as COCO results.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace the file of --out if it exists.")] = False,
    as_json: AsJson = False,
) -> None:
    """Evaluate a trained detector, or any tool's results file, as COCO's evaluator does.

    Example: sapool detect eval runs/detector --split val --out val.json

    Example: sapool detect eval --annotations instances_val2017.json --results val.json
    """
    from sapool.base.suggest import suggest
    from sapool.detection import detect as find
    from sapool.detection import evaluate_results, write_results

    check_free(out, force)
    if folder is None:
        if annotations is None or results is None:
            raise ValueError("name a folder of sapool detect train, or both --annotations and --results")
        given = _files(annotations, results)
        try:
            record = evaluate_results(*given)
        except ValueError as error:
            raise ValueError(f"{results}: {error}") from None
    else:
        if annotations is not None or results is not None:
            raise ValueError("a folder and --annotations or --results exclude each other")
        if split not in _SPLITS:
            raise ValueError(f"unknown --split {split!r}: {suggest(split, _SPLITS)}")
        run, data = _loaded(folder)
        images = data.test if split == "test" else data.val
        found = find(run.detector(), images)
        record = evaluate_results(data.truth(split), found)
        if out is not None:
            write_results(found, out)
    if as_json:
        sys.stdout.write(record.to_json() + "\n")
    else:
        _show_record(record, str(folder or results))


def _loaded(folder: Path) -> tuple[DetectorRun, BoxSplits]:
    from sapool.workflows.detect import read_detector

    run = read_detector(folder)
    return run, run.request.splits()


def _files(annotations: Path, results: Path) -> tuple[CocoAnnotations, list[dict[str, Any]]]:
    """Read the two files of COCO's format.

    Raises:
        ValueError: one is not there, or not what it should be.
    """
    from sapool.detection.annotation_file import parse_annotations

    found = read_json(results, most_bytes=4 << 30)
    needed = {"image_id", "category_id", "bbox", "score"}
    if not isinstance(found, list) or not all(isinstance(entry, dict) and needed <= entry.keys() for entry in found):
        raise ValueError(f"{results}: COCO results must be a list of objects with {', '.join(sorted(needed))}")
    return parse_annotations(annotations), found


@detect.command()
def predict(
    folder: Folder,
    images: Annotated[list[Path], typer.Argument(help="Image files, or folders of them.")],
    out: Annotated[Path, typer.Option(help="Folder for the drawings (NAME.png) and results.json.")],
    min_score: Annotated[float, typer.Option(help="Draw and write boxes from this score on.")] = 0.5,
    force: Annotated[bool, typer.Option("--force", help="Replace the results in --out.")] = False,
    as_json: AsJson = False,
) -> None:
    """Find objects on images: draw their boxes, and write them as JSON.

    Example: sapool detect predict runs/detector photo.jpg --out found
    """
    from sapool.detection.predicting import predict_files
    from sapool.workflows.detect import read_detector

    if not 0 <= min_score <= 1:
        raise ValueError(f"--min-score must be in [0, 1], got {min_score}")
    check_folder(out)
    check_free(out / "results.json", force)
    run = read_detector(folder)
    found = predict_files(run.detector(), images, run.classes, out, min_score)
    if as_json:
        sys.stdout.write(json.dumps(found, indent=2) + "\n")
        return
    table = Table(title=str(out))
    for name in ("image", "boxes", "found"):
        table.add_column(name)
    for entry in found:
        said = ", ".join(f"{box['class']} {box['score']:.0%}" for box in entry["boxes"])
        table.add_row(entry["image"], str(len(entry["boxes"])), said or "-")
    print_table(table)


@detect.command()
def compare(
    pools: Annotated[
        str, typer.Option(help="Poolings, comma-separated; average pooling is always among them.")
    ] = "self_attentive,lip,gaussian,max,avg,strided",
    model: Annotated[str, typer.Option(help="Backbone, as in train.")] = "sapool:tiny",
    data: Annotated[str, typer.Option(help="scattered-digits, or a COCO folder.")] = "scattered-digits",
    recipe: Annotated[str, typer.Option(help="A recipe's name or .yaml file; the same for all.")] = "small",
    ram: Annotated[
        str | None, typer.Option(help="Budget for the backbone's measured arena: 96KiB. Default: none.")
    ] = None,
    strides: Annotated[
        str | None, typer.Option(help="The same for all; default: of each, the latest down-sampling that fits.")
    ] = None,
    seeds: Annotated[int, typer.Option(help="Runs a pooling; intervals need three.")] = 3,
    epochs: Annotated[int | None, typer.Option(help="In place of the recipe's.")] = None,
    skip_bad: Annotated[bool, typer.Option("--skip-bad", help="Leave bad annotations and images out.")] = False,
    train_images: Annotated[int | None, typer.Option(help="Use only so many training images.")] = None,
    pretrained: Annotated[bool, typer.Option("--pretrained", help="Fetch the backbone's trained weights.")] = False,
    workers: Annotated[int, typer.Option(help="Processes that load images; 0: the one that trains.")] = 0,
    storage: Annotated[str | None, typer.Option(help="A database that several workers share.")] = None,
    out: Annotated[Path, typer.Option(help="Folder of the results.")] = Path("runs") / "detectors",
    as_json: AsJson = False,
) -> None:
    """Compare poolings in a detector's backbone: same recipe, same budget for the backbone's measured RAM, seeds.

    Finished runs are never run again; start the command several times and the workers share the runs.

    Example: sapool detect compare --pools self_attentive,avg,strided --ram 96KiB --epochs 4 --out runs/detectors
    """
    from sapool.cli.plan_table import parse_strides
    from sapool.detection import read_detection_recipe
    from sapool.training import Hardware
    from sapool.workflows.compare import DetectCompareConfig, compare_detectors

    check_folder(out)
    config = DetectCompareConfig(
        model=model,
        data=data,
        recipe=read_detection_recipe(recipe, epochs=epochs),
        pools=names_in(pools),
        ram_bytes=None if ram is None else parse_size(ram),
        seeds=seeds,
        strides=None if (given := parse_strides(strides)) is None else tuple(given),
        skip_bad=skip_bad,
        train_images=train_images,
        pretrained=pretrained,
    )
    with resumable():
        found = compare_detectors(config, out, storage=storage, reporter=Terminal(), hardware=Hardware(workers))
    if as_json:
        sys.stdout.write(found.to_json() + "\n")
    else:
        _show_comparison(found)


def _show_comparison(found: DetectorComparison) -> None:
    from sapool.report.detectors import EXPLANATION, HEADINGS, cells

    table = Table(title=found.folder)
    for name in HEADINGS:
        table.add_column(name, justify="left" if name in ("pooling", "strides") else "right")
    for row in found.rows:
        table.add_row(*cells(row))
    print_table(table)
    for line in [f"{row.pool}: {reason}" for row in found.rows for reason in row.reasons] + list(EXPLANATION):
        messages.print(line, soft_wrap=True)


def _show_run(run: DetectorRun, as_json: bool) -> None:
    if as_json:
        sys.stdout.write(json.dumps(run.record, indent=2) + "\n")
        return
    result, arena = run.record["result"], run.arena
    _show_record(_record_of(result["test"]), f"{run.folder}, test")
    table = Table(show_header=False)
    rows = [
        ("validation AP", f"{result['val_ap']:.1%} (epoch {result['best_epoch']}, chosen by it)"),
        ("time", f"{result['train_seconds']:.0f} s, {result['images_per_second']:,.0f} images/s"),
        ("parameters", f"{run.record['parameters']:,}"),
        ("backbone's arena, int8", f"{arena.arena_bytes:,} bytes (heads not in it)" if arena else "not known"),
    ]
    for row in rows:
        table.add_row(*row)
    print_table(table)
    say(f"go on with: sapool detect predict {run.folder} IMAGES --out found")


def _record_of(held: dict[str, Any]) -> DetectionRecord:
    from sapool.detection import ClassPrecision, DetectionRecord

    return DetectionRecord(**{**held, "classes": tuple(ClassPrecision(**entry) for entry in held["classes"])})


def _show_record(record: DetectionRecord, title: str) -> None:
    say(f"{title}: {record.images:,} images")
    summary = Table()
    figures = {
        "AP": record.ap, "AP50": record.ap50, "AP75": record.ap75, "small": record.ap_small,
        "medium": record.ap_medium, "large": record.ap_large,
    }  # fmt: skip
    for name in figures:
        summary.add_column(name, justify="right")
    summary.add_row(*(_percent(value) for value in figures.values()))
    print_table(summary)
    table = Table()
    for name in ("class", "objects", "AP", "AP50"):
        table.add_column(name, justify="left" if name == "class" else "right")
    for entry in record.classes:
        table.add_row(entry.name, f"{entry.objects:,}", _percent(entry.ap), _percent(entry.ap50))
    print_table(table)


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{value:.1%}"
