"""The tables of a program: where rows lie, what each step does, in which order."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from sapool.firmware.emit_parts import Constants, array, unsigned
from sapool.firmware.lifetimes import ALIGNMENT
from sapool.firmware.plan import Plan
from sapool.firmware.rows import Program, Read, Step
from sapool.firmware.schedule import Schedule


@dataclass(frozen=True)
class Kernel:
    """How the generated code calls a kernel.

    Attributes:
        header: its file, ``sapool_<header>.h``.
        struct: of its layers.
        call: statements; ``ref`` is the output's place, the inputs' follow, then the scratch's.
    """

    header: str
    struct: str
    call: str


_WINDOW = "@@_window(state, step, task, rows);\n      "
_PLACES = "@@_in(state, ref + 1, task), @@_out(state, ref, task)"
_PAIR = "@@_in(state, ref + 1, task), @@_in(state, ref + 2, task * step->stride), @@_out(state, ref, task)"
_SCRATCH = "@@_scratch(state, ref + 2)"
KERNELS: Mapping[str, Kernel] = {
    "conv": Kernel(
        "conv",
        "sapool_conv",
        _WINDOW + f"sapool_conv_row(LAYER, rows, @@_out(state, ref, task), (int16_t *){_SCRATCH});",
    ),
    "depthwise": Kernel(
        "depthwise",
        "sapool_depthwise",
        _WINDOW + f"sapool_depthwise_row(LAYER, rows, @@_out(state, ref, task), (int16_t *){_SCRATCH});",
    ),
    "average_pool": Kernel(
        "average_pool", "sapool_pool", _WINDOW + "sapool_average_pool_row(LAYER, rows, @@_out(state, ref, task));"
    ),
    "max_pool": Kernel(
        "max_pool", "sapool_pool", _WINDOW + "sapool_max_pool_row(LAYER, rows, @@_out(state, ref, task));"
    ),
    "matmul": Kernel(
        "matmul",
        "sapool_matmul",
        "sapool_matmul_row(LAYER, @@_in(state, ref + 1, task),\n"
        "                        @@_in(state, ref + 2, task * step->stride / step->rows), "
        "@@_out(state, ref, task),\n"
        "                        (int16_t *)@@_scratch(state, ref + 3));",
    ),
    "add": Kernel("add", "sapool_add", f"sapool_add_row(LAYER, {_PAIR});"),
    "mul": Kernel("mul", "sapool_mul", f"sapool_mul_row(LAYER, {_PAIR});"),
    "div": Kernel("div", "sapool_div", f"sapool_div_row(LAYER, {_PAIR});"),
    "extremum": Kernel("extremum", "sapool_extremum", f"sapool_extremum_row(LAYER, {_PAIR});"),
    "prelu": Kernel("prelu", "sapool_prelu", f"sapool_prelu_row(LAYER, {_PAIR});"),
    "reduce": Kernel("reduce", "sapool_reduce", f"sapool_reduce_row(LAYER, {_PLACES});"),
    "resize": Kernel(
        "resize",
        "sapool_resize",
        "sapool_resize_row(LAYER, task, @@_in(state, ref + 1, (LAYER)->rows[3 * task]),\n"
        "                        @@_in(state, ref + 1, (LAYER)->rows[3 * task + 1]), @@_out(state, ref, task));",
    ),
    "transposed": Kernel(
        "transposed",
        "sapool_transposed",
        "@@_between(state, step, task, rows);\n      sapool_transposed_row(LAYER, rows, @@_out(state, ref, task));",
    ),
    "mean": Kernel(
        "mean",
        "sapool_mean",
        f"sapool_mean_row(LAYER, @@_in(state, ref + 1, task), (int32_t *){_SCRATCH}, task == 0);\n"
        "      if (task + 1 == step->rows) {\n"
        f"        sapool_mean_end(LAYER, (const int32_t *){_SCRATCH}, @@_out(state, ref, 0));\n"
        "      }",
    ),
    "softmax": Kernel("softmax", "sapool_softmax", f"sapool_softmax_row(LAYER, {_PLACES});"),
    "table": Kernel("table", "sapool_table", f"sapool_table_row(LAYER, {_PLACES});"),
    "move": Kernel(
        "move",
        "sapool_move",
        "@@_move(state, step, ref, task, rows);",
    ),
}


PAIRS = ("add", "mul", "div", "extremum", "prelu")


@dataclass(frozen=True)
class Ref:
    """Where rows lie: words into the arena, or (depth 0) a constant's number."""

    start: int
    row_bytes: int
    depth: int


@dataclass(frozen=True)
class Tables:
    """All of a program's tables as C.

    Attributes:
        text: the tables and their types.
        kinds: the kernels that are used, in the order of their numbers.
        longest: most rows that a step looks at at once.
        has_constants: whether a step reads a constant's rows.
    """

    text: str
    kinds: tuple[str, ...]
    longest: int
    has_constants: bool


class TableWriter:
    """Turns a plan into tables."""

    def __init__(self, name: str, program: Program, plan: Plan, constants: Constants) -> None:
        self.name, self.program, self.constants = name, program, constants
        self.places: dict[int, tuple[int, int]] = {}
        self.scratch: dict[int, int] = {}
        for buffer, offset in zip(plan.buffers, plan.offsets, strict=True):
            for store in buffer.stores:
                self.places[store] = (offset // ALIGNMENT, buffer.depth)
            if buffer.step >= 0:
                self.scratch[buffer.step] = offset // ALIGNMENT
        self.refs: list[Ref] = []
        self.ref_places: dict[tuple[Ref, ...], int] = {}
        self.fixed: list[str] = []
        self.layers: dict[str, list[str]] = {}

    def store_ref(self, store: int) -> Ref:
        """Return where a store's rows lie."""
        start, depth = self.places[store]
        return Ref(start, self.program.stores[store].row_bytes, depth)

    def _read_ref(self, read: Read) -> Ref:
        if read.store >= 0:
            start, depth = self.places[read.store]
            return Ref(start, read.row_bytes, read.rows if read.flat else depth)
        if read.constant is None:
            raise ValueError("a read without a store or a constant")
        name = self.constants.add(read.constant)
        if name not in self.fixed:
            self.fixed.append(name)
        return Ref(self.fixed.index(name), read.row_bytes, 0)

    def _refs_of(self, place: int, step: Step) -> int:
        found = [self.store_ref(step.output), *(self._read_ref(read) for read in step.reads)]
        if place in self.scratch:
            found.append(Ref(self.scratch[place], 0, 1))
        elif step.kind in ("conv", "depthwise", "matmul"):
            found.append(Ref(0, 0, 1))
        key = tuple(found)
        if key not in self.ref_places:
            self.ref_places[key] = len(self.refs)
            self.refs += found
        return self.ref_places[key]

    def _layer(self, step: Step) -> int:
        """Return the number of a step's layer among those of its struct; equal ones exist once."""
        known = self.layers.setdefault(KERNELS[step.kind].struct, [])
        layer = step.layer()
        if step.tiles:
            layer = replace(layer, fields=(*layer.fields[:-1], step.tiles[0][0]))
        text = self.constants.struct(layer)
        if text not in known:
            known.append(text)
        return known.index(text)

    def write(self, schedule: Schedule) -> Tables:
        """Return the tables of a program and its schedule."""
        kinds = tuple(sorted({step.kind for step in self.program.steps}))
        rows = []
        for place, step in enumerate(self.program.steps):
            numbers = (*self._numbers(step), self._layer(step), self._refs_of(place, step))
            rows.append((kinds.index(step.kind), *numbers))
        types = [_signed(min(column), max(column)) for column in zip(*rows, strict=True)]
        names = ("kind", "taps", "stride", "dilation", "top", "rows", "layer", "refs")
        parts = [self._types(names, types), self._layers()]
        if self.fixed:
            listed = ",\n".join(f"  {name}" for name in self.fixed)
            parts.append(f"static const int8_t *const {self.name}_fixed[{len(self.fixed)}] = {{\n{listed}\n}};")
        parts.append(self._ref_table())
        lines = "\n".join("  {" + ", ".join(map(str, row)) + "}," for row in rows)
        parts.append(f"static const {self.name}_step_t {self.name}_steps[{len(rows)}] = {{\n{lines}\n}};")
        parts.append(self._order(schedule))
        longest = max((step.window.taps for step in self.program.steps), default=1)
        longest = max([longest, *(len(step.reads) for step in self.program.steps if step.kind == "move")])
        return Tables("\n\n".join(parts), kinds, longest, bool(self.fixed))

    def _numbers(self, step: Step) -> tuple[int, int, int, int, int]:
        """Return taps, stride, dilation, top and rows as each kernel's call takes them."""
        window = step.window
        if step.kind == "move":
            return len(step.reads), 1, 1, 0, step.tasks
        if step.kind in PAIRS:
            return 1, int(step.reads[1].rows > 1), 1, 0, step.tasks
        if step.kind == "matmul":
            return 1, step.reads[1].rows, 1, 0, step.tasks
        return window.taps, window.stride, window.dilation, window.top, step.reads[0].rows

    def _types(self, names: tuple[str, ...], types: list[str]) -> str:
        start = unsigned(max(ref.start for ref in self.refs))
        row = unsigned(max(ref.row_bytes for ref in self.refs))
        depth = unsigned(max(ref.depth for ref in self.refs))
        members = "\n".join(f"  {ctype} {name};" for name, ctype in zip(names, types, strict=True))
        return (
            "/* Rows in the arena: where they start in words, how long one is, after how many the first comes again;\n"
            " * depth 0: a constant's number. */\n"
            f"typedef struct {{\n  {start} start;\n  {row} row_bytes;\n  {depth} depth;\n}} {self.name}_ref_t;\n\n"
            "/* A step: its kernel, which rows of its input, its layer, and where output, inputs and scratch lie. */\n"
            f"typedef struct {{\n{members}\n}} {self.name}_step_t;"
        )

    def _layers(self) -> str:
        parts = []
        for struct, texts in self.layers.items():
            lines = ",\n".join(f"  {text}" for text in texts)
            parts.append(f"static const {struct} {self.name}_{struct}[{len(texts)}] = {{\n{lines}\n}};")
        return "\n\n".join(parts)

    def _ref_table(self) -> str:
        lines = "\n".join(f"  {{{ref.start}, {ref.row_bytes}, {ref.depth}}}," for ref in self.refs)
        return f"static const {self.name}_ref_t {self.name}_refs[{len(self.refs)}] = {{\n{lines}\n}};"

    def _order(self, schedule: Schedule) -> str:
        """Return the steps' order: equal pushes are one sequence."""
        known: dict[tuple[int, ...], int] = {}
        sequence: list[int] = []
        bounds: list[int] = []
        pushes = []
        for push in schedule.pushes:
            if push not in known:
                known[push] = len(bounds)
                bounds.append(len(sequence))
                sequence += push
            pushes.append(known[push])
        ends = [*bounds[1:], len(sequence)]
        pairs = [n for pair in zip(bounds, ends, strict=True) for n in pair]
        return "\n\n".join(
            (
                "/* What runs when a row is pushed: which sequence of steps. */\n"
                + array(unsigned(max(pushes)), f"{self.name}_pushes", pushes),
                array(unsigned(max(pairs)), f"{self.name}_bounds", pairs),
                array(unsigned(len(self.program.steps)), f"{self.name}_order", sequence),
            )
        )


def _signed(low: int, high: int) -> str:
    if low >= 0:
        return unsigned(high)
    return "int8_t" if low >= -128 and high < 128 else "int16_t" if high < 1 << 15 else "int32_t"
