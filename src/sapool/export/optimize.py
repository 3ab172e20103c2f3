"""Any int8 ``.tflite`` with a smaller arena and the same outputs, to the bit."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from sapool.base.files import write_bytes_atomically
from sapool.export.runtime.inputs import random_inputs
from sapool.export.runtime.interpreters import InterpreterError, Outcome, run_model
from sapool.passes import FILE_PASSES, choose_passes
from sapool.passes.file.fold_pads import fold_pads
from sapool.tflite import Graph, TfliteError, count_macs, read_graph, write_graph
from sapool.tflite.file import count_external, load_tflite

# BATCH_MATMUL rounds otherwise than the FULLY_CONNECTED that it replaces.
_ROUNDING = ("adjy_matmul",)
# The file passes that change no output bit of anybody's file, in the order in which they are applied.
EXACT_PASSES: Mapping[str, Callable[[Graph], int]] = {
    "fold_pads": fold_pads,
    **{name: file_pass for name, file_pass in FILE_PASSES.items() if name not in _ROUNDING},
}
RUNS = 4


@dataclass(frozen=True)
class Arena:
    """What TensorFlow Lite Micro's recording allocator printed, on this machine's 64-bit build."""

    head_bytes: int
    tail_bytes: int
    total_bytes: int


@dataclass(frozen=True)
class PassEffect:
    """What one pass did.

    Attributes:
        name: a key of :data:`EXACT_PASSES`.
        places: how many it changed.
        before: the arena without it.
        after: and with it.
        kept: whether its changes are in the file.
        reason: why not, or empty.
    """

    name: str
    places: int
    before: Arena
    after: Arena
    kept: bool
    reason: str


@dataclass(frozen=True)
class OptimizeRecord:
    """How a ``.tflite`` became a leaner one.

    Attributes:
        path: the file that was read.
        out: the file that was written.
        before: the arena of the first, its constants inline.
        after: the arena of the second.
        flash_bytes_before: size of the first file.
        flash_bytes_after: and of the second.
        macs_before: multiply-accumulates of one inference.
        macs_after: and of the new file.
        inlined: constants that lay behind the flatbuffer, where the micro-controller's runtime doesn't look for them.
        effects: a pass each, in order; passes that found nothing to change are not among them.
        compared_runs: invocations on random inputs whose outputs were equal, to the bit.
    """

    path: str
    out: str
    before: Arena
    after: Arena
    flash_bytes_before: int
    flash_bytes_after: int
    macs_before: int
    macs_after: int
    inlined: int
    effects: tuple[PassEffect, ...]
    compared_runs: int

    def to_dict(self) -> dict[str, Any]:
        """Return what goes into a JSON file."""
        return asdict(self)


def optimize_tflite(
    path: str | Path, out: str | Path, *, passes: str | Sequence[str] = "all", runs: int = RUNS, seed: int = 0
) -> OptimizeRecord:
    """Write a ``.tflite`` with the same outputs that needs a smaller arena on TensorFlow Lite Micro.

    Every pass is measured and compared on the real interpreter. One that needs a larger arena, or changes a bit of an
    output, is undone; the record says so. What is written never needs more than what was read.

    Args:
        path: any ``.tflite`` that TensorFlow Lite Micro runs, with any number of inputs and outputs.
        out: where to write; replaced as a whole if it exists. May be ``path``.
        passes: ``"all"``, ``"none"``, or names of :data:`EXACT_PASSES`.
        runs: how many random inputs the outputs are compared on.
        seed: of those.

    Raises:
        TfliteError: the file is no ``.tflite``, or has an input of a type that is no number.
        InterpreterError: TensorFlow Lite Micro refuses the model as it is.
        ValueError: an unknown pass, ``runs`` below 1, or ``out`` can't be written.
        ImportError: the ``deploy`` extra is not installed.
    """
    if runs < 1:
        raise ValueError(f"runs must be at least 1, got {runs}")
    chosen, out = choose_passes(passes, tuple(EXACT_PASSES)), Path(out)
    if out.is_dir() or not out.parent.is_dir():
        raise ValueError(f"out must be a file in a folder that exists, got {out}")
    read, graph = load_tflite(path), read_graph(path)
    inlined = count_external(read)
    start = write_graph(graph) if inlined else read
    try:
        inputs = random_inputs(start, runs, seed)
    except TfliteError as error:
        raise TfliteError(f"{path}: {error}") from error
    first = run_model(str(path), start, inputs)
    best = whole = _Candidate(graph, start, first)
    effects, best = _apply(str(path), chosen, best, inputs)
    if best.outcome.total_bytes >= first.total_bytes:
        best, effects = whole, _undone(effects)
    write_bytes_atomically(out, best.data)
    return OptimizeRecord(
        path=str(path),
        out=str(out),
        before=_arena(first),
        after=_arena(best.outcome),
        flash_bytes_before=len(read),
        flash_bytes_after=len(best.data),
        macs_before=count_macs(graph),
        macs_after=count_macs(best.graph),
        inlined=inlined,
        effects=tuple(effects),
        compared_runs=runs,
    )


@dataclass(frozen=True)
class _Candidate:
    graph: Graph
    data: bytes
    outcome: Outcome


def _apply(
    path: str, chosen: Sequence[str], start: _Candidate, inputs: Sequence[NDArray[Any]]
) -> tuple[list[PassEffect], _Candidate]:
    effects: list[PassEffect] = []
    best, reference = start, start.outcome
    if chosen and start.graph.offline:
        # A plan that the file came with is for its tensors as they were; ours must beat it.
        bare = start.graph.copy()
        bare.set_offline(None)
        data = write_graph(bare)
        best = _Candidate(bare, data, run_model(path, data, inputs))
    for name in chosen:
        trial = best.graph.copy()
        places = EXACT_PASSES[name](trial)
        if not places:
            continue
        data = write_graph(trial)
        try:
            tried = run_model(path, data, inputs)
        except InterpreterError as error:
            effects.append(_effect(name, places, best.outcome, best.outcome, f"the interpreter fails: {error}"))
            continue
        reason = _why_not(reference, best.outcome, tried)
        effects.append(_effect(name, places, best.outcome, tried, reason))
        if not reason:
            best = _Candidate(trial, data, tried)
    return effects, best


def _why_not(reference: Outcome, before: Outcome, tried: Outcome) -> str:
    if not tried.same_outputs(reference):
        return "outputs would change"
    if tried.total_bytes > before.total_bytes:
        return f"the arena would grow by {tried.total_bytes - before.total_bytes} bytes"
    return ""


def _effect(name: str, places: int, before: Outcome, after: Outcome, reason: str) -> PassEffect:
    return PassEffect(name, places, _arena(before), _arena(after), not reason, reason)


def _undone(effects: Sequence[PassEffect]) -> list[PassEffect]:
    reason = "the file as it was needs no more"
    return [PassEffect(e.name, e.places, e.before, e.after, False, e.reason or reason) for e in effects]


def _arena(outcome: Outcome) -> Arena:
    return Arena(outcome.head_bytes, outcome.tail_bytes, outcome.total_bytes)
