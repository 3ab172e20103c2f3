"""How deep the stack of a program gets, from what each kernel was measured to take."""

from __future__ import annotations

from sapool.firmware.rows import Program
from sapool.firmware.scratch import DSP_CORES

# Bytes below the caller of NAME_push while a kernel runs, without the list of rows: the largest seen in random networks
# on the emulated core (zig, -Os). They differ by some words, with how the loop around them is compiled.
_DSP = {
    "conv": 336,
    "depthwise": 376,
    "depthwise without scratch": 248,
    "matmul": 344,
    "average_pool": 128,
    "add": 128,
    "max_pool": 96,
    "mul": 96,
    "mean": 80,
    "move": 120,
    "softmax": 64,
    "table": 64,
}
_THUMB = {
    "conv": 400,
    "depthwise": 320,
    "matmul": 160,
    "average_pool": 184,
    "add": 208,
    "max_pool": 160,
    "mul": 192,
    "mean": 120,
    "move": 128,
    "softmax": 192,
    "table": 120,
}
_RISCV = {
    "conv": 328,
    "depthwise": 248,
    "matmul": 80,
    "average_pool": 80,
    "add": 120,
    "max_pool": 64,
    "mul": 88,
    "mean": 72,
    "move": 88,
    "softmax": 80,
    "table": 72,
}
_ANY = 160  # of a kernel that was not measured


def stack_bytes(program: Program, core: str) -> int:
    """Return the stack at its deepest, a little above what the compiled program takes.

    Args:
        program: its steps.
        core: what it is for.
    """
    frames = _DSP if core in DSP_CORES else _RISCV if core == "riscv32" else _THUMB
    deepest = 0
    for step in program.steps:
        kind = step.kind
        if kind == "depthwise" and not step.scratch and core in DSP_CORES:
            kind = "depthwise without scratch"
        deepest = max(deepest, frames.get(kind, _ANY))
    return deepest + 8 * -(-_longest(program) // 2)


def _longest(program: Program) -> int:
    """Return the most rows that a step looks at at once: a list of pointers on the stack."""
    return max((max(s.window.taps, len(s.reads) if s.kind == "move" else 0) for s in program.steps), default=1)
