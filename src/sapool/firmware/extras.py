"""Files beside a program's own: self-test, labels, pixels, an example."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sapool.firmware.emit_code import CTYPES, MADE_BY
from sapool.firmware.emit_parts import numbers
from sapool.firmware.generate import Planned
from sapool.tflite.graph import Tensor

_IMAGES = 3


@dataclass(frozen=True)
class Pixels:
    """How a pixel of 0 to 255 becomes the network's input: (pixel / 255 - mean) / std, one or a channel each."""

    mean: tuple[float, ...] = (0.0,)
    std: tuple[float, ...] = (1.0,)


def selftest_images(tensor: Tensor) -> NDArray[Any]:
    """Return the self-test's images (3, H, W, C), the same that its C makes."""
    size = tensor.bytes
    at = np.arange(_IMAGES * size, dtype=np.uint64)
    mixed = (at * 2654435761 + 12345) & 0xFFFFFFFF
    mixed ^= mixed >> np.uint64(15)
    values = ((mixed * 2246822519) & 0xFFFFFFFF) >> np.uint64(24)
    return values.astype(np.uint8).view(tensor.dtype).reshape(_IMAGES, *tensor.shape[1:])


def selftest_file(planned: Planned, right: Sequence[NDArray[np.uint8]]) -> dict[str, str]:
    """Return NAME_selftest.c: three images that it makes itself, and their right outputs."""
    facts, program = planned.facts, planned.program
    taken = CTYPES[program.stores[program.source].tensor.dtype]
    made = CTYPES[program.stores[program.outputs[0]].tensor.dtype]
    arrays, checks = [], []
    for n, outputs in enumerate(right):
        dtype = np.int8 if made == "int8_t" else np.uint8
        values = np.ascontiguousarray(outputs).reshape(-1).view(dtype)
        count = len(values) // _IMAGES
        arrays.append(f"static const {made} right{n}[{len(values)}] = {{\n{numbers(values.tolist())}\n}};")
        checks.append(
            f"    if (differs({facts.name}_output(&state, {n}), right{n} + image * {count}u, {count}u)) {{\n"
            "      return (int)image + 1;\n    }"
        )
    text = f"""{MADE_BY}
/* {facts.name}_selftest() returns 0 where the outputs are right, else which image differs. */
#include "{facts.name}.h"

#ifdef __cplusplus
extern "C" {{
#endif
int {facts.name}_selftest(void);
#ifdef __cplusplus
}}
#endif

{chr(10).join(arrays)}

static int differs(const {made} *got, const {made} *right, uint32_t count) {{
  for (uint32_t i = 0; i < count; i++) {{
    if (got[i] != right[i]) {{
      return 1;
    }}
  }}
  return 0;
}}

int {facts.name}_selftest(void) {{
  static {facts.name}_t state;
  uint32_t at = 0;
  {facts.name}_init(&state);
  for (uint32_t image = 0; image < {_IMAGES}u; image++) {{
    for (uint32_t row = 0; row < {facts.upper}_HEIGHT; row++) {{
      {taken} *to = {facts.name}_row(&state);
      for (uint32_t i = 0; i < {facts.upper}_ROW_BYTES; i++, at++) {{
        uint32_t mixed = at * UINT32_C(2654435761) + UINT32_C(12345);
        mixed ^= mixed >> 15;
        to[i] = ({taken})((mixed * UINT32_C(2246822519)) >> 24);
      }}
      {facts.name}_push(&state);
    }}
{chr(10).join(checks)}
  }}
  return 0;
}}
"""
    return {f"{facts.name}_selftest.c": text}


def labels_file(name: str, labels: Sequence[str]) -> dict[str, str]:
    """Return NAME_labels.c, if there are labels."""
    if not labels:
        return {}
    lines = "\n".join(f'  "{_escaped(label)}",' for label in labels)
    text = f'{MADE_BY}\n#include "{name}.h"\n\nconst char *const {name}_labels[{len(labels)}] = {{\n{lines}\n}};\n'
    return {f"{name}_labels.c": text}


def _escaped(label: str) -> str:
    """Return a label as a C string has it: what is not ASCII as the octal bytes of its UTF-8; no trigraphs."""
    made = "".join(chr(b) if b < 128 else f"\\{b:03o}" for b in label.encode())
    return made.replace("??", "?\\?")


def pixels_file(planned: Planned, pixels: Pixels) -> dict[str, str]:
    """Return NAME_pixels.c and .h for images of one or three channels: rows of 8-bit pixels by tables."""
    source = planned.program.stores[planned.program.source]
    shape = source.tensor.shape
    if len(shape) != 4 or shape[3] not in (1, 3) or not source.tensor.scale:
        return {}
    name, channels = planned.facts.name, shape[3]
    tables = [_table(source.tensor, _of(pixels.mean, c), _of(pixels.std, c)) for c in range(channels)]
    made, taken = CTYPES[planned.program.stores[planned.program.outputs[0]].tensor.dtype], CTYPES[source.tensor.dtype]
    kinds = ("gray",) if channels == 1 else ("rgb888", "rgb565")
    declared = "\n\n".join(
        f"{_ABOUT[kind]}\nconst {made} *{name}_push_{kind}({name}_t *state, const {_PIXEL[kind]} *pixels);"
        for kind in kinds
    )
    lines = "\n".join("  {" + ", ".join(map(str, table)) + "}," for table in tables)
    bodies = "\n\n".join(_body(planned, kind, made, taken) for kind in kinds)
    header = f"""{MADE_BY}
#ifndef {name.upper()}_PIXELS_H
#define {name.upper()}_PIXELS_H

#include "{name}.h"

#ifdef __cplusplus
extern "C" {{
#endif

{declared}

#ifdef __cplusplus
}}
#endif

#endif
"""
    code = f"""{MADE_BY}
#include "{name}_pixels.h"

/* The network's input for every pixel: mean, standard deviation and quantisation. */
static const {taken} of_pixel[{channels}][256] = {{
{lines}
}};

{bodies}
"""
    return {f"{name}_pixels.h": header, f"{name}_pixels.c": code}


_ABOUT = {
    "gray": "/* Writes and pushes a row of 8-bit pixels. */",
    "rgb888": "/* Writes and pushes a row of pixels of three bytes: red, green, blue. */",
    "rgb565": "/* Writes and pushes a row of 16-bit pixels: 5 bits of red, 6 of green, 5 of blue. */",
}
_PIXEL = {"gray": "uint8_t", "rgb888": "uint8_t", "rgb565": "uint16_t"}
_SPREAD = {
    "gray": "    to[i] = of_pixel[0][pixels[i]];",
    "rgb888": "    to[3u * i] = of_pixel[0][pixels[3u * i]];\n"
    "    to[3u * i + 1u] = of_pixel[1][pixels[3u * i + 1u]];\n"
    "    to[3u * i + 2u] = of_pixel[2][pixels[3u * i + 2u]];",
    "rgb565": "    const uint32_t red = pixels[i] >> 11, green = pixels[i] >> 5 & 63u, blue = pixels[i] & 31u;\n"
    "    to[3u * i] = of_pixel[0][red << 3 | red >> 2];\n"
    "    to[3u * i + 1u] = of_pixel[1][green << 2 | green >> 4];\n"
    "    to[3u * i + 2u] = of_pixel[2][blue << 3 | blue >> 2];",
}


def _body(planned: Planned, kind: str, made: str, taken: str) -> str:
    name = planned.facts.name
    return f"""const {made} *{name}_push_{kind}({name}_t *state, const {_PIXEL[kind]} *pixels) {{
  {taken} *to = {name}_row(state);
  for (uint32_t i = 0; i < {planned.facts.upper}_WIDTH; i++) {{
{_SPREAD[kind]}
  }}
  return {name}_push(state);
}}"""


def _of(values: Sequence[float], channel: int) -> float:
    return values[channel] if len(values) > 1 else values[0]


def _table(tensor: Tensor, mean: float, std: float) -> list[int]:
    real = ((np.arange(256, dtype=np.float32) / np.float32(255)) - np.float32(mean)) / np.float32(std)
    low, high = (-128, 127) if tensor.dtype == "int8" else (0, 255)
    quantised = np.round(real / np.float32(tensor.scale)) + tensor.zero_point
    return [int(n) for n in np.clip(quantised, low, high)]


def main_file(planned: Planned) -> dict[str, str]:
    """Return main.c: how the program is called."""
    name, up = planned.facts.name, planned.facts.upper
    made = CTYPES[planned.program.stores[planned.program.outputs[0]].tensor.dtype]
    taken = CTYPES[planned.program.stores[planned.program.source].tensor.dtype]
    text = f"""{MADE_BY}
/* An example: checks the program with its self-test, then runs one image row by row. */
#include "{name}.h"

#ifdef __cplusplus
extern "C" {{
#endif
int {name}_selftest(void);
#ifdef __cplusplus
}}
#endif

/* All of the network's RAM. */
static {name}_t network;

/* Put your camera here: write {up}_ROW_BYTES, channels last. */
static void read_row({taken} *row) {{
  for (uint32_t i = 0; i < {up}_ROW_BYTES; i++) {{
    row[i] = 0;
  }}
}}

int main(void) {{
  const {made} *scores = NULL;
  const int wrong = {name}_selftest();
  if (wrong != 0) {{
    return wrong;
  }}
  {name}_init(&network);
  for (int row = 0; row < {up}_HEIGHT; row++) {{
    read_row({name}_row(&network));
    scores = {name}_push(&network);
  }}
  return scores != NULL && {name}_argmax(scores) >= 0 ? 0 : 1;
}}
"""
    return {"main.c": text}
