"""What a comparison is told, and what makes two of its runs the same run."""

from __future__ import annotations

import hashlib
import inspect
import json
import re
import warnings
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

from sapool.base.budget import Budget
from sapool.base.image_size import MOST_PIXELS
from sapool.base.quoting import quote
from sapool.base.ranges import MOST_IMAGES, check_range
from sapool.base.records import PoolingPlan
from sapool.base.sizes import format_kib
from sapool.base.suggest import suggest
from sapool.export import CALIBRATION
from sapool.layers import POOLS, create_pool, pool_keywords
from sapool.planning.plan import WINDOW_KEYWORDS, Stride, check_choices
from sapool.training import TrainConfig

# Five or six runs, their plans and exports are to take under ten minutes on two cores.
DEFAULT_EPOCHS = 20
TABLES = ("budget", "equal")
MOST_LABEL = 60
_MOST_SEEDS = 1000
REFERENCE = "avg"

# What may be added to a study later; everything else decides what its runs are.
_GROWS = ("pools", "variants", "seeds", "tables")


@dataclass(frozen=True)
class Variant:
    """One pooling of a comparison: its label, the layer and that layer's keywords."""

    label: str
    pool: str
    kwargs: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class CompareConfig:
    """What ``compare`` is asked for; budgets in bytes, sizes in pixels a side.

    Attributes:
        model: a name that :func:`sapool.load_model` takes.
        data: a source that ``load_data`` takes.
        input_size: side of the input image.
        input_sizes: further sizes that a plan may choose.
        pools: poolings with their own defaults; average pooling is added if it isn't there.
        variants: further ones: {label: (pooling, keywords of the layer)}.
        ram_bytes: budget for the arena (``arena_bytes``), or None.
        flash_bytes: budget for the file, or None.
        seeds: how many (0, 1, ...), or which.
        recipe: how every run is trained; its seed is replaced.
        placement: where pools stand, for every pooling.
        sites: the only sites that may hold pools, by name (None: all); the others keep their own convolution.
        strides: the strides of every pooling, in place of a search (None: searched).
        stride_choices: the only strides that the search may take (None: all that keep the network's reduction).
        tables: ``"budget"`` (strides, patch, heads, keys and size are each pooling's own) and ``"equal"`` (everything
            equal but the pool).
        train_images: how many training images, or None for all.
        eval_images: how many images are validated and tested on, or None for all; the scattered data sets draw as
            many.
        fragments: clutter of the scattered data sets, or None for theirs.
        plan_candidates: so many plans of every pooling are trained on the first seed, and the best on validation is
            taken for all seeds.
        int8_images: how many images of validation and of test the int8 models classify, evenly spaced; None: all.
    """

    model: str = "sapool:tiny"
    data: str = "scattered-digits"
    input_size: int = 64
    input_sizes: tuple[int, ...] = ()
    pools: tuple[str, ...] = ("self_attentive", "max", "avg")
    variants: Mapping[str, tuple[str, Mapping[str, Any]]] = field(default_factory=dict)
    ram_bytes: int | None = 64 * 1024
    flash_bytes: int | None = 1024 * 1024
    seeds: int | tuple[int, ...] = 1
    recipe: TrainConfig = field(default_factory=lambda: TrainConfig(epochs=DEFAULT_EPOCHS))
    placement: str = "block"
    sites: tuple[str, ...] | None = None
    strides: tuple[Stride, ...] | None = None
    stride_choices: tuple[tuple[Stride, ...], ...] | None = None
    tables: tuple[str, ...] = TABLES
    train_images: int | None = None
    eval_images: int | None = None
    fragments: int | None = None
    plan_candidates: int = 1
    int8_images: int | None = None

    def __post_init__(self) -> None:
        """Check everything that can be checked without loading anything.

        Raises:
            ValueError: a value out of its range, or an unknown pooling, keyword, placement or table.
        """
        self._check_numbers()
        for table in self.tables:
            if table not in TABLES:
                raise ValueError(f"unknown table {table!r}: {suggest(table, TABLES)}")
        if not self.tables:
            raise ValueError(f"tables must name at least one of {', '.join(TABLES)}")
        if self.strides is not None and self.stride_choices is not None:
            raise ValueError("strides and stride_choices exclude each other: give one of them")
        if not self.pools and not self.variants:
            raise ValueError("pools and variants name no pooling: name at least one")
        if len(set(self.pools)) != len(self.pools):
            raise ValueError(f"pools must name each pooling once, got {', '.join(self.pools)}")
        for label in self.variants:
            _check_label(label)
            if label in self.pools:
                raise ValueError(f"the variant {label!r} has the name of a pooling that is compared too: rename it")
        for variant in self.all_variants():
            check_choices(variant.pool, self.placement, dict(variant.kwargs))
            _check_values(variant)

    def _check_numbers(self) -> None:
        counts = ("train_images", "eval_images", "plan_candidates", "int8_images")
        _ = self.budget
        for name in ("input_size", *counts):
            value = getattr(self, name)
            if value is not None:
                check_range(name, value, 1, MOST_IMAGES if name in counts else MOST_PIXELS)
        for size in self.input_sizes:
            check_range("each of input_sizes", size, 1, MOST_PIXELS)
        if isinstance(self.seeds, int):
            check_range("seeds", self.seeds, 1, _MOST_SEEDS)
        seeds = self.seed_list()
        if not seeds or len(set(seeds)) != len(seeds) or min(seeds) < 0:
            raise ValueError(f"seeds must be a count of at least 1, or distinct seeds of at least 0, got {self.seeds}")

    @property
    def budget(self) -> Budget:
        """The budgets."""
        return Budget(self.ram_bytes, self.flash_bytes)

    def seed_list(self) -> tuple[int, ...]:
        """Return the seeds, the first of which chooses between plans."""
        return tuple(range(self.seeds)) if isinstance(self.seeds, int) else tuple(self.seeds)

    def all_variants(self) -> tuple[Variant, ...]:
        """Return everything that is compared, plain average pooling among it."""
        plain = [Variant(pool, pool) for pool in self.pools]
        named = [Variant(label, pool, dict(kwargs)) for label, (pool, kwargs) in self.variants.items()]
        there = any(variant.pool == REFERENCE and not variant.kwargs for variant in [*plain, *named])
        return (*plain, *named) if there else (*plain, *named, Variant(REFERENCE, REFERENCE))

    def adds_reference(self) -> bool:
        """Whether average pooling is compared without having been asked for."""
        return len(self.all_variants()) > len(self.pools) + len(self.variants)

    def base(self) -> dict[str, Any]:
        """Return what may not change when a study grows, as JSON has it."""
        return _as_json({k: v for k, v in asdict(self._with_seed(0)).items() if k not in _GROWS})

    def _with_seed(self, seed: int) -> CompareConfig:
        return replace(self, recipe=replace(self.recipe, seed=seed))

    def recipe_for(self, seed: int) -> TrainConfig:
        """Return the recipe of one seed."""
        return self._with_seed(seed).recipe

    def run_settings(self, plan: PoolingPlan, seed: int) -> dict[str, Any]:
        """Return everything that decides the outcome of a run, the layer's defaults spelled out: its identity."""
        names = ("model", "data", "train_images", "eval_images", "fragments")
        held = {name: getattr(self, name) for name in names}
        pools = {entry.pool: pool_settings(entry.pool) for entry in plan.sites if entry.pool_stride > 1}
        sites = [_site(entry.pool_stride, asdict(entry)) for entry in plan.sites]
        run = {"input_size": plan.input_size, "sites": sites, "pool_defaults": pools}
        for site in sites:  # a keyword that says what the layer does anyway makes no other run
            site["kwargs"] = {**pools.get(site["pool"], {}), **site["kwargs"]}
        del run["pool_defaults"]
        return _as_json({**held, **run, "recipe": asdict(self.recipe_for(seed)), "calibration": CALIBRATION})

    def default_folder(self) -> Path:
        """Return ``runs/compare_`` + data, model, input size and budget."""
        data, model = ("-".join(filter(None, re.split("[:/]", text))) for text in (self.data, self.model))
        return Path("runs") / f"compare_{data}_{model}_{self.input_size}px_{format_kib(self.ram_bytes)}"


def _check_label(label: str) -> None:
    """A label stands in tables, Markdown and a picture."""
    if not label.strip() or not label.isprintable() or len(label) > MOST_LABEL or "|" in label:
        rule = f"1 to {MOST_LABEL} printable characters without |"
        raise ValueError(f"the label of a variant must be {rule}, got {quote(label)}")


def _check_values(variant: Variant) -> None:
    """Build the layer once, so that a value that is none for it is not taken for a pooling that doesn't fit."""
    own = {name: value for name, value in variant.kwargs.items() if name not in WINDOW_KEYWORDS}
    for name in WINDOW_KEYWORDS:
        if isinstance(variant.kwargs.get(name), str):
            said = quote(variant.kwargs[name])
            raise ValueError(f"variant {variant.label!r}: {name} must be a number or true or false, got {said}")
    # Whether a patch collapses into average pooling depends on the stride, which is not known yet.
    free = {"allow_collapse": True} if "allow_collapse" in pool_keywords(variant.pool) else {}
    try:
        with torch.device("meta"), warnings.catch_warnings(action="ignore"):  # meta draws no random numbers
            create_pool(variant.pool, 64, 2, **own | free)
    except TypeError as error:
        said = ", ".join(f"{name}={value!r}" for name, value in own.items())
        raise ValueError(f"variant {variant.label!r}: a value of another type expected in {said}: {error}") from None
    except ValueError as error:
        raise ValueError(f"variant {variant.label!r}: {error}") from None


def _site(pool_stride: int, entry: dict[str, Any]) -> dict[str, Any]:
    """Leave out which pool does not stand where none stands: such plans are the same plan."""
    return entry if pool_stride > 1 else {**entry, "pool": "", "placement": "", "kwargs": {}}


def pool_settings(pool: str) -> dict[str, Any]:
    """Return the defaults of a layer's keywords."""
    found: dict[str, Any] = {}
    for layer in POOLS[pool].__mro__:
        parameters = inspect.signature(layer).parameters.values()
        found = {p.name: p.default for p in parameters if p.kind is p.KEYWORD_ONLY} | found
        if not any(p.kind is p.VAR_KEYWORD for p in parameters):
            break
    return {name: None if value is inspect.Parameter.empty else value for name, value in found.items()}


def fingerprint(settings: Any, length: int = 12) -> str:
    """Return a short hash of anything that JSON can hold."""
    text = json.dumps(settings, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:length]


def _as_json(settings: dict[str, Any]) -> dict[str, Any]:
    held: dict[str, Any] = json.loads(json.dumps(settings, default=str))
    return held
