"""``sapool profile`` and ``sapool boards``."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from sapool.cli.console import DONE, NOTHING_FITS, AsJson, BoardName, InputSize, messages, print_table

if TYPE_CHECKING:
    from sapool.memory import MemoryProfile, OperatorMemory
    from sapool.memory.verdict import Verdict
    from sapool.tflite import Graph

_BLOCKS = " ▁▂▃▄▅▆▇█"
_TIMELINE_WIDTH = 100
_BAR_WIDTH = 24
_SHOWN_OPERATORS = 16


def profile(
    model: Annotated[
        str,
        typer.Argument(help="Network (sapool:tiny, timm:NAME, my_net.py:MyNet, ...) or a .tflite file of any origin."),
    ],
    input_size: InputSize = "64",
    plan: Annotated[Path | None, typer.Option(help="A plan.json to apply first.")] = None,
    passes: Annotated[str, typer.Option(help="Rewrites of the export: all, none, or names, comma-separated.")] = "all",
    target: Annotated[str | None, typer.Option(help="A target core: cortex-m4, cortex-m7, esp32s3, ...")] = None,
    board: BoardName = None,
    every: Annotated[bool, typer.Option("--every", help="List every operator, not only the largest.")] = False,
    as_json: AsJson = False,
) -> None:
    """Predict what a network needs on a micro-controller, without running it: arena, peak, timeline, verdict.

    A .tflite is predicted to the byte of TensorFlow Lite Micro's head; a network as sapool export would write it. With
    --board or --target: the arena with that core's 32-bit pointers and kernels, held against what its firmware leaves;
    exit code 3 if it does not fit.

    Example: sapool profile timm:mobilenetv2_100 --input-size 224 --board nano33ble
    """
    from sapool.memory import flash_bytes_of

    graph, profiled, flash = _read(model, input_size, plan, passes)
    judged = _verdict(graph, flash if flash is not None else flash_bytes_of(graph), target, board)
    if as_json:
        whole = {"profile": json.loads(profiled.to_json()), "verdict": asdict(judged) if judged else None}
        sys.stdout.write(json.dumps(whole, indent=2) + "\n")
    else:
        _show(profiled, model, every)
        if judged is not None:
            sys.stdout.write(f"{told(judged)}\n")
    raise typer.Exit(DONE if judged is None or judged.fits else NOTHING_FITS)


def _read(model: str, input_size: str, plan: Path | None, passes: str) -> tuple[Graph, MemoryProfile, int | None]:
    """Return what a file holds and its size, or what a network would be exported as."""
    from sapool.memory import profile_graph
    from sapool.tflite import read_graph

    if model.endswith(".tflite") or Path(model).is_file():
        if plan is not None:
            raise ValueError(f"--plan goes with a network, and {model} is a file: its plan is in it already")
        graph = read_graph(Path(model))
        return graph, profile_graph(graph), Path(model).stat().st_size
    from sapool.cli.export import planned_network
    from sapool.networks.load import input_size_for
    from sapool.predict.profile import predict_graphs, profile_predicted

    size = input_size_for(model, input_size)
    graphs = predict_graphs(planned_network(model, 10, size, plan), size, passes=passes)
    return graphs.exported, profile_predicted(graphs), None


def _verdict(graph: Graph, flash_bytes: int, target: str | None, board: str | None) -> Verdict | None:
    from sapool.memory.boards import get_board
    from sapool.memory.targets import get_target
    from sapool.memory.verdict import profile_for_target, verdict

    if board is not None and target is not None:
        raise ValueError("--board and --target exclude each other: a board has its core")
    if board is not None:
        found = get_board(board)
        return verdict(profile_for_target(graph, found.target), flash_bytes, found)
    if target is not None:
        core = get_target(target)
        return verdict(profile_for_target(graph, core), flash_bytes, core)
    return None


def told(judged: Verdict) -> str:
    """Return the arena that was judged, and the verdict, a line each."""
    arena = f"arena on {judged.target}, what planning needs in it: {judged.ram_needed_bytes:,} bytes"
    return f"{arena}\n{judged.board}: {judged.reason}"


def _show(profiled: MemoryProfile, model: str, every: bool) -> None:
    peak = profiled.by_operator[profiled.peak_operator]
    summary = Table(title=f"{model}: predicted arena of TensorFlow Lite Micro", show_header=False)
    rows = [
        ("head (activations, scratch)", f"{profiled.head_bytes:,} bytes"),
        ("tail (persistent), 64-bit / 32-bit", f"{profiled.tail_bytes:,} / {profiled.tail_bytes_32bit:,} bytes"),
        ("while planning, in place of the head", f"{profiled.setup_bytes:,} / {profiled.setup_bytes_32bit:,} bytes"),
        ("arena, 64-bit / 32-bit", f"{profiled.arena_bytes:,} / {profiled.arena_bytes_32bit:,} bytes"),
        ("head and tail, 32-bit firmware, nothing recorded", f"{profiled.firmware_bytes_32bit:,} bytes"),
        ("least head that its lifetimes allow", f"{profiled.lower_bound_bytes:,} bytes"),
        ("peak", f"{_name(peak)} with {peak.live_bytes:,} bytes alive"),
        *((label, f"{count:,} bytes ({count / 1024:,.0f} KiB)") for label, count in profiled.conventions.items()),
    ]
    for row in rows:
        summary.add_row(*row)
    print_table(summary)
    sys.stdout.write(f"bytes alive, operator by operator (highest: {peak.live_bytes:,}):\n{timeline(profiled)}\n")
    _show_operators(profiled, peak.live_bytes, every)
    if profiled.unknown_operators:
        kinds = ", ".join(profiled.unknown_operators)
        messages.print(f"scratch and persistent bytes of {kinds} are not known: not counted")


def timeline(profiled: MemoryProfile, width: int = _TIMELINE_WIDTH) -> str:
    """Return the bytes alive over time as a line of blocks, the highest of several operators a block."""
    alive = [operator.live_bytes for operator in profiled.by_operator]
    columns = min(width, len(alive))
    cuts = [len(alive) * i // columns for i in range(columns + 1)]
    tallest = max(alive)
    heights = [max(alive[a:b]) / tallest for a, b in pairwise(cuts)]
    return "".join(_BLOCKS[max(1, round(height * (len(_BLOCKS) - 1)))] for height in heights)


def _show_operators(profiled: MemoryProfile, tallest: int, every: bool) -> None:
    ranked = sorted(profiled.by_operator, key=lambda operator: -operator.live_bytes)
    shown = ranked if every else ranked[:_SHOWN_OPERATORS]
    title = "every operator" if every else f"the {len(shown)} of {len(ranked)} operators with the most alive"
    table = Table(title=title)
    for name in ("operator", "alive", "scratch", "in + out", "MACs", ""):
        table.add_column(name, justify="left" if name in ("operator", "") else "right")
    for operator in sorted(shown, key=lambda operator: operator.index):
        counts = (operator.live_bytes, operator.scratch_bytes, operator.in_out_bytes, operator.macs)
        bar = "█" * max(1, round(_BAR_WIDTH * operator.live_bytes / max(1, tallest)))
        table.add_row(_name(operator), *(f"{count:,}" for count in counts), bar)
    print_table(table)


def _name(operator: OperatorMemory) -> str:
    return f"{operator.index} {operator.kind}" + (f" ({operator.module})" if operator.module else "")


def boards(as_json: AsJson = False) -> None:
    """List the boards that --board knows: core, RAM and flash, and what a firmware leaves of them.

    Example: sapool boards
    """
    from sapool.memory.boards import boards_table

    rows = boards_table()
    if as_json:
        sys.stdout.write(json.dumps(rows, indent=2) + "\n")
        return
    table = Table(title="boards (bytes; available: less what firmware, interpreter and kernels take)")
    for name in rows[0]:
        table.add_column(name.replace("_bytes", "").replace("_", " "), justify="right" if "bytes" in name else "left")
    for row in rows:
        table.add_row(*(f"{value:,}" if isinstance(value, int) else value for value in row.values()))
    print_table(table)
