"""The command line: one subcommand a stage; each parses, calls and prints."""

from __future__ import annotations

import os
import warnings

# Before torch is imported: threads that wait for each other sleep, and leave their core to whoever can use it, where
# they would spin (``benchmarks/busy_machine.py``).
os.environ["OMP_WAIT_POLICY"] = os.environ.get("OMP_WAIT_POLICY", "PASSIVE")

try:
    import typer
    from typer.exceptions import TyperException

    from sapool.cli.console import DONE, MISTAKE, NOTHING_FITS, messages
except ImportError as error:
    raise SystemExit(f"the command line needs the package {error.name!r}: pip install 'sapool[cli]'") from None

from sapool.base.errors import SapoolError
from sapool.base.extras import explain_missing
from sapool.base.quoting import escape_controls
from sapool.base.sizes import parse_size
from sapool.cli.build import build
from sapool.cli.compare import compare
from sapool.cli.data import data
from sapool.cli.data_make import make
from sapool.cli.detect import detect
from sapool.cli.eval import evaluate
from sapool.cli.export import export, measure
from sapool.cli.fit import fit
from sapool.cli.memory import boards, profile
from sapool.cli.optimize import optimize
from sapool.cli.plan import plan
from sapool.cli.prune import prune
from sapool.cli.signals import INTERRUPTED, TERMINATED, terminable
from sapool.cli.train import train

__all__ = ["DONE", "INTERRUPTED", "MISTAKE", "NOTHING_FITS", "TERMINATED", "app", "main", "parse_size"]

_LINE_END = "\n"

app = typer.Typer(
    help="Make a convolutional network fit a micro-controller's memory with self-attentive pooling, and prove it on "
    "the real TensorFlow Lite Micro interpreter.\n\nStart with: sapool fit",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)
for command in (fit, compare, plan, profile, train, prune, export, build, measure, optimize, boards):
    app.command()(command)
app.command("eval")(evaluate)
data.command("make")(make)
app.add_typer(data, name="data")
app.add_typer(detect, name="detect")


def main() -> None:
    """Run the command line: a user's mistake is one line and exit code 2, Ctrl-C is 130, SIGTERM 143."""
    warnings.showwarning = _warn  # type: ignore[assignment] # it is only ever called with positions
    with terminable() as was_terminated:
        code = _exit_code()
    raise SystemExit(TERMINATED if code == INTERRUPTED and was_terminated() else code)


def _exit_code() -> int:
    try:
        return app(standalone_mode=False) or DONE
    except (typer.Abort, KeyboardInterrupt):
        messages.print("sapool: interrupted")
        return INTERRUPTED
    except TyperException as error:
        # The parser's own complaints, in one line like all others (it would draw a box around them).
        said = error.format_message().strip() if hasattr(error, "format_message") else str(error)
        if not said:  # a call without a command: its help has been printed
            return MISTAKE
        context = getattr(error, "ctx", None)
        return _fail(f"{said} (see {context.command_path if context is not None else 'sapool'} --help)")
    except (SapoolError, ValueError, ImportError, OSError) as error:  # any other is a defect, shown whole
        if os.environ.get("SAPOOL_DEBUG"):
            raise
        return _fail(str(explain_missing(error, "this command", "all") if isinstance(error, ImportError) else error))


def _warn(message: Warning | str, *_: object) -> None:
    """A warning is one line, without the place in the code that it came from."""
    messages.print(f"sapool: {escape_controls(str(message), keep=_LINE_END)}", soft_wrap=True)


def _fail(said: str) -> int:
    messages.print(f"sapool: {escape_controls(said, keep=_LINE_END)}", soft_wrap=True)
    return MISTAKE
