"""The program's own code: header, loop over steps, weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sapool.firmware.emit_parts import Constants, unsigned
from sapool.firmware.emit_steps import KERNELS, Tables
from sapool.firmware.rows import Program, Store
from sapool.tflite.graph import Tensor

CTYPES: Mapping[str, str] = {"int8": "int8_t", "uint8": "uint8_t"}
MADE_BY = "/* Made by sapool: don't edit, make it again. */"


@dataclass(frozen=True)
class Facts:
    """What the header says of a program.

    Attributes:
        name: prefix of every name.
        core: what it is for.
        arena_bytes: rows and scratch.
        ram_bytes: of the whole state.
        stack_bytes: at its deepest, with all kernels.
        worst_push_macs: multiply-accumulates of the most expensive push.
        pushes: rows of an image.
        steps: of the program.
        most_tasks: of one step.
        stream: whether rows are pushed as they come.
        dsp: whether scratch is there for DSP kernels.
    """

    name: str
    core: str
    arena_bytes: int
    ram_bytes: int
    stack_bytes: int
    worst_push_macs: int
    pushes: int
    steps: int
    most_tasks: int
    stream: bool
    dsp: bool

    @property
    def upper(self) -> str:
        """The name as macros have it."""
        return self.name.upper()


def state_bytes(arena_bytes: int, steps: int, most_tasks: int) -> int:
    """Return sizeof the state: arena, the row's number, what every step has done."""
    counters = 2 + steps * (1 if most_tasks < 256 else 2)
    return arena_bytes + -(-counters // 4) * 4


def header(facts: Facts, program: Program, labels: int) -> str:
    """Return NAME.h."""
    source, outputs = program.stores[program.source], [program.stores[n] for n in program.outputs]
    taken, made, up = CTYPES[source.tensor.dtype], CTYPES[outputs[0].tensor.dtype], facts.upper
    macros = "\n".join(f"#define {up}_{key} {value}" for key, value in _macros(facts, source, outputs).items())
    return f"""{MADE_BY}
#ifndef {up}_H
#define {up}_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {{
#endif

{macros}

/* All of the network's RAM. Place one for every instance; its contents are nobody else's business. */
typedef struct {{
  uint32_t arena[{max(facts.arena_bytes // 4, 1)}];
  uint16_t row;
  {unsigned(facts.most_tasks)} done[{facts.steps}];
}} {facts.name}_t;

/* Makes a state ready for an image's first row; call it once, and to drop an image half-way. */
void {facts.name}_init({facts.name}_t *state);

/* Where the next row of the image goes ({up}_ROW_BYTES, channels last): let a camera or DMA write it there. */
{taken} *{facts.name}_row({facts.name}_t *state);

/* Takes the row that was written and computes what it makes possible. NULL until the image's last row, then the first
 * output, which stays until the next image's first row is written. */
const {made} *{facts.name}_push({facts.name}_t *state);

/* Runs a whole image (height, width, channels); returns the first output. */
const {made} *{facts.name}_run({facts.name}_t *state, const {taken} *image);

/* Returns an output after the last row; NULL for a number that is none. */
const {made} *{facts.name}_output(const {facts.name}_t *state, int index);

/* Returns the place of the largest value of the first output. */
int {facts.name}_argmax(const {made} *scores);
{_labels(facts, labels)}
#ifdef __cplusplus
}}
#endif

#endif
"""


def _labels(facts: Facts, labels: int) -> str:
    if not labels:
        return ""
    return f"\n/* The classes' names. */\nextern const char *const {facts.name}_labels[{labels}];\n"


def _macros(facts: Facts, source: Store, outputs: Sequence[Store]) -> dict[str, str]:
    shape = source.tensor.shape
    channels = shape[-1] if len(shape) > 1 else 1
    found = {
        "HEIGHT": str(source.rows),
        "WIDTH": str(source.row_bytes // channels),
        "CHANNELS": str(channels),
        "ROW_BYTES": str(source.row_bytes),
        "INPUT_BYTES": str(source.bytes),
        "OUTPUTS": str(len(outputs)),
        "OUTPUT_BYTES": str(outputs[0].bytes),
        "CLASSES": str(outputs[0].tensor.shape[-1]),
        "RAM_BYTES": str(facts.ram_bytes),
        "STACK_BYTES": str(facts.stack_bytes),
        "WORST_PUSH_MACS": str(facts.worst_push_macs),
    }
    found |= _quantization("INPUT", source.tensor) | _quantization("OUTPUT", outputs[0].tensor)
    for n, output in enumerate(outputs[1:], 1):
        found |= {f"OUTPUT{n}_BYTES": str(output.bytes)} | _quantization(f"OUTPUT{n}", output.tensor)
    return found


def _quantization(what: str, tensor: Tensor) -> dict[str, str]:
    return {
        f"{what}_SCALE": f"{tensor.scale!r}f" if tensor.scale else "0.0f",
        f"{what}_ZERO_POINT": f"({tensor.zero_point})",
    }


def weights(facts: Facts, constants: Constants) -> dict[str, str]:
    """Return {file name: text} of the constants and of what declares them."""
    section = f"{facts.upper}_CONST"
    declares = f"""{MADE_BY}
#ifndef {facts.upper}_WEIGHTS_H
#define {facts.upper}_WEIGHTS_H

#include "sapool_base.h"

#ifdef __cplusplus
extern "C" {{
#endif

{constants.declarations()}

#ifdef __cplusplus
}}
#endif

#endif
"""
    defines = f"""{MADE_BY}
#include "{facts.name}_weights.h"

/* Where the constants go: -DSAPOOL_WEIGHTS_SECTION='".my_flash"' puts them there. */
#ifdef SAPOOL_WEIGHTS_SECTION
#define {section} __attribute__((section(SAPOOL_WEIGHTS_SECTION))) SAPOOL_ALIGNED
#else
#define {section} SAPOOL_ALIGNED
#endif

{constants.definitions(section)}
"""
    return {f"{facts.name}_weights.h": declares, f"{facts.name}_weights.c": defines}


@dataclass(frozen=True)
class Ends:
    """Where the image's rows and the outputs lie.

    Attributes:
        source_start: in words.
        source_depth: rows of the image's ring.
        outputs: in words.
    """

    source_start: int
    source_depth: int
    outputs: tuple[int, ...]


def code(facts: Facts, program: Program, tables: Tables, ends: Ends) -> str:
    """Return NAME.c."""
    includes = "\n".join(f'#include "sapool_{h}.h"' for h in sorted({KERNELS[k].header for k in tables.kinds}))
    text = f"""{MADE_BY}
#include "{facts.name}.h"

#define SAPOOL_DSP {int(facts.dsp)}
#include "{facts.name}_weights.h"
{includes}

typedef char {facts.name}_state_has_its_size[sizeof({facts.name}_t) == {facts.upper}_RAM_BYTES ? 1 : -1];

{tables.text}

{_helpers(tables)}
{_step(tables)}
{_interface(facts, program, ends)}"""
    return text.replace("@@", facts.name)


def _helpers(tables: Tables) -> str:
    fixed = (
        """  if (ref->depth == 0) {
    return @@_fixed[ref->start] + row * (int32_t)ref->row_bytes;
  }
"""
        if tables.has_constants
        else ""
    )
    parts = [
        f"""static int8_t *@@_out(@@_t *state, const @@_ref_t *ref, int32_t row) {{
  return (int8_t *)(state->arena + ref->start) + row % (int32_t)ref->depth * (int32_t)ref->row_bytes;
}}

static const int8_t *@@_in(@@_t *state, const @@_ref_t *ref, int32_t row) {{
{fixed}  return @@_out(state, ref, row);
}}
"""
    ]
    if {"conv", "depthwise", "mean"} & set(tables.kinds):
        parts.append(
            """static void *@@_scratch(@@_t *state, const @@_ref_t *ref) { return state->arena + ref->start; }
"""
        )
    if {"conv", "depthwise", "average_pool", "max_pool"} & set(tables.kinds):
        parts.append(
            """/* The rows under a window; NULL in the padding. */
static void @@_window(@@_t *state, const @@_step_t *step, int32_t task, const int8_t **rows) {
  int32_t row = task * step->stride - step->top;
  for (int32_t tap = 0; tap < step->taps; tap++, row += step->dilation) {
    const int inside = row >= 0 && row < step->rows;
    rows[tap] = inside ? @@_in(state, &@@_refs[step->refs + 1u], row) : NULL;
  }
}
"""
        )
    if "transposed" in tables.kinds:
        parts.append(
            """/* The input rows that a transposed kernel's rows fall on; NULL between two of them and outside. */
static void @@_between(@@_t *state, const @@_step_t *step, int32_t task, const int8_t **rows) {
  for (int32_t tap = 0; tap < step->taps; tap++) {
    const int32_t at = task + step->top - tap, row = at / step->stride;
    const int inside = at >= 0 && at % step->stride == 0 && row < step->rows;
    rows[tap] = inside ? @@_in(state, &@@_refs[step->refs + 1u], row) : NULL;
  }
}
"""
        )
    if "move" in tables.kinds:
        parts.append(
            """static void @@_move(@@_t *state, const @@_step_t *step, const @@_ref_t *ref, int32_t task,
                      const int8_t **inputs) {
  const sapool_move *layer = &@@_sapool_move[step->layer];
  const int32_t *row = layer->rows + task * layer->stride;
  for (int32_t n = 0; n < step->taps; n++) {
    const int32_t at = row[2 + n], row_bytes = (int32_t)ref[1 + n].row_bytes;
    inputs[n] = @@_in(state, ref + 1 + n, at / row_bytes) + at % row_bytes;
  }
  sapool_move_row(layer, row, inputs, @@_out(state, ref, task));
}
"""
        )
    return "\n".join(parts)


def _step(tables: Tables) -> str:
    cases = []
    for number, kind in enumerate(tables.kinds):
        call = KERNELS[kind].call.replace("LAYER", f"&@@_{KERNELS[kind].struct}[step->layer]")
        cases.append(f"    case {number}: /* {kind} */\n      {call}\n      break;")
    cases[-1] = cases[-1].replace(f"case {len(tables.kinds) - 1}:", "default:", 1)
    rows = f"  const int8_t *rows[{tables.longest}];\n" if "rows" in "".join(cases).replace("->rows", "") else ""
    body = "\n".join(cases)
    return f"""/* Makes a step's next row. */
SAPOOL_KERNEL void @@_step(@@_t *state, uint32_t index) {{
  const @@_step_t *step = &@@_steps[index];
  const @@_ref_t *ref = &@@_refs[step->refs];
  const int32_t task = state->done[index]++;
{rows}  switch (step->kind) {{
{body}
  }}
}}
"""


def _interface(facts: Facts, program: Program, ends: Ends) -> str:
    source, outputs = program.stores[program.source], program.outputs
    taken, made = CTYPES[source.tensor.dtype], CTYPES[program.stores[outputs[0]].tensor.dtype]
    wraps = f" % {ends.source_depth}u" if ends.source_depth < source.rows else ""
    source_row = f"(state->arena + {ends.source_start}) + state->row{wraps} * {facts.upper}_ROW_BYTES"
    cases = "\n".join(
        f"    case {n}:\n      return (const {made} *)(state->arena + {start});" for n, start in enumerate(ends.outputs)
    )
    first = 0 if facts.stream else 1
    last = f"{facts.upper}_HEIGHT"
    guard = f"  if (state->row + 1 < {last}) {{\n    state->row++;\n    return NULL;\n  }}\n" if first else ""
    push = "0" if first else "state->row"
    wait = "" if first else f"  if (++state->row < {last}) {{\n    return NULL;\n  }}\n"
    return f"""void @@_init(@@_t *state) {{
  state->row = 0;
  for (uint32_t step = 0; step < sizeof(state->done) / sizeof(state->done[0]); step++) {{
    state->done[step] = 0;
  }}
}}

{taken} *@@_row(@@_t *state) {{
  return ({taken} *){source_row};
}}

const {made} *@@_push(@@_t *state) {{
{guard}  const uint32_t sequence = @@_pushes[{push}];
  for (uint32_t at = @@_bounds[2 * sequence]; at < @@_bounds[2 * sequence + 1]; at++) {{
    @@_step(state, @@_order[at]);
  }}
{wait}  @@_init(state);
  return @@_output(state, 0);
}}

const {made} *@@_run(@@_t *state, const {taken} *image) {{
  const {made} *result = NULL;
  @@_init(state);
  for (uint32_t row = 0; row < {facts.upper}_HEIGHT; row++) {{
    {taken} *to = @@_row(state);
    for (uint32_t i = 0; i < {facts.upper}_ROW_BYTES; i++) {{
      to[i] = image[i];
    }}
    image += {facts.upper}_ROW_BYTES;
    result = @@_push(state);
  }}
  return result;
}}

const {made} *@@_output(const @@_t *state, int index) {{
  switch (index) {{
{cases}
    default:
      return NULL;
  }}
}}

int @@_argmax(const {made} *scores) {{
  int best = 0;
  for (int i = 1; i < (int){facts.upper}_OUTPUT_BYTES; i++) {{
    best = scores[i] > scores[best] ? i : best;
  }}
  return best;
}}
"""
