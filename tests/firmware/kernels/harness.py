"""Runs one kernel on this machine and on emulated cores: a C file with its constants and a function ``run``."""

from __future__ import annotations

import ctypes
import functools
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

import sapool.firmware
from sapool.firmware.cores import CORES, find_core
from sapool.firmware.emulate import Machine
from sapool.firmware.toolchain import WARNINGS, compile_image, find_compiler, run_compiler

KERNELS = Path(sapool.firmware.__file__).parent / "kernels"
INCLUDE = ("-I", str(KERNELS))


@dataclass(frozen=True)
class Case:
    """A kernel's call.

    Attributes:
        source: C text with ``void run(const int8_t *in, int8_t *out, int16_t *scratch)``.
        output_bytes: what ``run`` writes.
        scratch_bytes: what it may use beside.
    """

    source: str
    output_bytes: int
    scratch_bytes: int = 0


def array(kind: str, name: str, values: Any) -> str:
    """Return the definition of a constant array, aligned to words."""
    text = ", ".join(str(int(value)) for value in np.asarray(values).ravel())
    return f"static const {kind} {name}[] __attribute__((aligned(4))) = {{{text}}};\n"


def channels_array(bias: Any, multipliers: Any, shifts: Any) -> str:
    """Return the definition of ``channels``; shifts are TFLite's: above 0 to the left."""
    records = ", ".join(f"{{{b}, {m}, {-s}}}" for b, m, s in zip(bias, multipliers, shifts, strict=True))
    return f"static const sapool_channel channels[] = {{{records}}};\n"


class Window(Protocol):
    """What a convolution or a pool looks at."""

    @property
    def size(self) -> tuple[int, int, int]: ...
    @property
    def stride(self) -> int: ...
    @property
    def dilation(self) -> int: ...
    @property
    def padding(self) -> tuple[int, int, int, int]: ...


def row_calls(kernel: str, window: Window, kernel_h: int, wanted: NDArray[Any], scratch: str = ", scratch") -> str:
    """Return ``run``: a kernel called for each row of its output, with the input's rows under it."""
    height, width, channels = window.size
    return f"""
void run(const int8_t *in, int8_t *out, int16_t *scratch);
void run(const int8_t *in, int8_t *out, int16_t *scratch) {{
  const int8_t *rows[{kernel_h}];
  for (int32_t y = 0; y < {wanted.shape[0]}; y++) {{
    for (int32_t i = 0; i < {kernel_h}; i++) {{
      const int32_t at = y * {window.stride} + i * {window.dilation} - {window.padding[0]};
      rows[i] = at < 0 || at >= {height} ? NULL : in + at * {width * channels};
    }}
    (void)scratch;
    {kernel}(&op, rows, out + y * {wanted[0].size}{scratch});
  }}
}}
"""


def run_here(case: Case, given: NDArray[np.int8]) -> NDArray[np.int8]:
    """Run a case on this machine, with every warning an error."""
    compiler = find_compiler(CORES["host"])
    with tempfile.TemporaryDirectory() as name:
        source, made = Path(name) / "case.c", Path(name) / "case.so"
        source.write_text(case.source)
        flags = ("-O2", "-fPIC", "-shared", *WARNINGS, "-Wno-missing-prototypes", *INCLUDE)
        run_compiler(compiler, (*flags, str(source), "-o", str(made)), Path(name))
        library = ctypes.CDLL(str(made))
    taken = np.ascontiguousarray(given)
    out = np.full(case.output_bytes + 16, 77, np.int8)
    scratch = np.zeros(case.scratch_bytes + 16, np.int8)
    scratch[case.scratch_bytes :] = out[case.output_bytes :] = 77
    library.run(*(ctypes.c_void_p(held.ctypes.data) for held in (taken, out, scratch)))
    assert (out[case.output_bytes :] == 77).all(), "the kernel writes behind its output"
    assert (scratch[case.scratch_bytes :] == 77).all(), "the kernel writes behind its scratch"
    return out[: case.output_bytes]


@functools.lru_cache(maxsize=8)
def _machine(source: str, core: str, flags: tuple[str, ...]) -> Machine:
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "case.c"
        path.write_text(source)
        image = compile_image([path], find_core(core), ["run"], flags=(*WARNINGS, *INCLUDE, *flags))
    return Machine(image)


def emulate(
    case: Case, given: NDArray[np.int8], core: str = "cortex-m4", flags: tuple[str, ...] = ()
) -> tuple[NDArray[np.int8], int]:
    """Run a case on an emulated core; return its outputs and how many instructions it took."""
    machine = _machine(case.source, core, flags)
    taken = machine.allocate(given.nbytes)
    out, scratch = machine.allocate(case.output_bytes + 16), machine.allocate(case.scratch_bytes + 16)
    machine.write(taken, np.ascontiguousarray(given).tobytes())
    machine.write(out + case.output_bytes, b"M" * 16)
    machine.write(scratch + case.scratch_bytes, b"M" * 16)
    before = machine.instructions
    machine.call("run", taken, out, scratch)
    assert machine.read(out + case.output_bytes, 16) == b"M" * 16, "the kernel writes behind its output"
    assert machine.read(scratch + case.scratch_bytes, 16) == b"M" * 16, "the kernel writes behind its scratch"
    return np.frombuffer(machine.read(out, case.output_bytes), np.int8), machine.instructions - before


DSP = ("-DSAPOOL_DSP=1",)


def agree(case: Case, given: NDArray[np.int8], wanted: NDArray[Any], everywhere: bool = False) -> None:
    """Check a case against an oracle: here, with the DSP instructions and, if ``everywhere``, on more cores."""
    flat = np.asarray(wanted).ravel()
    assert np.array_equal(run_here(case, given), flat), "on this machine"
    cores = {"cortex-m4": DSP, **({"m33": DSP, "m0plus": (), "riscv32": ()} if everywhere else {})}
    for core, flags in cores.items():
        found, _ = emulate(case, given, core, flags)
        assert np.array_equal(found, flat), f"on {core}"
