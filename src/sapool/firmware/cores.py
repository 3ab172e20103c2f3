"""The processors that generated C is built for: how each compiler and the emulator call them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from sapool.base.suggest import suggest

Family = Literal["arm", "riscv", "host"]


@dataclass(frozen=True)
class Core:
    """One kind of processor.

    Attributes:
        name: what ``--core`` calls it.
        title: what people call it.
        family: which instruction set it belongs to.
        clang: flags for clang (zig).
        gcc: flags for a GCC of its family; empty where none is looked for.
        emulated_as: the constant of unicorn's that names its model; empty where unicorn has none.
    """

    name: str
    title: str
    family: Family
    clang: tuple[str, ...] = ()
    gcc: tuple[str, ...] = ()
    emulated_as: str = ""


def _arm(name: str, title: str, clang: str, gcc: str, emulated_as: str) -> Core:
    cpu = ("-target", "thumb-freestanding-eabi", f"-mcpu={clang}")
    return Core(name, title, "arm", cpu, (f"-mcpu={gcc}", "-mthumb", "-mfloat-abi=soft"), emulated_as)


CORES = {
    core.name: core
    for core in (
        _arm("cortex-m4", "Cortex-M4", "cortex_m4", "cortex-m4", "UC_CPU_ARM_CORTEX_M4"),
        _arm("m7", "Cortex-M7", "cortex_m7", "cortex-m7", "UC_CPU_ARM_CORTEX_M7"),
        _arm("m33", "Cortex-M33", "cortex_m33+dsp", "cortex-m33", "UC_CPU_ARM_CORTEX_M33"),
        _arm("m55", "Cortex-M55", "cortex_m55", "cortex-m55+nomve", ""),
        _arm("m0plus", "Cortex-M0+", "cortex_m0plus", "cortex-m0plus", "UC_CPU_ARM_CORTEX_M0"),
        Core(
            "riscv32",
            "RISC-V (RV32IMAC)",
            "riscv",
            ("-target", "riscv32-freestanding", "-mcpu=generic_rv32+m+a+c", "-mabi=ilp32"),
            emulated_as="UC_CPU_RISCV32_BASE32",
        ),
        Core("host", "this machine", "host"),
    )
}


def find_core(name: str) -> Core:
    """Return the core that ``--core`` calls ``name``.

    Raises:
        ValueError: there is none of that name; the message lists those there are.
    """
    if name not in CORES:
        raise ValueError(f"unknown core {name!r}: {suggest(name, CORES)}")
    return CORES[name]
