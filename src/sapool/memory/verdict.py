"""Whether a model fits a board: the arena on the board's own core and kernels, and what the board leaves for it."""

from __future__ import annotations

from dataclasses import dataclass

from sapool.base.arena import ArenaSize
from sapool.memory.boards import Board, board_of, get_board
from sapool.memory.cmsis_scratch import NOT_COUNTED, cmsis_persistent_bytes, kernel_scratch
from sapool.memory.lifetimes import buffers_of, fixed_offsets, spans_of
from sapool.memory.persistent import firmware_tail_bytes, setup_bytes, tail_bytes
from sapool.memory.planners import Buffer, greedy_offsets, head_of
from sapool.memory.profile import MemoryProfile
from sapool.memory.scratch import scratch_sizes
from sapool.memory.targets import Target, get_target
from sapool.tflite import Graph

_POINTER_BYTES = 4
_UNCOUNTED = "the scratch of {core}'s own kernels is not counted: measure on the board"


@dataclass(frozen=True, kw_only=True)
class TargetMemory(ArenaSize):
    """The tensor arena on a target: its pointers and its kernels, not this machine's.

    Attributes:
        target: the target's name.
        head_bytes: activations and scratch, planned again with the target's kernels' scratch.
        tail_bytes: what the interpreter keeps, with 32-bit pointers, a record of all allocations and room for 100
            resource variables: a ceiling, as TensorFlow Lite Micro's benchmark program needs it.
        setup_bytes: at most what it needs of the head's room while it plans.
        scratch_bytes: the most that one operator's kernel asks for.
        caveats: what these figures leave out, one sentence each.
        spared_bytes: how much less a firmware without that record and room needs.
    """

    target: str
    scratch_bytes: int
    caveats: tuple[str, ...] = ()
    spared_bytes: int = 0


@dataclass(frozen=True)
class Verdict:
    """Whether a model fits.

    Attributes:
        board: the board's name, or the target's where there is no board.
        target: the board's kind of core and kernels.
        fits: the arena fits the RAM and the file the flash that are available.
        ram_needed_bytes: the arena on this target, what planning needs in it.
        ram_available_bytes: the board's RAM less what its firmware reserves.
        flash_needed_bytes: the ``.tflite`` file.
        flash_available_bytes: the board's flash less interpreter and kernels.
        reason: one line: what is left or short, then the caveats.
        caveats: what the figures leave out, one sentence each.
    """

    board: str
    target: str
    fits: bool
    ram_needed_bytes: int
    ram_available_bytes: int
    flash_needed_bytes: int
    flash_available_bytes: int
    reason: str
    caveats: tuple[str, ...] = ()


def profile_for_target(graph: Graph, target: Target | str) -> TargetMemory:
    """Predict the arena of a graph on a target: head planned with its kernels' scratch, tail with 32-bit pointers.

    Args:
        graph: as :func:`sapool.tflite.read_graph` reads it.
        target: a target or its name.

    Raises:
        ValueError: no target of that name, or TensorFlow Lite Micro does not run there.
    """
    target = get_target(target) if isinstance(target, str) else target
    if target.kernels == "none":
        raise ValueError(f"target {target.name}: TensorFlow Lite Micro does not run on its {target.core} core")
    buffers, most = _with_kernels(graph, target)
    head = head_of(buffers, greedy_offsets(buffers, fixed_offsets(graph, buffers)))
    plain = tail_bytes(graph, pointer_bytes=_POINTER_BYTES)
    more = _more_scratch(graph, target)
    return TargetMemory(
        target=target.name,
        head_bytes=head,
        tail_bytes=plain + _extra_tail(graph, target, more),
        setup_bytes=setup_bytes(graph, _POINTER_BYTES, more),
        scratch_bytes=most,
        caveats=_caveats(graph, target),
        spared_bytes=plain - firmware_tail_bytes(graph),
    )


def _with_kernels(graph: Graph, target: Target) -> tuple[tuple[Buffer, ...], int]:
    """Return the head's buffers with the target's scratch in the main graph, and the most one operator asks for."""
    tensors = [b for b in buffers_of(graph) if b.tensor >= 0]
    called = [b for b in buffers_of(graph) if b.operator >= 0 and b.subgraph > 0]
    asked = [kernel_scratch(graph, operator, target) for operator in graph.operators]
    scratch = [
        Buffer(size, first, last, operator=i)
        for i, (sizes, (first, last)) in enumerate(zip(asked, spans_of(graph), strict=True))
        for size in sizes
    ]
    return (*tensors, *scratch, *called), max(map(sum, asked), default=0)


def _more_scratch(graph: Graph, target: Target) -> int:
    """Return how many scratch buffers the target's kernels ask for beyond the reference kernels."""
    if target.kernels != "cmsis-nn":
        return 0
    return sum(len(kernel_scratch(graph, op, target)) - len(scratch_sizes(graph, op)) for op in graph.operators)


def _extra_tail(graph: Graph, target: Target, more: int) -> int:
    """Return the bytes of tail beyond the reference kernels': the kernels' own, and a handle a scratch buffer."""
    if target.kernels != "cmsis-nn":
        return 0
    return sum(cmsis_persistent_bytes(graph, op, target.simd) for op in graph.operators) + _POINTER_BYTES * more


def _caveats(graph: Graph, target: Target) -> tuple[str, ...]:
    found = []
    if not target.scratch_counted:
        found.append(_UNCOUNTED.format(core=target.name))
    kinds = sorted({op.kind for op in graph.operators} & set(NOT_COUNTED))
    if kinds and target.kernels == "cmsis-nn":
        found.append(f"the scratch of CMSIS-NN's {', '.join(kinds)} is not counted: measure on the board")
    return tuple(found)


def verdict(memory: MemoryProfile | TargetMemory, flash_bytes: int, board: Board | Target | str) -> Verdict:
    """Judge whether a model fits a board.

    Args:
        memory: of :func:`profile_for_target`; a :class:`MemoryProfile` is judged by its 32-bit arena, without what the
            board's kernels ask for beyond TFLM's reference kernels.
        flash_bytes: the size of the ``.tflite`` file.
        board: a board or its name; a target stands for its usual chip.

    Raises:
        ValueError: no board of that name, or ``memory`` is of another target.
    """
    board = get_board(board) if isinstance(board, str) else board_of(board) if isinstance(board, Target) else board
    if isinstance(memory, TargetMemory):
        if memory.target != board.target.name:
            raise ValueError(
                f"board {board.name} needs the memory of target {board.target.name}, got that of {memory.target}"
            )
        needed, caveats, spared = memory.arena_bytes, memory.caveats, memory.spared_bytes
    else:
        needed = memory.arena_bytes_32bit
        spared = memory.total_bytes_32bit - memory.firmware_bytes_32bit
        unknown = board.target.kernels not in ("reference", "none")
        caveats = (_UNCOUNTED.format(core=board.target.name),) if unknown else ()
    reason = _reason(board, needed, flash_bytes, spared)
    return Verdict(
        board=board.name,
        target=board.target.name,
        fits=not reason,
        ram_needed_bytes=needed,
        ram_available_bytes=board.available_ram_bytes,
        flash_needed_bytes=flash_bytes,
        flash_available_bytes=board.available_flash_bytes,
        reason="; ".join((reason or _left(board, needed, flash_bytes), *caveats)),
        caveats=caveats,
    )


def _left(board: Board, ram: int, flash: int) -> str:
    """Return what a model that fits leaves."""
    ram_left, flash_left = board.available_ram_bytes - ram, board.available_flash_bytes - flash
    return f"fits: {ram_left} bytes of RAM and {flash_left} of flash are left"


def _reason(board: Board, ram: int, flash: int, spared: int) -> str:
    """Return why a model does not fit, or an empty text."""
    if board.target.kernels == "none":
        return f"does not fit: TensorFlow Lite Micro does not run on its {board.target.core} core"
    short = [
        f"{needed - there} bytes of {name} short ({needed} needed, {there} available)"
        for name, needed, there in (
            ("RAM", ram, board.available_ram_bytes),
            ("flash", flash, board.available_flash_bytes),
        )
        if needed > there
    ]
    if not short:
        return ""
    return f"does not fit: {' and '.join(short)}{_way_out(board, ram, spared)}"


def _way_out(board: Board, ram: int, spared: int) -> str:
    """Return what would make an arena fit that is too large for the board's RAM, or an empty text."""
    if board.available_ram_bytes < ram <= board.available_ram_bytes + spared:
        return (
            f"; a firmware that records no allocations and has no resource variables needs {spared} bytes of RAM less"
        )
    if board.available_ram_bytes < ram <= board.external_ram_bytes:
        return f"; its external RAM of {board.external_ram_bytes} bytes would hold the arena, slower"
    return ""
