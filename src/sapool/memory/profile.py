"""What one inference needs of a micro-controller's RAM, and where: head, tail, and the figures papers quote."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from sapool.base.arena import ArenaSize, as_plain
from sapool.base.reading import parse_record
from sapool.memory.conventions import conventions_of, in_out_bytes
from sapool.memory.lifetimes import buffers_of, fixed_offsets, spans_of
from sapool.memory.persistent import firmware_tail_bytes, setup_bytes, tail_bytes, unknown_kinds
from sapool.memory.planners import Buffer, aligned, greedy_offsets, head_of
from sapool.tflite import Graph, TfliteError, macs_of, read_graph

_Placed = tuple[Buffer, int]


@dataclass(frozen=True)
class OperatorMemory:
    """What lives in the arena's head while one operator of the main graph runs.

    Attributes:
        index: its place in the execution order.
        kind: ``CONV_2D``.
        module: the PyTorch module it came from, or empty.
        live: (name, bytes) of every buffer alive, scratch too, largest first; bytes as the runtime aligns them.
        live_bytes: the bytes they take: their sum, less what an offline plan lays over each other.
        scratch_bytes: how much of it is this operator's scratch.
        in_out_bytes: its own inputs and outputs without constants, not aligned.
        macs: multiply-accumulates of convolutions, fully connected layers and matrix products; 0 for others.
    """

    index: int
    kind: str
    module: str
    live: tuple[tuple[str, int], ...]
    live_bytes: int
    scratch_bytes: int
    in_out_bytes: int
    macs: int


@dataclass(frozen=True, kw_only=True)
class MemoryProfile(ArenaSize):
    """The tensor arena of one network, predicted, and other figures that are called its memory.

    Attributes:
        head_bytes: activations and scratch, as TensorFlow Lite Micro places them.
        tail_bytes: what it keeps for tensors and operators, on a 64-bit build.
        setup_bytes: at most what the runtime needs of the head's room while it plans; larger than the head only for
            models of many small tensors.
        tail_bytes_32bit: the tail of TensorFlow Lite Micro's benchmark program on a 32-bit core: a ceiling, with a
            record of all allocations and room for 100 resource variables (what ``mcufit check --exact`` measures).
        total_bytes_32bit: with the same head.
        setup_bytes_32bit: as ``setup_bytes``, on a 32-bit core.
        firmware_bytes_32bit: ``total_bytes_32bit`` without that record and room: a firmware on the reference kernels of
            the snapshot in :mod:`sapool.memory.layouts`.
        lower_bound_bytes: the largest ``live_bytes``: no placement needs less head, unless it shares more bytes.
        peak_operator: the place in ``by_operator`` where the most is alive.
        by_operator: the main graph's operators in execution order.
        conventions: label -> bytes, see :func:`sapool.memory.conventions.conventions_of`.
        unknown_operators: kinds whose scratch and persistent bytes are not known, and so are left out.
    """

    tail_bytes_32bit: int
    total_bytes_32bit: int
    firmware_bytes_32bit: int
    lower_bound_bytes: int
    peak_operator: int
    by_operator: tuple[OperatorMemory, ...]
    conventions: Mapping[str, int]
    setup_bytes_32bit: int = 0
    unknown_operators: tuple[str, ...] = ()

    @property
    def arena_bytes_32bit(self) -> int:
        """The least arena on a 32-bit core, as ``arena_bytes`` is on a 64-bit build."""
        return self.total_bytes_32bit + max(0, self.setup_bytes_32bit - self.head_bytes)

    def to_json(self) -> str:
        """Return the profile as JSON text; :meth:`from_json` reads it back."""
        return json.dumps(as_plain(self), indent=1)

    @classmethod
    def from_json(cls, text: str) -> MemoryProfile:
        """Read what :meth:`to_json` wrote.

        Raises:
            ValueError: the text is no profile.
        """
        try:
            return parse_record(cls, text)
        except ValueError as error:
            raise ValueError(f"not a memory profile: {error}") from None


def profile_tflite(source: str | Path | bytes) -> MemoryProfile:
    """Predict the arena of a ``.tflite`` file (path or bytes) without running it.

    Raises:
        TfliteError: the file is no ``.tflite`` or can't be planned.
    """
    graph = read_graph(source)
    try:
        return profile_graph(graph)
    except (IndexError, KeyError) as error:  # only a file that breaks the operators' own rules gets here
        where = "" if isinstance(source, bytes) else f"{source}: "
        raise TfliteError(f"{where}a damaged .tflite file: an operator lacks an input, a side or an option") from error


def profile_graph(graph: Graph) -> MemoryProfile:
    """Predict the arena of a graph: lifetimes, scratch, greedy placement and persistent bytes.

    Offsets that the file gives (OfflineMemoryAllocation) are kept.
    """
    buffers = buffers_of(graph)
    offsets = greedy_offsets(buffers, fixed_offsets(graph, buffers))
    head = head_of(buffers, offsets)
    tail, tail_32bit = tail_bytes(graph), tail_bytes(graph, pointer_bytes=4)
    operators = _by_operator(graph, list(zip(buffers, offsets, strict=True)))
    return MemoryProfile(
        head_bytes=head,
        tail_bytes=tail,
        setup_bytes=setup_bytes(graph),
        tail_bytes_32bit=tail_32bit,
        total_bytes_32bit=head + tail_32bit,
        lower_bound_bytes=max((operator.live_bytes for operator in operators), default=0),
        peak_operator=max(range(len(operators)), key=lambda i: operators[i].live_bytes, default=0),
        by_operator=operators,
        conventions=conventions_of(graph, buffers),
        setup_bytes_32bit=setup_bytes(graph, pointer_bytes=4),
        unknown_operators=unknown_kinds(graph),
        firmware_bytes_32bit=head + firmware_tail_bytes(graph),
    )


def arena_size(graph: Graph) -> ArenaSize:
    """Return the sizes that :func:`profile_graph` predicts, and nothing else."""
    buffers = buffers_of(graph)
    head = head_of(buffers, greedy_offsets(buffers, fixed_offsets(graph, buffers)))
    return ArenaSize(head, tail_bytes(graph), setup_bytes(graph))


def _by_operator(graph: Graph, placed: list[_Placed]) -> tuple[OperatorMemory, ...]:
    """List what is alive at each operator; where one runs other graphs, at the step of it with the most alive."""
    rows = []
    for i, (operator, (start, end)) in enumerate(zip(graph.operators, spans_of(graph), strict=True)):
        near = [(b, offset) for b, offset in placed if b.first <= end and b.last >= start]
        alive = max((_alive(near, step) for step in range(start, end + 1)), key=_occupied)
        live = sorted(((_label(graph, b), aligned(b.size)) for b, _ in alive), key=lambda pair: -pair[1])
        scratch = sum(aligned(b.size) for b, _ in alive if b.operator == i and b.subgraph == 0)
        row = OperatorMemory(
            index=i,
            kind=operator.kind,
            module=operator.module,
            live=tuple(live),
            live_bytes=_occupied(alive),
            scratch_bytes=scratch,
            in_out_bytes=in_out_bytes(graph, operator),
            macs=macs_of(graph, operator),
        )
        rows.append(row)
    return tuple(rows)


def _alive(placed: list[_Placed], step: int) -> list[_Placed]:
    return [(b, offset) for b, offset in placed if b.first <= step <= b.last]


def _occupied(placed: list[_Placed]) -> int:
    """Count the bytes that lie under at least one buffer: an offline plan may lay several over each other."""
    count = end = 0
    for start, stop in sorted((offset, offset + aligned(b.size)) for b, offset in placed):
        count += max(0, stop - max(start, end))
        end = max(end, stop)
    return count


def _label(graph: Graph, buffer: Buffer) -> str:
    one = graph.graphs[buffer.subgraph]
    if buffer.tensor >= 0:
        return one.tensors[buffer.tensor].name
    return f"scratch of {one.operators[buffer.operator].kind}"
