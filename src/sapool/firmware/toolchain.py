"""Compiling C for a core, by whatever compiler there is: zig (from pip), GCC, clang."""

from __future__ import annotations

import functools
import importlib.util
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from sapool.base.errors import SapoolError
from sapool.firmware.cores import Core
from sapool.firmware.elf import Elf, SizeReport, read_elf

FLASH_ADDRESS, RAM_ADDRESS = 0x08000000, 0x20000000
FLASH_BYTES, RAM_BYTES = 64 << 20, 64 << 20
MACHINE = Path(__file__).with_name("machine")
WARNINGS = ("-std=c99", "-Wall", "-Wextra", "-Wconversion", "-Wshadow", "-Wpedantic", "-Werror")
_BARE = (
    "-O2",
    "-g0",
    "-ffreestanding",
    "-fomit-frame-pointer",
    "-fno-exceptions",
    "-ffunction-sections",
    "-fdata-sections",
    "-fno-pic",
)
# The inner loops are assembly: around them, -O2 is 2 % faster and takes half as much code again. Not for the link: zig
# takes it for a wish to have no symbols.
_SMALL = "-Os"
_TIMEOUT_SECONDS = 300
_SCRIPT = f"""ENTRY({{entry}})
MEMORY
{{{{
  FLASH (rx) : ORIGIN = {FLASH_ADDRESS:#x}, LENGTH = {FLASH_BYTES:#x}
  RAM (rw) : ORIGIN = {RAM_ADDRESS:#x}, LENGTH = {RAM_BYTES:#x}
}}}}
SECTIONS
{{{{
  .text : {{{{ {{keep}} *(.text .text.*) }}}} > FLASH
  .rodata : {{{{ *(.rodata .rodata.* .srodata .srodata.*) }}}} > FLASH
  .ARM.exidx : {{{{ *(.ARM.exidx*) }}}} > FLASH
  .data : {{{{ *(.data .data.* .sdata .sdata.*) }}}} > RAM
  .bss (NOLOAD) : {{{{ *(.bss .bss.* .sbss .sbss.* COMMON) }}}} > RAM
}}}}
"""

Kind = Literal["zig", "gcc", "clang"]


class ToolchainError(SapoolError, RuntimeError):
    """There is no compiler for a core, or it refuses the code; the message is for people."""


@dataclass(frozen=True)
class Compiler:
    """A compiler and what it is called with: ``command`` takes flags and files as clang and GCC do."""

    kind: Kind
    command: tuple[str, ...]


@dataclass(frozen=True)
class Image:
    """A linked program.

    Attributes:
        core: what it runs on.
        elf: its sections and symbols.
        units: bytes by compiled file, before linking, by the file's name.
        linked: bytes of what the link kept.
        compiler: who made it.
    """

    core: Core
    elf: Elf = field(repr=False)
    units: Mapping[str, SizeReport]
    linked: SizeReport
    compiler: Kind


@functools.cache
def find_compilers(core: Core) -> tuple[Compiler, ...]:
    """Return the compilers for ``core`` that are installed, best first.

    For this machine its own compiler goes first; for others zig, which is the same everywhere.
    """
    zig = (Compiler("zig", (sys.executable, "-m", "ziglang", "cc")),) if importlib.util.find_spec("ziglang") else ()
    if core.family == "host":
        names: tuple[tuple[Kind, str], ...] = (("gcc", "gcc"), ("clang", "clang"), ("gcc", "cc"))
        return tuple(Compiler(kind, (path,)) for kind, name in names if (path := shutil.which(name))) + zig
    bare = shutil.which("arm-none-eabi-gcc") if core.family == "arm" else None
    return zig + ((Compiler("gcc", (bare,)),) if bare else ())


def find_compiler(core: Core, kind: Kind | None = None) -> Compiler:
    """Return the compiler for ``core``: the best, or the one of a kind.

    Raises:
        ToolchainError: there is none.
    """
    for compiler in find_compilers(core):
        if kind in (None, compiler.kind):
            return compiler
    wanted = "compiler" if kind is None else kind
    raise ToolchainError(f"there is no {wanted} for {core.title}: pip install 'sapool[firmware]'")


def core_flags(core: Core, compiler: Compiler) -> tuple[str, ...]:
    """Return what makes ``compiler`` compile for ``core`` without an operating system."""
    if core.family == "host":
        return ("-O2", "-g0")
    if compiler.kind == "zig":
        return (*core.clang, *_BARE, "-fno-sanitize=all")
    return (*core.gcc, *_BARE)


def compile_image(
    sources: Sequence[Path],
    core: Core,
    roots: Sequence[str],
    *,
    kind: Kind | None = None,
    flags: Sequence[str] = (),
    language: Literal["c", "c++"] = "c",
) -> Image:
    """Compile and link C files into a program for a bare core, from flash and with nothing but what ``roots`` reach.

    Args:
        sources: the ``.c`` files.
        core: any but ``host``.
        roots: functions to keep; the first is the entry.
        kind: whose compiler; the best there is if None.
        flags: more flags, for the sources alone.
        language: what to take the sources for.

    Raises:
        ToolchainError: there is no compiler, it refuses the code, or the code calls what is in none of the files.
    """
    compiler = find_compiler(core, kind)
    common = core_flags(core, compiler)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        objects, units = [], {}
        for number, source in enumerate(sources):
            made = folder / f"{number}.o"
            as_language = ("-x", language) if language != "c" else ()
            run_compiler(compiler, (*common, _SMALL, *flags, *as_language, "-c", str(source), "-o", str(made)), folder)
            objects.append(str(made))
            units[source.name] = read_elf(made.read_bytes()).sizes()
        runtime = folder / "runtime.o"
        _compile_runtime(compiler, common, runtime, folder)
        script = folder / "memory.ld"
        keep = "".join(f"KEEP(*(.text.{root})) " for root in roots)
        script.write_text(_SCRIPT.format(entry=roots[0], keep=keep))
        kept = [f"-Wl,-u,{root}" for root in roots]
        link = (*common, "-nostartfiles", "-static", f"-Wl,-T,{script}", "-Wl,--gc-sections", *kept)
        program = folder / "program.elf"
        _link(compiler, (*link, *objects, str(runtime), "-o", str(program)), folder)
        elf = read_elf(program.read_bytes())
    return Image(core, elf, units, elf.sizes(), compiler.kind)


def _link(compiler: Compiler, command: Sequence[str], folder: Path) -> None:
    """Link; with the compiler's own arithmetic only where a core lacks an instruction: zig takes seconds to make it."""
    if compiler.kind == "gcc":
        return run_compiler(compiler, (*command, "-nostdlib", "-lgcc"), folder)
    try:
        run_compiler(compiler, (*command, "-nostdlib"), folder)
    except ToolchainError:
        run_compiler(compiler, command, folder)


def _compile_runtime(compiler: Compiler, common: Sequence[str], made: Path, folder: Path) -> None:
    # Told not to see its loops as calls of the very functions that they are.
    told = ("-fno-builtin", *(("-fno-tree-loop-distribute-patterns",) if compiler.kind == "gcc" else ()))
    run_compiler(compiler, (*common, *told, "-c", str(MACHINE / "runtime.c"), "-o", str(made)), folder)


def run_compiler(compiler: Compiler, arguments: Sequence[str], folder: Path) -> None:
    """Run a compiler in ``folder``.

    Raises:
        ToolchainError: it fails; the message holds what it said first.
    """
    command = (*compiler.command, *arguments)
    try:
        done = subprocess.run(
            command, cwd=folder, capture_output=True, text=True, check=False, timeout=_TIMEOUT_SECONDS
        )
    except subprocess.TimeoutExpired as error:
        raise ToolchainError(f"{compiler.kind} took longer than {_TIMEOUT_SECONDS} s") from error
    if done.returncode != 0:
        said = [line for line in done.stderr.splitlines() if "error" in line or "undefined" in line]
        raise ToolchainError(f"{compiler.kind} refuses the code: {' | '.join(said[:3]) or done.stderr[-300:]}")
