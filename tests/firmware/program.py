"""A program as small as one can be, with the functions that every generated one has."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sapool.firmware.emulate import ProgramCalls

HEIGHT, ROW_BYTES = 5, 16
CALLS = ProgramCalls(name="tiny", state_bytes=4 * 4 + ROW_BYTES, output_bytes=4, rows=HEIGHT)
ROOTS = ("tiny_init", "tiny_row", "tiny_push", "tiny_run")

HEADER = f"""
#include <stdint.h>
#define TINY_HEIGHT {HEIGHT}
#define TINY_ROW_BYTES {ROW_BYTES}u
#define TINY_OUTPUT_BYTES 4u
typedef struct {{ int32_t rows, sum, result, spare; int8_t row[{ROW_BYTES}]; }} tiny_t;
#ifdef __cplusplus
extern "C" {{
#endif
void tiny_init(tiny_t *state);
int8_t *tiny_row(tiny_t *state);
const int8_t *tiny_push(tiny_t *state);
const int8_t *tiny_run(tiny_t *state, const int8_t *image);
#ifdef __cplusplus
}}
#endif
"""

SOURCE = """
#include "tiny.h"
static const int8_t weights[TINY_ROW_BYTES] = {1, -2, 3, -4, 5, -6, 7, -8, 9, -10, 11, -12, 13, -14, 15, -16};
static int32_t pushes = 7;
void tiny_init(tiny_t *state) { state->rows = 0; state->sum = 0; }
int8_t *tiny_row(tiny_t *state) { return state->row; }
static __attribute__((noinline)) int32_t product(const int8_t *row, int32_t scale) {
  volatile int32_t frame[100]; /* 400 bytes of stack */
  int32_t sum = 0, i;
  for (i = 0; i < 100; i++) frame[i] = i;
  for (i = 0; i < (int32_t)TINY_ROW_BYTES; i++) sum += row[i] * weights[i] * scale;
  return sum + frame[99] - 99;
}
/* Operator 1 is done inside operator 0. */
static int32_t step(const int8_t *row, int32_t number, int32_t y);
static int32_t (*const volatile again)(const int8_t *, int32_t, int32_t) = step; /* really called */
static __attribute__((noinline)) int32_t step(const int8_t *row, int32_t number, int32_t y) {
  return number == 1 ? product(row, y) : again(row, 1, y) + y;
}
const int8_t *tiny_push(tiny_t *state) {
  pushes++;
  state->sum += step(state->row, 0, state->rows + 1);
  if (++state->rows < TINY_HEIGHT) return 0;
  state->result = state->sum;
  tiny_init(state);
  return (const int8_t *)&state->result;
}
const int8_t *tiny_run(tiny_t *state, const int8_t *image) {
  const int8_t *result = 0;
  int32_t y, i;
  for (y = 0; y < TINY_HEIGHT; y++) {
    for (i = 0; i < (int32_t)TINY_ROW_BYTES; i++) state->row[i] = image[y * (int32_t)TINY_ROW_BYTES + i];
    result = tiny_push(state);
  }
  return result;
}
"""


def write_program(folder: Path, source: str = SOURCE) -> list[Path]:
    (folder / "tiny.h").write_text(HEADER)
    path = folder / "tiny.c"
    path.write_text(source)
    return [path]


def images(count: int = 3) -> NDArray[np.int8]:
    shape = (count, HEIGHT, ROW_BYTES, 1)
    return np.random.default_rng(0).integers(-128, 128, shape).astype(np.int8)


def expected(given: NDArray[np.int8]) -> NDArray[np.int32]:
    """What the program computes, (N, 1)."""
    weights = np.array([1, -2, 3, -4, 5, -6, 7, -8, 9, -10, 11, -12, 13, -14, 15, -16])
    scale = np.arange(1, HEIGHT + 1)
    sums = (given.astype(np.int64).reshape(-1, HEIGHT, ROW_BYTES) @ weights * scale + scale).sum(1)
    return sums.astype(np.int32)[:, None]
