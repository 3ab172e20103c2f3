"""From a graph to the C files of a program, all of them text."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from sapool.firmware.cuts import choose_cuts
from sapool.firmware.emit_code import Ends, Facts, code, header, state_bytes, weights
from sapool.firmware.emit_parts import Constants
from sapool.firmware.emit_steps import KERNELS, Tables, TableWriter
from sapool.firmware.plan import Plan
from sapool.firmware.rows import Program, lower
from sapool.firmware.schedule import Schedule
from sapool.firmware.scratch import DSP_CORES
from sapool.firmware.stack import stack_bytes
from sapool.firmware.table_bytes import table_bytes
from sapool.tflite.graph import Graph

KERNEL_FOLDER = Path(__file__).parent / "kernels"


@dataclass(frozen=True)
class Planned:
    """A network whose schedule and memory are decided, before any C is written.

    Attributes:
        program: its steps.
        schedule: their order.
        plan: where its buffers lie.
        facts: its figures.
    """

    program: Program
    schedule: Schedule
    plan: Plan
    facts: Facts


@dataclass(frozen=True)
class Source:
    """The files of a program that are the same for every project.

    Attributes:
        files: {name: text}.
        steps: the operator that each step belongs to.
        constant_bytes: of weights, other constants and tables.
    """

    files: Mapping[str, str]
    steps: tuple[str, ...] = ()
    constant_bytes: int = 0
    kernels: tuple[str, ...] = field(default=())


def plan_program(graph: Graph, name: str, core: str, *, stream: bool = True) -> Planned:
    """Decide a network's schedule and memory.

    Args:
        graph: an int8 network.
        name: of the program.
        core: what it is for.
        stream: whether the image comes row by row.

    Raises:
        UnsupportedError: what the C engine does not have.
    """
    program = lower(graph, core)
    schedule, plan = choose_cuts(program, stream=stream)
    most = max((step.tasks for step in program.steps), default=1)
    facts = Facts(
        name=name,
        core=core,
        arena_bytes=plan.bytes,
        ram_bytes=state_bytes(plan.bytes, len(program.steps), most),
        stack_bytes=stack_bytes(program, core),
        worst_push_macs=max(sum(program.steps[n].macs for n in push) for push in schedule.pushes),
        pushes=len(schedule.pushes),
        steps=len(program.steps),
        most_tasks=most,
        stream=stream,
        dsp=core in DSP_CORES,
    )
    return Planned(program, schedule, plan, facts)


def write_source(planned: Planned, labels: int = 0) -> Source:
    """Return a planned network's C files: header, code, weights and the kernels it uses."""
    program, facts = planned.program, planned.facts
    written = _write_tables(planned)
    constants, writer, tables = written.constants, written.writer, written.tables
    source_start, source_depth = writer.places[program.source]
    ends = Ends(source_start, source_depth, tuple(writer.places[n][0] for n in program.outputs))
    files = {
        f"{facts.name}.h": header(facts, program, labels),
        f"{facts.name}.c": code(facts, program, tables, ends),
        **weights(facts, constants),
    }
    used = kernel_files({KERNELS[kind].header for kind in tables.kinds})
    files |= {file: (KERNEL_FOLDER / file).read_text() for file in used}
    steps = tuple(f"{step.operator} {step.module}".strip() for step in program.steps)
    return Source(files, steps, written.bytes, used)


def constant_bytes(planned: Planned) -> int:
    """Return the bytes of weights, other constants and tables, without writing them out."""
    return _write_tables(planned).bytes


@dataclass(frozen=True)
class _Written:
    """Tables, and the constants that they name."""

    constants: Constants
    writer: TableWriter
    tables: Tables

    @property
    def bytes(self) -> int:
        """Of all of them, in flash."""
        used = kernel_files({KERNELS[kind].header for kind in self.tables.kinds})
        headers = "".join((KERNEL_FOLDER / file).read_text() for file in used)
        return self.constants.bytes + table_bytes(self.tables.text, headers)


def _write_tables(planned: Planned) -> _Written:
    constants = Constants(planned.facts.name)
    writer = TableWriter(planned.facts.name, planned.program, planned.plan, constants)
    return _Written(constants, writer, writer.write(planned.schedule))


def kernel_files(headers: set[str]) -> tuple[str, ...]:
    """Return the kernels' files and what they include, in order of their names."""
    found: set[str] = set()
    waiting = {f"sapool_{header}.h" for header in headers} | {"sapool_base.h"}
    while waiting:
        file = waiting.pop()
        found.add(file)
        for line in (KERNEL_FOLDER / file).read_text().splitlines():
            if line.startswith('#include "'):
                waiting |= {line.split('"')[1]} - found
    return tuple(sorted(found))
