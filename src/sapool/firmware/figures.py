"""What a program takes besides its rows: code, stack and instructions, from what each kernel was measured to take."""

from __future__ import annotations

from sapool.firmware.generate import Planned
from sapool.firmware.scratch import DSP_CORES

# Bytes of code of the loop, of each kernel with its part of the loop, and of what convolutions and products share, on a
# Cortex-M4 (zig, -Os).
_LOOP_BYTES = 500
_CODE_BYTES = {
    "conv": 1550,
    "depthwise": 2500,
    "matmul": 1250,
    "add": 620,
    "mul": 360,
    "average_pool": 690,
    "max_pool": 260,
    "mean": 320,
    "softmax": 460,
    "table": 110,
    "move": 400,
    "extremum": 200,
}
_TILE_BYTES = 1290
_PLAIN = 1.33  # times as much code without DSP instructions
# Instructions a multiply-accumulate, and a value where there is none, with DSP instructions and without.
_PER_MAC = {"conv": (1.3, 4.0), "depthwise": (3.8, 9.5), "matmul": (1.9, 7.0)}
_PER_VALUE = {"add": 50, "mul": 30, "softmax": 40, "average_pool": 20, "max_pool": 25, "mean": 8, "table": 6, "move": 8}


def code_bytes(planned: Planned) -> int:
    """Return the bytes of code: the loop, and every kernel that is used."""
    kinds = {step.kind for step in planned.program.steps}
    own = _LOOP_BYTES + sum(_CODE_BYTES.get(kind, 500) for kind in kinds)
    if planned.facts.core not in DSP_CORES:
        return int(_PLAIN * own)
    return own + (_TILE_BYTES if kinds & {"conv", "matmul"} else 0)


def stack_bytes(planned: Planned) -> int:
    """Return the stack at its deepest."""
    return planned.facts.stack_bytes


def instructions(planned: Planned) -> int:
    """Return the instructions of an image."""
    plain = planned.facts.core not in DSP_CORES
    total = 0.0
    for step in planned.program.steps:
        store = planned.program.stores[step.output]
        total += 60 * step.tasks
        if step.kind in _PER_MAC:
            total += _PER_MAC[step.kind][plain] * step.macs * step.tasks
        else:
            total += _PER_VALUE.get(step.kind, 20) * store.bytes
    return int(total)
