from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.firmware.kernels import oracle
from tests.firmware.kernels.harness import Case, agree

pytest.importorskip("unicorn")


@dataclass(frozen=True)
class Pair:
    """Two operands, the second repeated as ``b[(i / inner) % period]``; zero points of a, b and the output."""

    count: int = 60
    inner: int = 1
    period: int = 60
    zeros: tuple[int, int, int] = (3, -20, 7)
    clamp: tuple[int, int] = (-128, 127)
    seed: int = 0

    def values(self) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
        """Return a, b as stored, and b as it lies under a."""
        rng = np.random.default_rng(self.seed)
        a, b = rng.integers(-128, 128, self.count), rng.integers(-128, 128, self.period)
        a[:2], b[0] = (-128, 127), 127
        return a, b, b[np.arange(self.count) // self.inner % self.period]


SHAPES = {
    "elementwise": Pair(),
    "a channel each": Pair(period=5),
    "a position each": Pair(inner=6, period=10),
    "one value": Pair(inner=60, period=1),
    "clamped": Pair(clamp=(-30, 40)),
    "extreme zero points": Pair(zeros=(-128, 127, 100)),
}


def pair_case(kernel: str, pair: Pair, numbers: tuple[int, ...], in_place: bool) -> Case:
    taken = f"for (int32_t i = 0; i < {pair.count}; i++) out[i] = in[i];" if in_place else ""
    first = "out" if in_place else "in"
    fields = (pair.count, pair.inner, pair.period, *pair.zeros, *pair.clamp, *numbers)
    source = f"""
#include "sapool_{kernel}.h"
static const sapool_{kernel} op = {{{", ".join(map(str, fields))}}};
void run(const int8_t *in, int8_t *out, int16_t *scratch);
void run(const int8_t *in, int8_t *out, int16_t *scratch) {{
  (void)scratch;
  {taken}
  sapool_{kernel}_row(&op, {first}, in + {pair.count}, out);
}}
"""
    return Case(source, pair.count)


def check(kernel: str, pair: Pair, numbers: tuple[int, ...], wanted: list[int], in_place: bool = False) -> None:
    a, b, _ = pair.values()
    clamped = np.clip(np.array(wanted) + pair.zeros[2], *pair.clamp)
    assert len(np.unique(clamped)) > 2
    agree(pair_case(kernel, pair, numbers, in_place), np.concatenate([a, b]).astype(np.int8), clamped)


@pytest.mark.parametrize("name", SHAPES)
def test_products(name: str) -> None:
    pair = SHAPES[name]
    a, _, b = pair.values()
    products = (a - pair.zeros[0]) * (b - pair.zeros[1])
    wanted = [oracle.requantize(int(p), 1598025625, -7) for p in products]
    check("mul", pair, (1598025625, 7), wanted, in_place=name == "elementwise")


@pytest.mark.parametrize(("multiplier", "shift"), [(1 << 30, 0), (2147483647, 1), (1 << 30, 16), (1 << 23, -1)])
def test_products_of_any_scale(multiplier: int, shift: int) -> None:
    pair = Pair(seed=1)
    a, _, b = pair.values()
    products = (a - pair.zeros[0]) * (b - pair.zeros[1])
    wanted = [oracle.requantize(int(p), multiplier, -shift) for p in products]
    pair_of_any_range = np.clip(np.array(wanted) + pair.zeros[2], -128, 127)
    given = np.concatenate(pair.values()[:2]).astype(np.int8)
    agree(pair_case("mul", pair, (multiplier, shift), in_place=False), given, pair_of_any_range)


@pytest.mark.parametrize("name", SHAPES)
@pytest.mark.parametrize("scales", ["first is larger", "second is larger", "difference"])
def test_sums(name: str, scales: str) -> None:
    pair = SHAPES[name]
    if scales == "difference":
        pair = replace(pair, zeros=(*pair.zeros[:2], -100))
    half, less = (1 << 30, 0), (1258839114, 1)
    (am, ashift), (bm, bshift) = (less, half) if scales == "second is larger" else (half, less)
    bm = -bm if scales == "difference" else bm
    out = (2045506309, 19)
    a, _, b = pair.values()
    lefts = [oracle.requantize(int(v - pair.zeros[0]) << 20, am, -ashift) for v in a]
    rights = [oracle.requantize(int(v - pair.zeros[1]) << 20, bm, -bshift) for v in b]
    wanted = [oracle.requantize(x + y, out[0], -out[1]) for x, y in zip(lefts, rights, strict=True)]
    numbers = (am, bm, out[0], ashift, bshift, out[1])
    check("add", pair, numbers, wanted, in_place=name == "elementwise")


def test_every_pair_of_values() -> None:
    """A sum of each of 32,768 pairs, whose halves and signs the short roundings must get right."""
    a, b = (values.ravel() for values in np.meshgrid(np.arange(-128, 128), np.arange(-128, 128, 2)))
    pair = Pair(count=len(a), period=len(a), zeros=(0, 0, 0))
    out, half, less = (1 << 30, 20), (1 << 30, 0), (1610612736, 1)
    lefts, rights = (
        np.array([oracle.requantize(int(v) << 20, factor[0], -factor[1]) for v in range(-128, 128)])
        for factor in (half, less)
    )
    sums = lefts[a + 128] + rights[b + 128]
    wanted = np.array([oracle.requantize(int(total), out[0], -out[1]) for total in sums])
    numbers = (half[0], less[0], out[0], half[1], less[1], out[1])
    given = np.concatenate([a, b]).astype(np.int8)
    agree(pair_case("add", pair, numbers, in_place=False), given, np.clip(wanted, -128, 127))
