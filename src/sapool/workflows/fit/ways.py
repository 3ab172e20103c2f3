"""The ways from a network to a budget that a ``fit`` tries, and what each saving is worth."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

from torch import nn

from sapool.base.files import write_text_atomically
from sapool.base.image_size import InputSize, size_slug
from sapool.base.reading import parse_record
from sapool.base.records import RunRecord
from sapool.networks.traced import Network, TracedModel
from sapool.predict.profile import UNPREDICTABLE, PassSaving, profile_savings
from sapool.predict.search import Candidate
from sapool.workflows.running import read_held

SAVINGS = "savings.json"


@dataclass(frozen=True)
class Way:
    """One way to the budget.

    Attributes:
        name: of its folder.
        pool: the pooling.
        input_size: of the image: a side, or (C, H, W).
        pruned: whether channels went, too.
        savings: predicted arenas from the network as it is, one saving after the other (empty: not predictable).
    """

    name: str
    pool: str
    input_size: InputSize
    pruned: bool = False
    savings: tuple[PassSaving, ...] = ()


def plain_way(pool: str, input_size: InputSize, own_size: InputSize) -> Way:
    """Return the way by strides, at the input's own size or a smaller one."""
    return Way(pool if input_size == own_size else f"{pool}-{size_slug(input_size)}", pool, input_size)


def pruned_way(pool: str, input_size: InputSize) -> Way:
    """Return the way by strides and pruning."""
    return Way(f"{pool}-pruned", pool, input_size, pruned=True)


def poolings_to_prune(runs: Sequence[RunRecord], count: int) -> list[str]:
    """Return those with no fitting run, and of the others the ``count`` best on validation (int8)."""
    fitting: dict[str, float] = {}
    for run in runs:
        if run.fits:
            fitting[run.pool] = max(fitting.get(run.pool, 0.0), run.int8_val_accuracy or 0.0)
    hopeless = [run.pool for run in runs if run.pool not in fitting]
    if not count and importlib.util.find_spec("torch_pruning") is None:
        return []  # nobody asked for the extra
    return list(dict.fromkeys([*hopeless, *sorted(fitting, key=lambda pool: -fitting[pool])[:count]]))


def rung_to_prune(tried: Sequence[Candidate]) -> Candidate | None:
    """Return the last candidate that doesn't fit: the least that must be pruned; None if the first one fits."""
    over = [candidate for candidate in tried if not candidate.fits]
    return over[-1] if over else None


def savings_of(
    folder: Path, stock: TracedModel, size: InputSize, planned: nn.Module, way: Way, pruned: nn.Module | None
) -> tuple[PassSaving, ...]:
    """Predict what each saving of a way is worth, or read it back.

    Args:
        folder: of the way; gets ``savings.json``.
        stock: the network as it is.
        size: the side that was asked for.
        planned: with the way's plan.
        way: the way.
        pruned: what pruning left, or None.
    """
    path = folder / SAVINGS
    if path.is_file():
        return read_held(path, partial(parse_record, tuple[PassSaving, ...]))
    smaller = [("input size", stock, way.input_size)] if way.input_size != size else []
    narrower = [("pruning", pruned, way.input_size)] if pruned is not None else []
    stages: list[tuple[str, Network, InputSize]] = [
        ("", stock, size),
        *smaller,
        ("down-sampling", planned, way.input_size),
        *narrower,
    ]
    try:
        found = profile_savings(stages)
    except UNPREDICTABLE:
        found = ()
    write_text_atomically(path, json.dumps([asdict(step) for step in found], indent=1))
    return found
