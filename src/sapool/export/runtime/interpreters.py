"""The two interpreters: what they compute, and what arena TensorFlow Lite Micro needs."""

from __future__ import annotations

import importlib.metadata
import math
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sapool.base.arena import ArenaSize
from sapool.base.errors import SapoolError
from sapool.base.extras import require
from sapool.base.quoting import escape_controls
from sapool.base.records import ArenaRecord
from sapool.export.runtime.blame import Culprit, find_culprit, one_operator
from sapool.export.runtime.inputs import (
    inputs_of,
    one_image_a_run,
    output_names,
    outputs_of,
    random_inputs,
    run_count,
    without_batch,
    zero_inputs,
)
from sapool.export.runtime.process import TIME_LIMIT_S, Engine, Finished, Job, work
from sapool.export.runtime.worker import LOADED, PROBE
from sapool.memory import setup_bytes
from sapool.tflite import Graph, TfliteError, read_graph, verify
from sapool.tflite.file import load_tflite
from sapool.tflite.macs import count_macs

TIMED_INFERENCES = 30
_SEEDS = 3  # so many random inputs are tried on a model that zeros break
_LACKING = "Failed to get registration from op code"
_NAMES: dict[Engine, tuple[str, str]] = {
    "tflm": ("TensorFlow Lite Micro", "tflite_micro"),
    "litert": ("LiteRT", "ai_edge_litert"),
}

# TFLM's reference kernels do some 200 million multiply-accumulates a second on a desktop processor.
_LEAST_S, _SLOWEST_MACS_A_SECOND, _VALUE_COST = 1.5, 1e7, 50


class InterpreterError(SapoolError, RuntimeError):
    """An interpreter refuses a model, died of it or did not end; the message says which, on which operator and why.

    Attributes:
        culprit: the operator at fault, where one could be told.
        loaded: whether the interpreter had taken the model: then other inputs may not break it.
        timed_out: whether it was stopped because it took too long.
    """

    def __init__(
        self, message: str, culprit: Culprit | None = None, *, loaded: bool = False, timed_out: bool = False
    ) -> None:
        super().__init__(message)
        self.culprit, self.loaded, self.timed_out = culprit, loaded, timed_out


@dataclass(frozen=True)
class Outcome:
    """What an interpreter made of some inputs.

    Attributes:
        outputs: (runs, *shape), one an output of the model.
        names: theirs.
        size: of the arena, as the recording allocator printed it on this machine's 64-bit build; zeros for LiteRT.
    """

    outputs: tuple[NDArray[Any], ...]
    names: tuple[str, ...]
    size: ArenaSize

    @property
    def head_bytes(self) -> int:
        """Activations and scratch."""
        return self.size.head_bytes

    @property
    def tail_bytes(self) -> int:
        """Persistent data."""
        return self.size.tail_bytes

    @property
    def total_bytes(self) -> int:
        """Their sum."""
        return self.size.total_bytes

    def by_name(self) -> dict[str, NDArray[Any]]:
        """Return the outputs by their names."""
        return dict(zip(self.names, self.outputs, strict=True))

    def same_outputs(self, other: Outcome) -> bool:
        """Whether every output has the same bits."""
        pairs = zip(self.outputs, other.outputs, strict=True)
        return all(a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes() for a, b in pairs)


def run_model(
    name: str,
    data: bytes,
    inputs: Sequence[NDArray[Any]],
    engine: Engine = "tflm",
    *,
    time_limit: float | None = None,
    graph: Graph | None = None,
) -> Outcome:
    """Run a ``.tflite`` with any number of inputs and outputs in a process of its own, one invocation a run.

    Args:
        name: what messages call it.
        data: the file's bytes.
        inputs: (runs, *shape), one an input of the model; none for one that takes nothing, which is run once.
        engine: ``"tflm"`` or ``"litert"`` (its reference kernels, which round as TFLM's do).
        time_limit: how many seconds of the processor loading it, and each inference, may take; None: many times what
            so many multiply-accumulates take, at least 1.5.
        graph: what is in the file, where that is known already.

    Raises:
        TfliteError: the inputs are not what the file takes, or one of its inputs or outputs can't be run.
        InterpreterError: the interpreter refuses the model, aborts, or takes longer than ``time_limit``.
        ImportError: the ``deploy`` extra is not installed.
    """
    require(_NAMES[engine][1], "deploy", f"running {_NAMES[engine][0]}")
    graph = _graph_of(name, data) if graph is None else graph
    made = _checked(name, graph, inputs)
    limit = expected_limit(graph) if time_limit is None else time_limit
    with work(Job(engine, run_count(inputs), made, limit), data, inputs) as done:
        if done.code != 0:
            raise _failure(name, data, engine, inputs, done)
        size = _arena(done.said) if engine == "tflm" else ArenaSize(0, 0)
        return Outcome(done.outputs(), output_names(graph), size)


def measure_arena(path: str | Path, *, time_limit: float | None = None) -> ArenaRecord:
    """Run a ``.tflite`` once on the TFLM interpreter, in a process of its own, and return what its allocator recorded.

    Args:
        path: the file; any ``.tflite``, with any number of inputs and outputs.
        time_limit: how many seconds of the processor loading it, and one inference, may take; None: many times what
            so many multiply-accumulates take, at least 1.5.

    Returns:
        Head, tail and total in bytes, on this machine's 64-bit build.

    Raises:
        TfliteError: the file is no ``.tflite``.
        InterpreterError: the interpreter refuses the model (an operator it lacks, say), aborts, or takes too long.
        ImportError: the ``deploy`` extra is not installed.
    """
    data = load_tflite(path)
    graph = _graph_of(str(path), data)
    size = _run_somehow(str(path), data, graph, time_limit).size
    try:
        verify(graph)
    except TfliteError as error:  # the runtime has its own words for a tensor of unknown size, if it refuses it
        raise TfliteError(f"{path}: {error}") from None
    return ArenaRecord(
        head_bytes=size.head_bytes,
        tail_bytes=size.tail_bytes,
        total_bytes=size.total_bytes,
        flash_bytes=len(data),
        operators=tuple(sorted(graph.kinds())),
        interpreter=f"tflite-micro {importlib.metadata.version('tflite-micro')}, 64-bit",
        setup_bytes=setup_bytes(graph),
    )


def expected_limit(graph: Graph) -> float:
    """Return the seconds after which an inference is held for endless: 20 times what the slowest kernels take."""
    values = sum(math.prod(graph.tensors[made].shape) for op in graph.operators for made in op.outputs if made >= 0)
    return min(_LEAST_S + (count_macs(graph) + _VALUE_COST * values) / _SLOWEST_MACS_A_SECOND, TIME_LIMIT_S * 60)


def _graph_of(name: str, data: bytes) -> Graph:
    try:
        return read_graph(data, fixed=False)
    except TfliteError as error:
        raise TfliteError(f"{name}: {error}") from error


def _run_somehow(name: str, data: bytes, graph: Graph, time_limit: float | None) -> Outcome:
    """Run a model on zeros; where these break it, which is their fault and not the model's, on noise."""
    try:
        inputs = zero_inputs(graph)
    except TfliteError as error:
        raise TfliteError(f"{name}: {error}") from None
    try:
        return run_model(name, data, inputs, time_limit=time_limit, graph=graph)
    except InterpreterError as error:
        if not error.loaded or error.timed_out or not inputs:
            raise
        for seed in range(_SEEDS):
            try:
                return run_model(name, data, random_inputs(graph, 1, seed), time_limit=time_limit, graph=graph)
            except InterpreterError:
                continue
        raise


def run_interpreter(
    engine: Engine, path: str | Path, inputs: NDArray[Any], *, time_limit: float | None = None
) -> NDArray[Any]:
    """Run a ``.tflite`` that takes images and makes one result in a process of its own, one invocation an image.

    Args:
        engine: ``"tflm"`` or ``"litert"`` (its reference kernels, which round as TFLM's do).
        path: the file; with several inputs or outputs use :func:`run_model`.
        inputs: (N, H, W, C), in the model's own input type.
        time_limit: how many seconds of the processor loading it, and each inference, may take; None: many times what
            so many multiply-accumulates take, at least 1.5.

    Returns:
        Its raw outputs, (N, ...).

    Raises:
        TfliteError: the file has several inputs or outputs, or takes no such images.
        InterpreterError: the interpreter refuses the model, aborts, or takes too long.
    """
    data = load_tflite(path)
    graph = _graph_of(str(path), data)
    given = _only_input(path, graph, inputs)
    outputs = run_model(str(path), data, [given], engine, time_limit=time_limit, graph=graph).outputs
    if len(outputs) != 1:
        raise TfliteError(f"{path}: one output expected, it has {len(outputs)}: {', '.join(output_names(graph))}")
    return without_batch(outputs[0])


def measure_latency(path: str | Path) -> float:
    """Return the median time of one inference on LiteRT's optimised kernels, one thread, in milliseconds.

    It is this machine's, and no micro-controller's: good for one pooling beside another.

    Raises:
        InterpreterError: the interpreter refuses the model, aborts, or takes too long.
    """
    data = load_tflite(path)
    require(_NAMES["litert"][1], "deploy", "running LiteRT")
    inputs = zero_inputs(_graph_of(str(path), data), TIMED_INFERENCES + 3)
    with work(Job("time", TIMED_INFERENCES + 3, 1), data, inputs) as done:
        if done.code != 0:
            raise _failure(str(path), data, "litert", [values[:1] for values in inputs], done)
        return float(np.median(done.outputs()[0])) * 1000


def trace_tensors(path: str | Path, inputs: NDArray[Any], tensors: Sequence[int]) -> Iterator[dict[int, NDArray[Any]]]:
    """Run a ``.tflite`` on LiteRT's reference kernels and yield what it holds in between, one inference at a time.

    Args:
        path: the file, of one input.
        inputs: (N, H, W, C), in the model's own input type.
        tensors: which tensors of the main graph, by index; constants are not among them.

    Yields:
        {index: raw values}, for every input.

    Raises:
        InterpreterError: the interpreter refuses the model, aborts, or takes too long.
    """
    require(_NAMES["litert"][1], "deploy", "running LiteRT")
    data = load_tflite(path)
    given = [_only_input(path, _graph_of(str(path), data), inputs)]
    job = Job("trace", len(inputs), 0, wanted=tuple(int(tensor) for tensor in tensors))
    with work(job, data, given) as done:
        if done.code != 0:
            raise _failure(str(path), data, "litert", given, done)
        for index in range(len(inputs)):
            with np.load(done.folder / f"{index}.npz") as held:
                yield {int(key): held[key] for key in held}


def lacking_operators(kinds: Iterable[str]) -> frozenset[str]:
    """Return those builtin operators (``CONV_2D``) that the installed TFLM interpreter does not have.

    It is asked with a model of one such operator each, so the answer is the wheel's own, whatever its version.

    Raises:
        ImportError: the ``deploy`` extra is not installed.
    """
    require(_NAMES["tflm"][1], "deploy", "running TensorFlow Lite Micro")
    names = sorted(set(kinds))
    files = {f"probe-{number}.tflite": one_operator(kind) for number, kind in enumerate(names)}
    with work(Job("probe", 0, 0), b"", [], files) as done:
        answers = [answer.partition("\n") for answer in done.said.split(PROBE)[1:]]
    return frozenset(names[int(number)] for number, _, reply in answers if _LACKING in reply)


def _checked(name: str, graph: Graph, inputs: Sequence[NDArray[Any]]) -> int:
    """Return how many outputs a file has, once its inputs are known to be what it takes."""
    try:
        wanted, made = inputs_of(graph), outputs_of(graph)
        given = [(values.shape[1:], values.dtype.name) for values in inputs]
        if given != [(info.shape, info.dtype) for info in wanted]:
            said = ", ".join(f"{info.shape} of {info.dtype}" for info in wanted) or "nothing"
            raise TfliteError(f"it takes {said}, got {', '.join(f'{s} of {t}' for s, t in given) or 'nothing'}")
        return len(made)
    except TfliteError as error:
        raise TfliteError(f"{name}: {error}") from None


def _only_input(path: str | Path, graph: Graph, images: NDArray[Any]) -> NDArray[Any]:
    """Return images as runs of a file's one input."""
    wanted = inputs_of(graph)
    if len(wanted) != 1:
        raise TfliteError(f"{path}: one input expected, it has {len(wanted)}")
    try:
        return one_image_a_run(wanted[0], images)
    except TfliteError as error:
        raise TfliteError(f"{path}: {error}") from None


def _failure(
    name: str, data: bytes, engine: Engine, inputs: Sequence[NDArray[Any]], done: Finished
) -> InterpreterError:
    """Return the error that a dead worker means, with the operator it died of."""
    title = _NAMES[engine][0]
    loaded = LOADED in done.said
    if done.timed_out:
        what = "one inference" if loaded else "loading it"
        return InterpreterError(
            f"{name}: {title} takes more than {done.job.seconds:g} s for {what}: stopped", loaded=loaded, timed_out=True
        )
    complaint = _complaint(done.said)
    culprit = find_culprit(data, complaint, lambda part: _dies(engine, part, inputs))
    how = f"aborts with signal {-done.code}" if done.code < 0 else "refuses it"
    where = f" at {culprit}" if culprit else ""
    why = (culprit and culprit.cause) or complaint or "it said nothing"
    return InterpreterError(f"{name}: {title} {how}{escape_controls(where)}: {why}", culprit, loaded=loaded)


def _dies(engine: Engine, data: bytes, inputs: Sequence[NDArray[Any]]) -> bool:
    """Whether a beginning of a model fails as well; one that takes too long tells nothing, and counts as fine."""
    first = [values[:1] for values in inputs]
    with work(Job(engine, run_count(first), 1), data, first) as done:
        return done.code != 0 and not done.timed_out


def _complaint(said: str) -> str:
    """Return the telling lines of a dead worker: what came before Python's traceback, else its last lines."""
    before, _, after = said.partition("Traceback")
    lines = [line.strip() for line in before.splitlines() if line.strip() and not _is_chatter(line)]
    errors = [line.strip() for line in after.splitlines() if line.strip() and not line.startswith(" ")]
    return escape_controls(" | ".join(lines[-3:] or errors[-2:])[:400])


def _is_chatter(line: str) -> bool:
    return "RecordingMicroAllocator" in line or line.startswith(("INFO", " ", LOADED))


def _arena(report: str) -> ArenaSize:
    return ArenaSize(_allocation(report, "head"), _allocation(report, "tail"))


def _allocation(report: str, part: str) -> int:
    found = re.search(rf"Arena allocation {part} (\d+) bytes", report)
    if not found:
        raise InterpreterError(f"the interpreter's report has no line for {part}: {report[-200:]!r}")
    return int(found[1])
