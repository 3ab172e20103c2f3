"""The tables of a program, read back from their C."""

from __future__ import annotations

import re

import pytest

from sapool.firmware.emit_parts import Constants
from sapool.firmware.emit_steps import KERNELS, PAIRS, Tables, TableWriter
from sapool.firmware.generate import KERNEL_FOLDER, Planned, plan_program
from sapool.firmware.rows import Layer
from tests.firmware.random_networks import random_network

SEEDS = range(8)
Row = list[int]


def tables_of(made: Planned) -> Tables:
    return TableWriter("net", made.program, made.plan, Constants("net")).write(made.schedule)


def rows(tables: Tables, name: str) -> list[Row]:
    """Return the rows of a table of structs, or one row of numbers."""
    body = re.findall(rf"net_{name}\[\d+\] = \{{\n(.*?)\n\}};", tables.text, re.DOTALL)[0]
    lines = [re.findall(r"-?\d+", line) for line in body.splitlines()]
    return [[int(n) for n in line] for line in lines]


def flat(tables: Tables, name: str) -> Row:
    return [n for row in rows(tables, name) for n in row]


@pytest.mark.parametrize("seed", SEEDS)
def test_the_order_of_steps_comes_back(seed: int) -> None:
    made = plan_program(random_network(seed), "net", "cortex-m4")
    tables = tables_of(made)
    order, bounds = flat(tables, "order"), flat(tables, "bounds")
    pushes = [tuple(order[bounds[2 * n] : bounds[2 * n + 1]]) for n in flat(tables, "pushes")]
    assert tuple(pushes) == made.schedule.pushes
    assert len(order) == sum(len(push) for push in set(made.schedule.pushes))  # equal pushes are one


@pytest.mark.parametrize("seed", SEEDS)
def test_every_step_finds_its_kernel_and_its_rows(seed: int) -> None:
    made = plan_program(random_network(seed), "net", "cortex-m4")
    tables, plan = tables_of(made), made.plan
    offsets = {s: (o, b.depth) for b, o in zip(plan.buffers, plan.offsets, strict=True) for s in b.stores}
    work = {b.step: o for b, o in zip(plan.buffers, plan.offsets, strict=True) if b.step >= 0}
    refs = rows(tables, "refs")
    for n, (step, row) in enumerate(zip(made.program.steps, rows(tables, "steps"), strict=True)):
        kind, *_, place = row
        assert tables.kinds[kind] == step.kind
        start, row_bytes, depth = refs[place]
        assert (4 * start, depth) == offsets[step.output]
        assert row_bytes == made.program.stores[step.output].row_bytes
        for read, (start, row_bytes, depth) in zip(step.reads, refs[place + 1 :], strict=False):
            assert row_bytes == read.row_bytes
            if read.store < 0:
                assert depth == 0
            else:
                assert (4 * start, depth) == (
                    offsets[read.store][0],
                    read.rows if read.flat else offsets[read.store][1],
                )
        if n in work:
            assert 4 * refs[place + 1 + len(step.reads)][0] == work[n]


@pytest.mark.parametrize("seed", SEEDS)
def test_windows_are_as_each_call_takes_them(seed: int) -> None:
    made = plan_program(random_network(seed), "net", "cortex-m4")
    for step, row in zip(made.program.steps, rows(tables_of(made), "steps"), strict=True):
        _, taps, stride, dilation, top, *_ = row
        if step.kind == "move":
            assert taps == len(step.reads)
        elif step.kind not in (*PAIRS, "matmul"):
            window = step.window
            assert (taps, stride, dilation, top) == (window.taps, window.stride, window.dilation, window.top)


def test_equal_layers_exist_once() -> None:
    made = plan_program(random_network(0), "net", "cortex-m4")
    writer = TableWriter("net", made.program, made.plan, Constants("net"))
    text = writer.write(made.schedule).text
    for struct, layers in writer.layers.items():
        assert len(set(layers)) == len(layers)
        assert f"net_{struct}[{len(layers)}]" in text


def test_a_layer_ends_with_the_tile_that_was_chosen() -> None:
    made = plan_program(random_network(0), "net", "cortex-m4")
    place = next(n for n, step in enumerate(made.program.steps) if step.with_smaller_tile() is not None)
    step = made.program.steps[place].with_smaller_tile()
    assert step is not None
    made.program.steps[place] = step
    writer = TableWriter("net", made.program, made.plan, Constants("net"))
    writer.write(made.schedule)
    ends = {int(layer.rstrip("}").split(", ")[-1]) for layer in writer.layers[KERNELS[step.kind].struct]}
    assert step.tiles[0][0] in ends


@pytest.mark.parametrize("kind", KERNELS)
def test_every_kernel_has_a_header_with_its_struct_and_its_call(kind: str) -> None:
    kernel = KERNELS[kind]
    text = (KERNEL_FOLDER / f"sapool_{kernel.header}.h").read_text()
    for include in re.findall(r'#include "(.+?)"', text):
        text += (KERNEL_FOLDER / include).read_text()
    assert re.search(rf"\}} {kernel.struct};", text)
    called = re.findall(r"(sapool_\w+_(?:row|end))\(", kernel.call)
    assert all(re.search(rf"\b{name}\(", text) for name in called)
    assert called or kind == "move"
    assert Layer(kernel.struct, ()).struct.startswith("sapool_")
