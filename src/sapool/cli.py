"""The command line: one subcommand a stage; each parses, calls and prints."""

from __future__ import annotations

import json
import os
import re
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

try:
    import typer
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
    from rich.table import Table
    from typer.exceptions import TyperException
except ImportError as error:
    raise SystemExit(f"the command line needs the package {error.name!r}: pip install 'sapool[cli]'") from None

from sapool.optional import explain_missing

if TYPE_CHECKING:
    from torch import nn

    from sapool.fitting import FitSummary
    from sapool.records import ArenaRecord, ExportRecord, RunRecord

DONE, MISTAKE, NOTHING_FITS, INTERRUPTED = 0, 2, 3, 130
_EXPECTED = ("InterpreterError",)  # by name: importing it would need the deploy extra
_UNITS = {"": 1, "B": 1, "kB": 1000, "MB": 1000**2, "KiB": 1024, "MiB": 1024**2}
_WIDTH_OF_A_FILE = 132

app = typer.Typer(
    help="Make a convolutional network fit a micro-controller's memory with self-attentive pooling, and prove it on "
    "the real TensorFlow Lite Micro interpreter.\n\nStart with: sapool fit",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)
_messages = Console(stderr=True, highlight=False)


def parse_size(text: str) -> int:
    """Return the bytes that ``131072``, ``128KiB``, ``128kB`` or ``1MiB`` stands for.

    Raises:
        ValueError: anything else.
    """
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([A-Za-z]*)\s*", text)
    if not found or found[2] not in _UNITS:
        raise ValueError(f"not a size: {text!r}; write bytes (131072), KiB or MiB (1024), kB or MB (1000): 128KiB")
    count = int(float(found[1]) * _UNITS[found[2]])
    if count < 1:
        raise ValueError(f"a size must be at least 1 byte, got {text!r}")
    return count


def _names(text: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.split(",") if name.strip())


class _Terminal:
    """A Reporter on standard error: a line a stage; while training a bar, or in a file a line every tenth."""

    def __init__(self) -> None:
        self._progress: Progress | None = None
        self._task: TaskID | None = None
        self._done = self._total = self._tenths = 0
        self._said = ""

    def stage(self, text: str) -> None:
        """Print a line."""
        _messages.print(text, markup=False, soft_wrap=True)

    def start(self, name: str, total: int) -> None:
        """Open a bar."""
        self._done, self._total, self._tenths = 0, total, 0
        if _messages.is_terminal:
            columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[text]}"))
            self._progress = Progress(*columns, TimeRemainingColumn(), console=_messages, transient=True)
            self._task = self._progress.add_task(f"training {name}", total=total, text="")
            self._progress.start()

    def advance(self, text: str = "") -> None:
        """Move the bar."""
        self._done += 1
        if self._progress is not None and self._task is not None:
            self._progress.update(self._task, advance=1, **({"text": text} if text else {}))  # type: ignore[arg-type]
        elif text != self._said and self._done * 10 // self._total > self._tenths:
            self._tenths, self._said = self._done * 10 // self._total, text
            self.stage(f"  {text}")

    def finish(self) -> None:
        """Close the bar."""
        if self._progress is not None:
            self._progress.stop()
            self._progress = None


def _print_table(table: Table) -> None:
    # A file or a pipe has no width; the table must not be cut there.
    out = Console(highlight=False)
    wide = out if out.is_terminal else Console(highlight=False, width=_WIDTH_OF_A_FILE)
    wide.print(table)


Ram = Annotated[str, typer.Option("--ram", help="RAM budget for TFLM's whole arena: 131072, 128KiB, 128kB, 1MiB.")]
AsJson = Annotated[
    bool, typer.Option("--json", help="Print the result as JSON on standard output, nothing else there.")
]
InputSize = Annotated[int, typer.Option(help="Side of the square input image, in pixels.")]


@app.command()
def fit(
    model: Annotated[str, typer.Option(help="Network: sapool:tiny, timm:NAME or torchvision:NAME.")] = "sapool:tiny",
    data: Annotated[str, typer.Option(help="Data set; scattered-digits is built in.")] = "scattered-digits",
    input_size: InputSize = 64,
    ram: Ram = "64KiB",
    flash: Annotated[str, typer.Option(help="Flash budget for the .tflite file.")] = "1MiB",
    pools: Annotated[str, typer.Option(help="Poolings to try, comma-separated.")] = "self_attentive,avg,strided",
    epochs: Annotated[int, typer.Option(help="Passes over the training split.")] = 60,
    batch_size: Annotated[int, typer.Option(help="Images a training step.")] = 64,
    learning_rate: Annotated[float, typer.Option(help="Peak learning rate.")] = 0.01,
    seed: Annotated[int, typer.Option(help="Seed of weights, data and order.")] = 0,
    out: Annotated[
        Path | None, typer.Option(help="Folder of the results; default: runs/ + data, model, size and budget.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """From a network, data and a RAM budget to an int8 model that is proven to fit.

    For each pooling: finds strides whose int8 model fits the budget (by exporting and measuring), trains, quantises,
    checks TensorFlow Lite Micro against LiteRT and measures the arena. Then names the best that fits.

    The same command again goes on where an interrupted one stopped. Exit codes: 0 something fits, 2 a mistake in the
    call, 3 nothing fits.

    Example: sapool fit --ram 40KiB --pools self_attentive,max
    """
    from sapool.fitting import FitConfig
    from sapool.fitting import fit as run_fit

    config = FitConfig(
        model=model,
        data=data,
        input_size=input_size,
        ram_bytes=parse_size(ram),
        flash_bytes=parse_size(flash),
        pools=_names(pools),
        epochs=epochs,
        batch_size=batch_size,
        learning_rate=learning_rate,
        seed=seed,
    )
    try:
        summary = run_fit(config, out, _Terminal())
    except KeyboardInterrupt:
        _messages.print("interrupted; the same command goes on where it stopped", markup=False)
        raise typer.Exit(INTERRUPTED) from None
    if as_json:
        sys.stdout.write(json.dumps(asdict(summary), indent=2) + "\n")
    else:
        _show_fit(summary, config.ram_bytes)
    raise typer.Exit(DONE if summary.best else NOTHING_FITS)


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{value:.1%}"


def _show_fit(summary: FitSummary, ram_bytes: int) -> None:
    from sapool.fitting import format_kib

    table = Table(title=f"int8 models under {format_kib(ram_bytes)} of RAM (accuracy on test, arena of TFLM in bytes)")
    headings = ("pooling", "strides", "float", "int8", "head", "tail", "total", "flash", "MACs", "parameters", "fits")
    for heading in headings:
        table.add_column(heading, justify="left" if heading in ("pooling", "strides") else "right", no_wrap=True)
    for run in summary.runs:
        table.add_row(*_fit_row(run), style="bold" if run.pool == summary.best else None)
    _print_table(table)
    for run in summary.runs:
        if run.pool == summary.best:
            files = Path(summary.folder) / run.pool
            sys.stdout.write(
                f"best that fits (by int8 accuracy on validation, {_percent(run.int8_val_accuracy)}): {run.pool}, "
                f"{_percent(run.int8_test_accuracy)} on test with {run.total_bytes:,} bytes of arena\n"
                f"model and header: {files / 'model.tflite'}, {files / 'model.h'}\n"
            )
        if run.pool == summary.closest:
            sys.stdout.write(
                f"nothing fits {ram_bytes:,} bytes of RAM and {summary.config['flash_bytes']:,} of flash; closest: "
                f"{run.pool} with strides {','.join(map(str, run.strides))}, arena {run.total_bytes:,} bytes, file "
                f"{run.flash_bytes:,} bytes\n"
            )


def _fit_row(run: RunRecord) -> list[str]:
    return [
        run.pool,
        ",".join(str(stride) for stride in run.strides),
        _percent(run.float_test_accuracy),
        _percent(run.int8_test_accuracy),
        *(f"{count:,}" for count in (run.head_bytes, run.tail_bytes, run.total_bytes, run.flash_bytes)),
        "-" if run.macs is None else f"{run.macs:,}",
        f"{run.parameters:,}",
        "yes" if run.fits else "no",
    ]


@app.command()
def export(
    model: Annotated[str, typer.Argument(help="Network: sapool:tiny, timm:NAME or torchvision:NAME.")],
    out: Annotated[Path, typer.Option(help="The .tflite to write.")] = Path("model.tflite"),
    input_size: InputSize = 64,
    num_classes: Annotated[int, typer.Option(help="Outputs of the classifier.")] = 10,
    plan: Annotated[Path | None, typer.Option(help="A plan.json to apply first.")] = None,
    weights: Annotated[Path | None, typer.Option(help="Trained weights, .safetensors.")] = None,
    data: Annotated[str, typer.Option(help="Data set to calibrate the int8 ranges with.")] = "scattered-digits",
    passes: Annotated[str, typer.Option(help="Rewrites: all, none, or names, comma-separated.")] = "all",
    force: Annotated[bool, typer.Option("--force", help="Replace the file if it exists.")] = False,
    as_json: AsJson = False,
) -> None:
    """Quantise a network to int8, write it as .tflite and measure its arena.

    Without --weights the network is untrained: its arena is right, its answers are not.

    Example: sapool export sapool:tiny --plan runs/X/avg/plan.json --weights runs/X/avg/weights.safetensors
    """
    if out.exists() and not force:
        raise ValueError(f"{out} exists; choose another --out or say --force")
    if out.is_dir():
        raise ValueError(f"{out} is a folder; --out names the file to write")
    if not out.parent.is_dir():
        raise ValueError(f"{out.parent}: no such folder")
    from sapool.export import export_int8, measure_arena
    from sapool.training import load_data

    splits = load_data(data, input_size)
    network = _network(model, num_classes, input_size, plan, weights)
    record = export_int8(network, splits.calibration(), out, passes=passes)
    arena = measure_arena(out)
    if as_json:
        sys.stdout.write(json.dumps({"export": asdict(record), "arena": asdict(arena)}, indent=2) + "\n")
        return
    _show_arena(arena, out, record)


def _network(model: str, num_classes: int, input_size: int, plan: Path | None, weights: Path | None) -> nn.Module:
    from sapool.export import randomize_norms
    from sapool.models import load_model
    from sapool.records import PoolingPlan
    from sapool.search import replan
    from sapool.training import load_weights

    network = load_model(model, num_classes)
    if plan is not None:
        planned = PoolingPlan.from_json(_read_text(plan))
        if planned.input_size != (3, input_size, input_size):
            raise ValueError(f"{plan} is for an input of {planned.input_size} (C, H, W), --input-size is {input_size}")
        network = replan(network, planned)
    if weights is None:
        _messages.print("no --weights: the network is untrained, its normalisations are randomised", markup=False)
        return randomize_norms(network)
    load_weights(network, weights)
    return network


def _read_text(path: Path) -> str:
    if not path.is_file():
        raise ValueError(f"{path}: no such file")
    try:
        return path.read_text()
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: not a text file: {error.reason}") from None


@app.command()
def plan(
    model: Annotated[str, typer.Argument(help="Network: sapool:tiny, timm:NAME, torchvision:NAME or authors:NAME.")],
    input_size: InputSize = 64,
    pool: Annotated[str, typer.Option(help="The pooling; an unknown one lists them all.")] = "self_attentive",
    strides: Annotated[str | None, typer.Option(help="One a site, comma-separated: 4,2,2,2,1. Default: as is.")] = None,
    placement: Annotated[str, typer.Option(help="block, stage, group-start or in-place.")] = "block",
    out: Annotated[Path | None, typer.Option(help="Write the plan there, for sapool export --plan.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace the file if it exists.")] = False,
    as_json: AsJson = False,
) -> None:
    """Show where a network shrinks its maps, and what a plan puts there; what can't be re-planned has its reason.

    Example: sapool plan timm:mobilenetv2_035 --input-size 96 --strides 4,2,2,2,1 --out plan.json
    """
    if out is not None and out.exists() and not force:
        raise ValueError(f"{out} exists; choose another --out or say --force")
    from sapool.downsampling import find_downsampling
    from sapool.models import load_model
    from sapool.plan import make_plan
    from sapool.plan_table import parse_strides, plan_table
    from sapool.records import DownsamplingSite, write_bytes_atomically
    from sapool.surgery import apply_plan

    network = load_model(model, 10)
    planned = make_plan(network, input_size, pool, parse_strides(strides), placement)
    if any(site.pool_stride > 1 for site in planned.sites):
        apply_plan(network, planned, dry_run=True)
    if out is not None:
        write_bytes_atomically(out, planned.to_json().encode())
    if as_json:
        sys.stdout.write(planned.to_json() + "\n")
        return
    found = find_downsampling(network, input_size)
    _print_table(plan_table(planned, [site for site in found if isinstance(site, DownsamplingSite)], model))
    for site in found:
        if not isinstance(site, DownsamplingSite):
            _messages.print(f"left alone: {site.name}: {site.reason}", markup=False)


@app.command()
def measure(
    file: Annotated[Path, typer.Argument(help="A .tflite file, of any origin.")],
    ram: Annotated[str | None, typer.Option("--ram", help="RAM budget; exit code 3 if the arena is over it.")] = None,
    as_json: AsJson = False,
) -> None:
    """Run a .tflite on the real TensorFlow Lite Micro interpreter and show the arena it needs.

    Example: sapool measure model.tflite --ram 96KiB
    """
    budget = parse_size(ram) if ram is not None else None
    from sapool.export import measure_arena

    arena = measure_arena(file)
    if as_json:
        sys.stdout.write(json.dumps(asdict(arena), indent=2) + "\n")
    else:
        _show_arena(arena, file)
    if budget is not None:
        fits = arena.fits(budget)
        if not as_json:
            verdict = "fits" if fits else "does not fit"
            sys.stdout.write(f"{arena.total_bytes:,} bytes {verdict} {budget:,} bytes of RAM\n")
        raise typer.Exit(DONE if fits else NOTHING_FITS)


def _show_arena(arena: ArenaRecord, path: Path, record: ExportRecord | None = None) -> None:
    table = Table(title=f"{path} on {arena.interpreter}", show_header=False)
    rows: list[tuple[str, Any]] = [
        ("arena head (activations, scratch)", f"{arena.head_bytes:,} bytes"),
        ("arena tail (persistent)", f"{arena.tail_bytes:,} bytes"),
        ("arena total", f"{arena.total_bytes:,} bytes"),
        ("file (flash)", f"{arena.flash_bytes:,} bytes"),
        ("operators", " ".join(arena.operators)),
    ]
    if record is not None:
        rows += [
            ("MACs", f"{record.macs:,}"),
            ("passes that changed it", ", ".join(record.passes) or "none"),
            ("largest float error of the passes", f"{record.float_error:.1e}"),
            (
                "int8 signal to noise on calibration",
                "-" if record.int8_snr_db is None else f"{record.int8_snr_db:.1f} dB",
            ),
        ]
    for name, value in rows:
        table.add_row(name, value)
    _print_table(table)


def main() -> None:
    """Run the command line: a user's mistake is one line and exit code 2, Ctrl-C is 130."""
    try:
        code = app(standalone_mode=False)
    except (typer.Abort, KeyboardInterrupt):
        raise SystemExit(INTERRUPTED) from None
    except TyperException as error:
        # The parser's own complaints, in one line like all others (it would draw a box around them).
        said = error.format_message().strip() if hasattr(error, "format_message") else str(error)
        if not said:  # a call without a command: its help has been printed
            raise SystemExit(MISTAKE) from None
        _fail(f"{said} (see sapool --help)")
    except (ValueError, ImportError, OSError, RuntimeError) as error:
        # Of RuntimeErrors only an interpreter's is about the user's file; any other is a defect, shown whole.
        defect = isinstance(error, RuntimeError) and type(error).__name__ not in _EXPECTED
        if defect or os.environ.get("SAPOOL_DEBUG"):
            raise
        _fail(str(explain_missing(error, "this command", "all") if isinstance(error, ImportError) else error))
    raise SystemExit(code or DONE)


def _fail(said: str) -> NoReturn:
    _messages.print(f"sapool: {said}", markup=False, soft_wrap=True)
    raise SystemExit(MISTAKE)


if __name__ == "__main__":
    main()
