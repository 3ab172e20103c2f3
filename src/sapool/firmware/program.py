"""A program's folder: its files, its record, what may be written over."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sapool.base.errors import SapoolError
from sapool.base.files import write_text_atomically
from sapool.firmware.cores import CORES, find_core
from sapool.firmware.emulate import EmulationRecord, ProgramCalls, Steps, emulate_image
from sapool.firmware.extras import Pixels, labels_file, main_file, pixels_file, selftest_file, selftest_images
from sapool.firmware.figures import code_bytes, instructions, stack_bytes
from sapool.firmware.generate import Planned, Source, constant_bytes, plan_program, write_source
from sapool.firmware.project import PROJECTS, project_files
from sapool.firmware.toolchain import compile_image
from sapool.tflite.graph import Graph

RECORD = "build.json"
_MADE_BY = "sapool build"
_KEYWORDS = frozenset(
    re.findall(
        r"\w+",
        "auto break case char class const continue default delete do double else enum extern float for friend goto if "
        "inline int long namespace new operator private protected public register restrict return short signed sizeof "
        "static struct switch template this throw try typedef typename union unsigned using virtual void "
        "volatile while",
    )
)
_SYSTEM = re.compile(r"u?int(_least|_fast)?\d+|u?int(max|ptr)|s?size|ptrdiff|wchar|char\d+|off|time|clock|div|ldiv")
Judge = Callable[[NDArray[Any]], Sequence[NDArray[np.uint8]]]


class BuildError(SapoolError, ValueError):
    """A program can't be written as asked; the message says what to change."""


@dataclass(frozen=True)
class CProgram:
    """A network as C files, and what it needs.

    Attributes:
        folder: where they lie.
        name: prefix of every name in them.
        core: what the figures are for.
        sources: the files to compile.
        stream_input: whether the image is taken row by row; otherwise it is kept whole.
        input_shape: (H, W, C).
        input_dtype: ``int8`` or ``uint8``.
        rows: pushes of an image.
        output_bytes: of every output.
        ram_bytes: of the state; there is no other static data.
        stack_bytes: at its deepest.
        flash_bytes: code and constants.
        code_bytes: without weights.
        macs: multiply-accumulates of an image.
        instructions: of an image, predicted.
        worst_push_macs: of the most expensive push of a row.
        operators: the operator of each step.
    """

    folder: str
    name: str
    core: str
    sources: tuple[str, ...]
    stream_input: bool
    input_shape: tuple[int, ...]
    input_dtype: str
    rows: int
    output_bytes: tuple[int, ...]
    ram_bytes: int
    stack_bytes: int
    flash_bytes: int
    code_bytes: int
    macs: int
    instructions: int
    worst_push_macs: int
    operators: tuple[str, ...]

    @property
    def total_ram_bytes(self) -> int:
        """State and stack: all RAM it takes."""
        return self.ram_bytes + self.stack_bytes

    @property
    def paths(self) -> tuple[Path, ...]:
        """The files to compile."""
        return tuple(Path(self.folder).absolute() / source for source in self.sources)


@dataclass(frozen=True)
class CProfile:
    """What a network would need as C files, without any being written; names as in :class:`CProgram`."""

    core: str
    ram_bytes: int
    stack_bytes: int
    flash_bytes: int
    code_bytes: int
    macs: int
    instructions: int
    worst_push_macs: int

    @property
    def total_ram_bytes(self) -> int:
        """State and stack: all RAM it takes."""
        return self.ram_bytes + self.stack_bytes


@dataclass(frozen=True)
class BuildRequest:
    """How a program is to be written.

    Attributes:
        name: prefix of every name; a C identifier.
        core: a name of :data:`sapool.firmware.cores.CORES`.
        stream_input: take the image row by row.
        labels: names of the classes; as many as the first output has values, or none.
        pixels: how 8-bit pixels become the network's input.
        project: a name of :data:`sapool.firmware.project.PROJECTS`.
    """

    name: str = "model"
    core: str = "cortex-m4"
    stream_input: bool = True
    labels: tuple[str, ...] = ()
    pixels: Pixels = field(default_factory=Pixels)
    project: str = "cmake"


def profile_program(graph: Graph, core: str = "cortex-m4", stream_input: bool = True) -> CProfile:
    """Return what a graph needs as C files.

    Raises:
        UnsupportedError: what the C engine does not have.
        ValueError: an unknown core.
    """
    planned = plan_program(graph, "model", find_core(core).name, stream=stream_input)
    code = code_bytes(planned)
    return CProfile(
        core=core,
        ram_bytes=planned.facts.ram_bytes,
        stack_bytes=stack_bytes(planned),
        flash_bytes=constant_bytes(planned) + code,
        code_bytes=code,
        macs=planned.program.macs,
        instructions=instructions(planned),
        worst_push_macs=planned.facts.worst_push_macs,
    )


def write_program(graph: Graph, folder: str | Path, request: BuildRequest, judge: Judge) -> CProgram:
    """Write a graph's C files.

    Args:
        graph: an int8 network with one input.
        folder: where to; made if it is not there. A program that was written there before is replaced.
        request: how.
        judge: returns right outputs for images (N, H, W, C): for each output, its bytes (N, n).

    Raises:
        BuildError: a name, labels or a folder that can't be used; nothing is written.
        UnsupportedError: what the C engine does not have; nothing is written.
    """
    target = Path(folder)
    _check(request, target)
    planned = plan_program(graph, request.name, request.core, stream=request.stream_input)
    _check_labels(request.labels, graph)
    source = write_source(planned, len(request.labels))
    images = selftest_images(graph.tensors[graph.inputs[0]])
    files = dict(source.files)
    units = [f"{request.name}.c", f"{request.name}_weights.c"]
    files |= pixels_file(planned, request.pixels) | labels_file(request.name, request.labels)
    files |= selftest_file(planned, judge(images))
    extra = [file for file in files if file.endswith(".c") and file not in units and "_selftest" not in file]
    program = _program(target, request, planned, source, (*units, *extra))
    files |= main_file(planned) | project_files(request.project, program)
    _replace(target, files, program)
    return program


def read_program(folder: str | Path) -> CProgram:
    """Return the program that lies in a folder.

    Raises:
        BuildError: there is none.
    """
    path = Path(folder) / RECORD
    try:
        held = json.loads(path.read_text())["program"]
        known = {one.name for one in fields(CProgram)}
        kept: dict[str, Any] = {key: held[key] for key in known - {"folder"}}
        kept |= {key: tuple(value) for key, value in kept.items() if isinstance(value, list)}
        return CProgram(folder=str(folder), **kept)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise BuildError(f"{folder} holds no program of sapool build: {path.name} is missing or damaged") from error


def emulate(program: CProgram, images: NDArray[Any]) -> EmulationRecord:
    """Compile a program and run it on an emulated core.

    Args:
        program: as :func:`write_program` made it.
        images: (N, H, W, C), raw, of the program's own input type.

    Returns:
        Outputs (N, output bytes), instructions, stack, RAM and flash.

    Raises:
        BuildError: images of another type or shape.
        ToolchainError: there is no compiler, or it refuses the code.
    """
    wanted = np.dtype(program.input_dtype)
    if images.dtype != wanted or tuple(images.shape[1:]) != tuple(program.input_shape):
        raise BuildError(
            f"images must be {wanted} of (N, {', '.join(map(str, program.input_shape))}), got {images.dtype} "
            f"{tuple(images.shape)}"
        )
    roots = [f"{program.name}_{call}" for call in ("init", "row", "push", "run", "output")]
    units = [path for path in program.paths if path.stem in (program.name, f"{program.name}_weights")]
    image = compile_image(units, find_core(program.core), roots)
    calls = ProgramCalls(program.name, program.ram_bytes, program.output_bytes[0], program.rows)
    return emulate_image(image, calls, images, Steps(f"{program.name}_step", program.operators))


# --- checks ----------------------------------------------------------------------------------------------------------


def _check(request: BuildRequest, folder: Path) -> None:
    if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", request.name) or request.name in _KEYWORDS:
        raise BuildError(f"name must be a C identifier, letters, digits and _, no keyword; got {request.name!r}")
    if _SYSTEM.fullmatch(request.name):
        raise BuildError(f"name must not make {request.name}_t a type that C has; got {request.name!r}")
    if request.name.startswith(("sapool", "__")):
        raise BuildError(f"name must not begin with sapool or __, which the kernels and C have; got {request.name!r}")
    find_core(request.core)
    if request.project not in PROJECTS:
        raise BuildError(f"unknown project {request.project!r}: choose from {', '.join(PROJECTS)}")
    for label in request.labels:
        if not label or any(c in '"\\' or ord(c) < 32 or ord(c) == 127 for c in label):
            raise BuildError(f"labels must be text without quotes, backslashes and line ends, got {label!r}")
    check_own_folder(folder)


def check_own_folder(folder: Path) -> None:
    """Check that a program may be written to a folder.

    Raises:
        BuildError: it is a file, or holds something else than a program.
    """
    if folder.exists() and not folder.is_dir():
        raise BuildError(f"{folder} is a file; name a folder")
    if not folder.is_dir() or not any(folder.iterdir()):
        return
    try:
        made_by = json.loads((folder / RECORD).read_text()).get("made_by")
    except (OSError, ValueError, AttributeError):
        made_by = None
    if made_by != _MADE_BY:
        raise BuildError(f"{folder} holds something else than a program of sapool build; name another folder")


def _check_labels(labels: Sequence[str], graph: Graph) -> None:
    classes = graph.tensors[graph.outputs[0]].shape[-1]
    if labels and len(labels) != classes:
        raise BuildError(f"labels must be one a class: the network has {classes}, got {len(labels)}")


# --- writing ---------------------------------------------------------------------------------------------------------


def _program(
    folder: Path, request: BuildRequest, planned: Planned, source: Source, sources: tuple[str, ...]
) -> CProgram:
    taken = planned.program.stores[planned.program.source]
    code = code_bytes(planned)
    return CProgram(
        folder=str(folder),
        name=request.name,
        core=request.core,
        sources=sources,
        stream_input=request.stream_input,
        input_shape=tuple(taken.tensor.shape[1:]),
        input_dtype=taken.tensor.dtype,
        rows=taken.rows,
        output_bytes=tuple(planned.program.stores[n].bytes for n in planned.program.outputs),
        ram_bytes=planned.facts.ram_bytes,
        stack_bytes=stack_bytes(planned),
        flash_bytes=source.constant_bytes + code,
        code_bytes=code,
        macs=planned.program.macs,
        instructions=instructions(planned),
        worst_push_macs=planned.facts.worst_push_macs,
        operators=source.steps,
    )


def _replace(folder: Path, files: dict[str, str], program: CProgram) -> None:
    """Write all files; those of a program that was there before and are not among them go."""
    folder.mkdir(parents=True, exist_ok=True)
    before = folder / RECORD
    if before.is_file():
        for name in json.loads(before.read_text()).get("files", []):
            if name not in files and not Path(name).is_absolute() and ".." not in Path(name).parts:
                (folder / name).unlink(missing_ok=True)
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        write_text_atomically(path, text)
    held = {key: value for key, value in asdict(program).items() if key != "folder"}
    record = {"made_by": _MADE_BY, "program": held, "files": sorted(files)}
    write_text_atomically(before, json.dumps(record, indent=2) + "\n")


__all__ = [
    "CORES",
    "BuildError",
    "BuildRequest",
    "CProfile",
    "CProgram",
    "emulate",
    "profile_program",
    "read_program",
    "write_program",
]
