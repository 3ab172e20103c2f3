"""What every command shares: sizes, messages on standard error, tables on standard output."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from sapool.base.files import check_path, check_replaceable
from sapool.base.image_size import InputSize as ImageSize
from sapool.base.image_size import as_input_size
from sapool.base.quoting import escape_controls
from sapool.base.reporter import LineReporter
from sapool.base.sizes import parse_size
from sapool.cli.signals import INTERRUPTED

if TYPE_CHECKING:
    from sapool.base.budget import Budget
    from sapool.base.records import PoolingPlan

DONE, MISTAKE, NOTHING_FITS = 0, 2, 3
_WIDTH_OF_A_FILE = 132


class PlainConsole(Console):
    """A console for texts of users and files: no markup, no emoji, and control characters are shown, not obeyed."""

    def __init__(self, *, stderr: bool = False, width: int | None = None) -> None:
        super().__init__(stderr=stderr, width=width, highlight=False, markup=False, emoji=False)

    def render_str(self, text: str, **options: Any) -> Text:
        """Return what is printed of a text, wherever it stands: in a line, a title or a cell."""
        return super().render_str(escape_controls(text, keep="\n"), **options)


messages = PlainConsole(stderr=True)


def say(text: str) -> None:
    """Write a text and a line's end on standard output, its control characters shown."""
    sys.stdout.write(escape_controls(text, keep="\n") + "\n")


def names_in(text: str) -> tuple[str, ...]:
    """Return the names of a comma-separated list."""
    return tuple(name.strip() for name in text.split(",") if name.strip())


class Terminal(LineReporter):
    """A Reporter on standard error: a line a stage; while training a bar, or in a file a line every tenth."""

    def __init__(self) -> None:
        super().__init__()
        self._progress: Progress | None = None
        self._task: TaskID | None = None

    def stage(self, text: str) -> None:
        """Print a line."""
        messages.print(text, soft_wrap=True)

    def start(self, name: str, total: int) -> None:
        """Open a bar."""
        super().start(name, total)
        if messages.is_terminal:
            columns = (
                TextColumn("{task.description}", markup=False),
                BarColumn(),
                TextColumn("{task.fields[text]}", markup=False),
            )
            self._progress = Progress(*columns, TimeRemainingColumn(), console=messages, transient=True)
            self._task = self._progress.add_task(escape_controls(name), total=total, text="")
            self._progress.start()

    def advance(self, text: str = "") -> None:
        """Move the bar."""
        if self._progress is not None and self._task is not None:
            shown = {"text": escape_controls(text)} if text else {}
            self._progress.update(self._task, advance=1, **shown)  # type: ignore[arg-type]
        else:
            super().advance(text)

    def finish(self) -> None:
        """Close the bar."""
        if self._progress is not None:
            self._progress.stop()
            self._progress = None


def print_table(table: Table) -> None:
    """Print a table, whole also in a file or a pipe, which have no width."""
    out = PlainConsole()
    wide = out if out.is_terminal else PlainConsole(width=_WIDTH_OF_A_FILE)
    wide.print(table)


def read_text(path: Path) -> str:
    """Return what a text file holds.

    Raises:
        ValueError: no such file, or not a text.
    """
    if not path.is_file():
        raise ValueError(f"{path}: a folder, no file" if path.is_dir() else f"{path}: no such file")
    try:
        return path.read_text()
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: not a text file: {error.reason}") from None


def read_plan(path: Path, size: ImageSize, whose: str = "--input-size") -> PoolingPlan:
    """Read a plan for images of ``size`` (a side, or channels, height and width), which ``whose`` value is.

    Raises:
        ValueError: no such file, no plan in it, or one for another size; the message names it.
    """
    from sapool.base.records import PoolingPlan

    text = read_text(path)
    try:
        planned = PoolingPlan.from_json(text)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
    if planned.input_size != as_input_size(size):
        raise ValueError(f"{path} is for an input of {planned.input_size} (C, H, W), {whose} is {size}")
    return planned


def check_free(path: Path | None, force: bool, option: str = "--out") -> None:
    """Check that a file can be written, before any work is done for it.

    Raises:
        ValueError: it is no path a file can have, something else than a regular file is there, or it exists and
            ``force`` is not set.
    """
    if path is None:
        return
    check_replaceable(path, option)
    if path.exists() and not force:
        raise ValueError(f"{path} exists; choose another {option} or say --force")


def check_folder(path: Path | None, option: str = "--out") -> None:
    """Check that a path can be a folder's, before any work is done for it.

    Raises:
        ValueError: it can be none's, or something else is there.
    """
    if path is None:
        return
    check_path(path, option)
    if path.exists() and not path.is_dir():
        raise ValueError(f"{option} {path} is a file; name a folder")


@contextmanager
def resumable() -> Iterator[None]:
    """Answer Ctrl-C and SIGTERM inside with a line that says how to go on, and their exit code."""
    try:
        yield
    except KeyboardInterrupt:
        messages.print("interrupted; the same command goes on where it stopped")
        raise typer.Exit(INTERRUPTED) from None


def budget_from(
    ram: str | None, flash: str | None, board: str | None, *, default_ram: str = "", default_flash: str = ""
) -> Budget:
    """Return the budget that the options ask for; a default that is empty is no limit.

    Raises:
        ValueError: a size that is none, an unknown board, or a board and a size at once.
    """
    from sapool.base.budget import Budget

    if board is None:
        sizes = [parse_size(text) if text else None for text in (ram or default_ram, flash or default_flash)]
        return Budget(ram_bytes=sizes[0], flash_bytes=sizes[1])
    for name, value in (("--ram", ram), ("--flash", flash)):
        if value is not None:
            raise ValueError(f"--board and {name} exclude each other: {board} has its own")
    from sapool.memory.boards import get_board

    return get_board(board).budget


Ram = Annotated[
    str | None,
    typer.Option("--ram", help="RAM budget for the arena that TFLM must be given: 131072, 128KiB, 128kB, 1MiB."),
]
Flash = Annotated[str | None, typer.Option("--flash", help="Flash budget for the .tflite file.")]
BoardName = Annotated[
    str | None,
    typer.Option("--board", help="A board in place of --ram and --flash: what its firmware leaves (sapool boards)."),
]
AsJson = Annotated[
    bool, typer.Option("--json", help="Print the result as JSON on standard output, nothing else there.")
]
InputSide = Annotated[int, typer.Option("--input-size", help="Side of the square input image, in pixels.")]
InputSize = Annotated[
    str, typer.Option(help="Input image: a side (64), HEIGHTxWIDTH (48x64) or CHANNELSxHEIGHTxWIDTH (1x48x64).")
]
Model = Annotated[
    str,
    typer.Option(
        help="Network: sapool:tiny, timm:NAME, torchvision:NAME, authors:NAME, or your own: my_net.py:MyNet, "
        "my_net.py:MyNet(width=32), package.module:MyNet (this runs your file)."
    ),
]
NetworkName = Annotated[
    str,
    typer.Argument(
        help="Network: sapool:tiny, timm:NAME, torchvision:NAME, authors:NAME, or your own: my_net.py:MyNet(width=32) "
        "(this runs your file)."
    ),
]
Weights = Annotated[
    Path | None,
    typer.Option("--weights", help="Trained weights: .safetensors, .pt or .pth (nothing in it is run), or a folder."),
]
