"""Running a compiled program on an emulated core: its outputs, every instruction counted, and the stack it needs.

The program needs nothing for it: the emulator calls its functions by their symbols. Instructions are counted exactly,
by a small C function that this machine's compiler makes; those that Thumb's IT skips count too, for they cost a cycle.
"""

from __future__ import annotations

import ctypes
import functools
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sapool.base.errors import SapoolError
from sapool.base.extras import require
from sapool.firmware.cores import CORES, Core
from sapool.firmware.elf import Elf
from sapool.firmware.toolchain import (
    FLASH_ADDRESS,
    MACHINE,
    RAM_ADDRESS,
    Image,
    ToolchainError,
    find_compiler,
    run_compiler,
)

OTHER = "other"  # the instructions that belong to no operator
_STACK_BYTES = 256 << 10
_PAGE = 0x1000
_PAINT = 0xC5
_TIME_LIMIT_SECONDS = 600


class EmulationError(SapoolError, RuntimeError):
    """The emulated program did not run to its end; the message says where it was."""


@dataclass(frozen=True)
class EmulationRecord:
    """What a program did on an emulated core.

    Attributes:
        outputs: raw, as the program's type has them, (N, output bytes) or as the caller shapes them.
        instructions: of one inference, the largest of all images'.
        instructions_by_operator: the same inference's, by operator; ``other`` is the loop around them.
        worst_push_instructions: the largest of all pushes of one row; ``instructions`` where the image is whole.
        stack_bytes: the deepest stack.
        ram_bytes: state, static data and stack.
        flash_bytes: code, constants, initial values of data.
    """

    outputs: NDArray[Any]
    instructions: int
    instructions_by_operator: Mapping[str, int]
    worst_push_instructions: int
    stack_bytes: int
    ram_bytes: int
    flash_bytes: int


class _Call(ctypes.Structure):
    _fields_ = (("back", ctypes.c_uint32), ("stack", ctypes.c_uint32), ("operator", ctypes.c_int32))


class _Counter(ctypes.Structure):
    """The ``counter`` of ``machine/count.c``, field by field."""

    _fields_ = (
        ("total", ctypes.c_uint64),
        ("by_operator", ctypes.c_void_p),
        ("code", ctypes.c_void_p),
        ("seen", ctypes.c_void_p),
        ("base", ctypes.c_uint64),
        ("length", ctypes.c_uint64),
        ("entry", ctypes.c_uint64),
        ("read", ctypes.c_void_p),
        ("link_register", ctypes.c_int32),
        ("stack_register", ctypes.c_int32),
        ("argument_register", ctypes.c_int32),
        ("none", ctypes.c_int32),
        ("riscv", ctypes.c_int32),
        ("depth", ctypes.c_int32),
        ("current", ctypes.c_int32),
        ("calls", _Call * 64),
    )


@dataclass(frozen=True)
class Steps:
    """How a program's instructions are told apart by operator.

    Attributes:
        function: the C function that makes a row of any operator; its second argument says of which.
        operators: the operators' names, by that argument.
    """

    function: str
    operators: tuple[str, ...]


class Machine:
    """A core with the program in its flash, RAM behind the program's static data, and a stack.

    Args:
        image: the program.
        steps: how to tell operators apart; without it all belongs to ``other``.

    Raises:
        ToolchainError: this core can't be emulated, or no compiler makes the counter.
        ImportError: the ``firmware`` extra is not installed.
    """

    def __init__(self, image: Image, steps: Steps | None = None) -> None:
        self._unicorn = require("unicorn", "firmware", "emulating a core")
        self._image, self._elf = image, image.elf
        self._constants = _Registers.of(image.core)
        self._engine = self._start(image.core)
        self._load()
        self.operators = (*(steps.operators if steps else ()), OTHER)
        self._watch(self._elf.symbol(steps.function).address if steps else 0)

    @property
    def instructions(self) -> int:
        """How many instructions ran so far."""
        return self._counter.total

    def instructions_by_operator(self) -> NDArray[np.uint64]:
        """Return how many instructions ran so far for each of ``operators``."""
        return self._by_operator.copy()

    def allocate(self, size_bytes: int) -> int:
        """Return the address of ``size_bytes`` zeros in RAM that nobody else has, aligned to 16."""
        address = self._free
        self._free += -(-size_bytes // 16) * 16
        if self._free > self._stack_top - _STACK_BYTES:
            raise EmulationError(f"{size_bytes} bytes more do not fit the emulated RAM")
        return address

    def write(self, address: int, data: bytes) -> None:
        """Put bytes into memory."""
        self._engine.mem_write(address, data)

    def read(self, address: int, size_bytes: int) -> bytes:
        """Take bytes from memory."""
        return bytes(self._engine.mem_read(address, size_bytes))

    def call(self, function: str, *arguments: int, time_limit_seconds: float = _TIME_LIMIT_SECONDS) -> int:
        """Call a C function with up to four words and return the word it returns.

        Raises:
            EmulationError: it accesses what is not there, or does not return in time.
        """
        symbol, names = self._elf.symbol(function), self._constants
        for register, value in zip(names.arguments, arguments, strict=False):
            self._engine.reg_write(register, value & 0xFFFFFFFF)
        self._engine.reg_write(names.stack, self._stack_top)
        self._engine.reg_write(names.link, self._end | names.thumb)
        self._counter.depth, self._counter.current = 0, self._counter.none
        try:
            limit = int(time_limit_seconds * 1e6)
            self._engine.emu_start(symbol.address | names.thumb, self._end, timeout=limit)
        except self._unicorn.UcError as error:
            raise EmulationError(f"{function} fails at {self._place()}: {error}") from error
        if self._engine.reg_read(names.counter) & ~1 != self._end:
            raise EmulationError(f"{function} did not return within {time_limit_seconds:g} s: it is at {self._place()}")
        return int(self._engine.reg_read(names.arguments[0]))

    def stack_bytes(self) -> int:
        """Return how deep the stack was at its deepest, by what is left of the paint."""
        painted = np.frombuffer(self.read(self._stack_top - _STACK_BYTES, _STACK_BYTES), np.uint8) == _PAINT
        touched = np.flatnonzero(~painted)
        return _STACK_BYTES - int(touched[0]) if touched.size else 0

    def _start(self, core: Core) -> Any:
        if not core.emulated_as:
            known = ", ".join(other.name for other in CORES.values() if other.emulated_as)
            raise ToolchainError(f"the emulator has no {core.title}: choose from {known}")
        constants = self._unicorn.unicorn_const
        if core.family == "arm":
            engine = self._unicorn.Uc(constants.UC_ARCH_ARM, constants.UC_MODE_THUMB | constants.UC_MODE_MCLASS)
            engine.ctl_set_cpu_model(getattr(self._unicorn.arm_const, core.emulated_as))
        else:
            engine = self._unicorn.Uc(constants.UC_ARCH_RISCV, constants.UC_MODE_RISCV32)
            engine.ctl_set_cpu_model(getattr(self._unicorn.riscv_const, core.emulated_as))
        return engine

    def _load(self) -> None:
        loaded = [s for s in self._elf.sections if s.loaded and s.size_bytes]
        flash_end = max(s.address + s.size_bytes for s in loaded if s.address < RAM_ADDRESS)
        static_end = max([s.address + s.size_bytes for s in loaded if s.address >= RAM_ADDRESS], default=RAM_ADDRESS)
        self._end = -(-flash_end // _PAGE) * _PAGE  # where a call returns to: nothing is there
        self._engine.mem_map(FLASH_ADDRESS, self._end + _PAGE - FLASH_ADDRESS)
        self._free = -(-static_end // 16) * 16
        self._stack_top = RAM_ADDRESS + (16 << 20)
        self._engine.mem_map(RAM_ADDRESS, self._stack_top - RAM_ADDRESS)
        for section in loaded:
            self._engine.mem_write(section.address, section.content)
        self._engine.mem_write(self._stack_top - _STACK_BYTES, bytes([_PAINT]) * _STACK_BYTES)

    def _watch(self, entry: int) -> None:
        length = self._end - FLASH_ADDRESS
        code = np.frombuffer(self.read(FLASH_ADDRESS, length), np.uint8)
        self._by_operator = np.zeros(len(self.operators), np.uint64)
        seen = np.zeros(length // 2, np.uint32)
        library = require("unicorn.unicorn_py3.unicorn", "firmware", "emulating a core").uclib
        self._counter = _Counter(
            by_operator=self._by_operator.ctypes.data,
            code=code.ctypes.data,
            seen=seen.ctypes.data,
            base=FLASH_ADDRESS,
            length=length,
            entry=entry,
            read=ctypes.cast(library.uc_reg_read, ctypes.c_void_p),
            link_register=self._constants.link,
            stack_register=self._constants.stack,
            argument_register=self._constants.arguments[1],
            none=len(self.operators) - 1,
            riscv=self._image.core.family == "riscv",
            current=len(self.operators) - 1,
        )
        self._kept = (code, seen)  # the counter reads them
        hook = ctypes.c_size_t()
        function = ctypes.cast(_counting_library().on_block, ctypes.c_void_p)
        status = library.uc_hook_add(
            self._engine._uch,
            ctypes.byref(hook),
            ctypes.c_int(self._unicorn.unicorn_const.UC_HOOK_BLOCK),
            function,
            ctypes.cast(ctypes.byref(self._counter), ctypes.c_void_p),
            ctypes.c_uint64(1),
            ctypes.c_uint64(0),
        )
        if status != 0:
            raise EmulationError(f"unicorn takes no hook: error {status}")

    def _place(self) -> str:
        return describe_address(self._elf, int(self._engine.reg_read(self._constants.counter)))


@dataclass(frozen=True)
class _Registers:
    """unicorn's numbers of the registers that a call needs."""

    arguments: tuple[int, ...]
    stack: int
    link: int
    counter: int
    thumb: int

    @classmethod
    def of(cls, core: Core) -> _Registers:
        if core.family == "arm":
            arm = require("unicorn.arm_const", "firmware", "emulating a core")
            names = tuple(getattr(arm, f"UC_ARM_REG_R{n}") for n in range(4))
            return cls(names, arm.UC_ARM_REG_SP, arm.UC_ARM_REG_LR, arm.UC_ARM_REG_PC, 1)
        riscv = require("unicorn.riscv_const", "firmware", "emulating a core")
        names = tuple(getattr(riscv, f"UC_RISCV_REG_A{n}") for n in range(8))
        return cls(names, riscv.UC_RISCV_REG_SP, riscv.UC_RISCV_REG_RA, riscv.UC_RISCV_REG_PC, 0)


def describe_address(elf: Elf, address: int) -> str:
    """Return which function an address is in, and how far."""
    for symbol in elf.functions():
        if symbol.address <= address < symbol.address + max(symbol.size_bytes, 2):
            return f"{symbol.name}+{address - symbol.address:#x}"
    return f"{address:#x}"


@functools.cache
def _counting_library() -> ctypes.CDLL:
    """Compile ``machine/count.c`` for this machine and load it; no file of it stays."""
    compiler = find_compiler(CORES["host"])
    with tempfile.TemporaryDirectory() as name:
        made = Path(name) / "count.so"
        source = str(MACHINE / "count.c")
        run_compiler(compiler, ("-O2", "-g0", "-fPIC", "-shared", source, "-o", str(made)), Path(name))
        return ctypes.CDLL(str(made))


@dataclass(frozen=True)
class ProgramCalls:
    """How the emulator drives a program called ``name``: the functions, and the sizes they work on.

    Attributes:
        name: the program's name: its functions are ``NAME_init``, ``NAME_row``, ...
        state_bytes: size of its state.
        output_bytes: size of its first output.
        rows: how many rows an image has; 0 where the program takes it whole.
    """

    name: str
    state_bytes: int
    output_bytes: int
    rows: int


def emulate_image(
    image: Image, calls: ProgramCalls, images: NDArray[Any], steps: Steps | None = None
) -> EmulationRecord:
    """Run a program on images, a row at a time as a camera brings them.

    Args:
        image: the compiled program.
        calls: what to call.
        images: (N, H, W, C), in the program's own input type.
        steps: how to tell operators apart.

    Returns:
        What it did; outputs are (N, output bytes) of the images' type.

    Raises:
        EmulationError: the program fails or does not end.
    """
    machine = Machine(image, steps)
    state = machine.allocate(calls.state_bytes)
    room = machine.allocate(images[0].nbytes) if len(images) and not calls.rows else 0
    machine.call(f"{calls.name}_init", state)
    outputs, worst_image, worst_push, by_operator = [], 0, 0, machine.instructions_by_operator()
    for sample in images:
        before, parts = machine.instructions, machine.instructions_by_operator()
        result, pushes = _infer(machine, calls, state, room, np.ascontiguousarray(sample))
        worst_push = max(worst_push, *pushes)
        outputs.append(np.frombuffer(machine.read(result, calls.output_bytes), images.dtype))
        if machine.instructions - before > worst_image:
            worst_image, by_operator = machine.instructions - before, machine.instructions_by_operator() - parts
    stack = machine.stack_bytes()
    return EmulationRecord(
        outputs=np.stack(outputs),
        instructions=worst_image,
        instructions_by_operator=_added(machine.operators, by_operator),
        worst_push_instructions=worst_push,
        stack_bytes=stack,
        ram_bytes=calls.state_bytes + image.linked.ram_bytes + stack,
        flash_bytes=image.linked.flash_bytes,
    )


def _added(names: Sequence[str], counts: NDArray[np.uint64]) -> dict[str, int]:
    """Return the counts by name; operators of one name are one."""
    added = dict.fromkeys(names, 0)
    for name, count in zip(names, counts, strict=True):
        added[name] += int(count)
    return added


def _infer(
    machine: Machine, calls: ProgramCalls, state: int, room: int, sample: NDArray[Any]
) -> tuple[int, Sequence[int]]:
    """Run one image; return the address of the result and how many instructions each push took."""
    if not calls.rows:
        machine.write(room, sample.tobytes())
        before = machine.instructions
        return machine.call(f"{calls.name}_run", state, room), [machine.instructions - before]
    pushes, result = [], 0
    for row in sample.reshape(calls.rows, -1):
        machine.write(machine.call(f"{calls.name}_row", state), row.tobytes())
        before = machine.instructions
        result = machine.call(f"{calls.name}_push", state)
        pushes.append(machine.instructions - before)
    if not result:
        raise EmulationError(f"{calls.name}_push returned NULL for the last of {calls.rows} rows")
    return result, pushes
