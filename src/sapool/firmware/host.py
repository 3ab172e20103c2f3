"""Running a generated program on this machine, in a process of its own: for its bits, its speed, and the sanitizers."""

from __future__ import annotations

import re
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from sapool.base.errors import SapoolError
from sapool.firmware.cores import CORES
from sapool.firmware.toolchain import MACHINE, Kind, find_compiler, run_compiler

_SANITIZERS = ("-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-g1", "-O1")


class HostError(SapoolError, RuntimeError):
    """The program died on this machine; the message holds what it said."""


@dataclass(frozen=True)
class HostRun:
    """What a program did here: raw outputs, (N, output bytes), and the seconds that its fastest image took."""

    outputs: NDArray[Any]
    seconds: float


def run_on_host(
    sources: Sequence[Path],
    name: str,
    images: NDArray[Any],
    *,
    kind: Kind | None = None,
    sanitize: bool = False,
    flags: Sequence[str] = (),
    language: Literal["c", "c++"] = "c",
) -> HostRun:
    """Compile a generated program for this machine and run it on images, row by row.

    Args:
        sources: its C files; ``NAME.h`` is beside the first.
        name: the program's name.
        images: (N, H, W, C), in the program's own input type.
        kind: whose compiler; the best there is if None.
        sanitize: with the address and undefined-behaviour sanitizers: any complaint ends it.
        flags: more flags for the compiler.
        language: what to take the sources for.

    Raises:
        ToolchainError: there is no compiler, or it refuses the code.
        HostError: the program dies, or writes another number of bytes than it should.
    """
    compiler = find_compiler(CORES["host"], kind)
    defined = (
        f'-DHEADER="{name}.h"',
        f"-DNAME(function)={name}_##function",
        f"-DCONSTANT(constant)={name.upper()}_##constant",
    )
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        optimised = _SANITIZERS if sanitize else ("-O2",)
        objects = []
        for number, source in enumerate((*sources, MACHINE / "host_main.c")):
            made = folder / f"{number}.o"
            own = () if source.parent == MACHINE else flags
            searched = ("-x", language, "-I", str(sources[0].parent), *defined)
            run_compiler(compiler, (*optimised, *own, *searched, "-c", str(source), "-o", str(made)), folder)
            objects.append(str(made))
        program = folder / "program"
        run_compiler(compiler, (*optimised, *objects, "-o", str(program)), folder)
        done = subprocess.run(
            [str(program)], input=np.ascontiguousarray(images).tobytes(), capture_output=True, check=False
        )
    said = done.stderr.decode(errors="replace")
    if done.returncode != 0:
        raise HostError(f"{name} dies on this machine ({done.returncode}): {said[:600]}")
    if not len(images) or len(done.stdout) % len(images):
        raise HostError(f"{name} wrote {len(done.stdout)} bytes for {len(images)} images")
    seconds = re.search(r"seconds ([\d.]+)", said)
    outputs = np.frombuffer(done.stdout, images.dtype).reshape(len(images), -1)
    return HostRun(outputs, float(seconds[1]) if seconds else float("nan"))
