from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
from numpy.typing import NDArray

from sapool.firmware.scratch import matmul_scratch_bytes
from tests.firmware.kernels import oracle
from tests.firmware.kernels.harness import DSP, Case, agree, emulate

pytest.importorskip("unicorn")


@dataclass(frozen=True)
class Product:
    """(rows, depth) times (depth, columns); ``by_rows``: the right operand is stored as (columns, depth)."""

    rows: int
    depth: int
    columns: int
    by_rows: bool
    zeros: tuple[int, int, int] = (3, -7, 11)
    multiplier: int = 1783765422
    shift: int = 9
    tile: int = 4


ALL = {
    "keys": Product(8, 16, 64, True),
    "values": Product(8, 64, 16, False),
    "all left over, by rows": Product(7, 15, 6, True),
    "all left over, by columns": Product(7, 14, 7, False),
    "three k over": Product(3, 7, 5, True),
    "one line": Product(1, 9, 4, False),
    "two columns": Product(2, 8, 2, True),
    "extreme zero points": Product(4, 24, 8, False, (-128, 127, 100), shift=13),
    "extreme the other way": Product(4, 25, 8, True, (127, -128, 127), shift=11),
    "as deep as can be": Product(4, 256, 4, True, (-128, -128, -100), shift=16),
    "two rows at a time": Product(7, 12, 8, True, tile=2),
    "one row at a time": Product(3, 12, 8, False, tile=1),
    "deeper": Product(2, 258, 4, False, shift=11),
    "to the left": Product(2, 5, 4, True, multiplier=1 << 22, shift=0),
}


def make(given: Product, seed: int = 0) -> tuple[Case, NDArray[np.int8], NDArray[np.int64]]:
    """Return the C case, both operands one behind the other, and what comes out."""
    rng = np.random.default_rng(seed)
    left, right = (
        rng.integers(-128, 128, (given.rows, given.depth)),
        rng.integers(-128, 128, (given.depth, given.columns)),
    )
    left[0], right[:, 0] = 127, -128  # a sum as large as it gets
    sums = (left - given.zeros[0]) @ (right - given.zeros[1])
    wanted = np.array([oracle.requantize(int(total), given.multiplier, -given.shift) for total in sums.ravel()])
    wanted = np.clip(wanted + given.zeros[2], -128, 127)
    strides = (given.depth, 1) if given.by_rows else (1, given.columns)
    numbers = (
        given.rows,
        given.columns,
        given.depth,
        *strides,
        *given.zeros,
        given.multiplier,
        given.shift,
        given.tile,
    )
    source = f"""
#include "sapool_matmul.h"
static const sapool_matmul op = {{{", ".join(map(str, numbers))}}};
void run(const int8_t *in, int8_t *out, int16_t *scratch);
void run(const int8_t *in, int8_t *out, int16_t *scratch) {{
  sapool_matmul_row(&op, in, in + {left.size}, out, scratch);
}}
"""
    operands = np.concatenate([left.ravel(), (right.T if given.by_rows else right).ravel()]).astype(np.int8)
    return Case(source, wanted.size, matmul_scratch_bytes(given.tile, given.depth, "cortex-m4")), operands, wanted


@pytest.mark.parametrize("name", ALL)
def test_against_the_oracle(name: str) -> None:
    case, operands, wanted = make(ALL[name])
    assert len(np.unique(wanted)) > 2  # neither all clamped nor all the same
    agree(case, operands, wanted, everywhere=name == "three k over")


@pytest.mark.parametrize(("name", "at_most"), [("keys", 2.5), ("values", 1.7)])
def test_instructions_a_multiplication_on_a_cortex_m4(name: str, at_most: float) -> None:
    case, operands, wanted = make(ALL[name])
    found, instructions = emulate(case, operands, flags=DSP)
    assert np.array_equal(found, wanted)
    assert instructions / (wanted.size * ALL[name].depth) < at_most
