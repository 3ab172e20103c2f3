"""What a search may choose: strides, pooling, its keywords, placement, input size."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from sapool.base.tflm_limits import MOST_KEYS
from sapool.planning.plan import Stride

MOST_STRIDE = 8


def stride_choices(reductions: Sequence[int], most: int = MOST_STRIDE) -> list[tuple[int, ...]]:
    """List every way to spread a network's whole reduction over its sites, at most ``most`` (or its own) at each.

    The network's own strides come first, then the others in falling order: the earlier a map shrinks, the earlier.

    >>> stride_choices((2, 2))
    [(2, 2), (4, 1), (1, 4)]
    """
    limits = [max(most, own) for own in reductions]
    found = sorted(_spread(math.prod(reductions), limits), reverse=True)
    own = tuple(reductions)
    return [own, *(strides for strides in found if strides != own)]


def _spread(whole: int, limits: Sequence[int]) -> Iterator[tuple[int, ...]]:
    if not limits:
        if whole == 1:
            yield ()
        return
    for first in range(1, min(whole, limits[0]) + 1):
        if whole % first == 0:
            for rest in _spread(whole // first, limits[1:]):
                yield (first, *rest)


@dataclass(frozen=True)
class Choice:
    """One point of the space; ``patch_factor`` times the patch that a plan would take by itself."""

    size: tuple[int, int, int]
    pool: str
    strides: tuple[Stride, ...]
    placement: str
    num_heads: int | None = None
    patch_factor: int | None = None
    max_keys: int | None = None

    def keywords(self) -> dict[str, Any]:
        """Return the pool's keywords, but for the patch, which depends on the site."""
        chosen = {"num_heads": self.num_heads, "max_keys": self.max_keys}
        return {name: value for name, value in chosen.items() if value is not None}


AXES = ("size", "pool", "strides", "placement", "num_heads", "patch_factor", "max_keys")


@dataclass(frozen=True)
class Space:
    """What may be chosen; the last three concern self-attentive pooling alone.

    Attributes:
        sizes: input sizes (C, H, W).
        pools: poolings, in the order of preference.
        strides: reductions of every site.
        placements: where pools go.
        num_heads: heads of the attention.
        patch_factors: patches as multiples of what a plan takes by itself.
        max_keys: most keys that a query attends to.
    """

    sizes: tuple[tuple[int, int, int], ...]
    pools: tuple[str, ...]
    strides: tuple[tuple[Stride, ...], ...]
    placements: tuple[str, ...] = ("block",)
    num_heads: tuple[int, ...] = (1, 2)
    patch_factors: tuple[int, ...] = (1, 2)
    max_keys: tuple[int, ...] = (MOST_KEYS,)

    def options(self, pool: str) -> list[tuple[Any, ...]]:
        """Return, axis by axis, what may be chosen with one pooling."""
        attention = (self.num_heads, self.patch_factors, self.max_keys) if pool == "self_attentive" else ((None,),) * 3
        placements = ("block",) if pool == "strided" else self.placements
        return [self.sizes, (pool,), self.strides, placements, *attention]

    def __len__(self) -> int:
        """Return how many points there are."""
        return sum(math.prod(map(len, self.options(pool))) for pool in self.pools)

    def __iter__(self) -> Iterator[Choice]:
        """Go through every point."""
        for pool in self.pools:
            for values in itertools.product(*self.options(pool)):
                yield Choice(**dict(zip(AXES, values, strict=True)))
