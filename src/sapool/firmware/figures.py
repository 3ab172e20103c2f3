"""What a program takes besides its rows: code, stack and instructions, from what each kernel was measured to take."""

from __future__ import annotations

from sapool.firmware.generate import Planned
from sapool.firmware.scratch import DSP_CORES

# Bytes of code of each kernel and of the loop around them, on a Cortex-M4 (zig, -O2).
_LOOP_BYTES = 900
_CODE_BYTES = {
    "conv": 2400,
    "depthwise": 2600,
    "matmul": 1500,
    "add": 500,
    "mul": 400,
    "average_pool": 500,
    "max_pool": 400,
    "mean": 300,
    "softmax": 900,
    "table": 60,
    "move": 300,
}
# Instructions a multiply-accumulate, and a value where there is none, with DSP instructions and without.
_PER_MAC = {"conv": (1.5, 5.0), "depthwise": (4.5, 9.0), "matmul": (2.0, 6.0)}
_PER_VALUE = {"add": 30, "mul": 20, "softmax": 60, "average_pool": 25, "max_pool": 20, "mean": 6, "table": 5, "move": 6}


def code_bytes(planned: Planned) -> int:
    """Return the bytes of code: the loop, and every kernel that is used."""
    kinds = {step.kind for step in planned.program.steps}
    return _LOOP_BYTES + sum(_CODE_BYTES.get(kind, 500) for kind in kinds)


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
