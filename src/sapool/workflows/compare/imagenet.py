"""The paper's headline experiment, for whoever has the data: MobileNetV2 at several widths, every pooling, iso-memory.

The networks are timm's MobileNetV2, as the authors' own have one width only. Their stride digits (a digit a group of
blocks, the stem's factor 2 not counted) differ in the first alone, which is a pool behind the stem; so 2222121 becomes
a reduction of 4 at the stem: its convolution keeps 2, the pool takes the rest, and ``strided`` puts all on the
convolution. At 1222121 the stem keeps its own convolution, whatever the pooling, as theirs does.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from sapool.base.files import write_text_atomically
from sapool.base.records import Reporter, SilentReporter
from sapool.networks.load import load_model
from sapool.planning.plan import supported_sites
from sapool.report.comparison import Comparison
from sapool.report.statistics import Estimate
from sapool.report.tables import show_estimate
from sapool.training import Hardware, TrainConfig
from sapool.workflows.compare.board import HEARTBEAT_SECONDS
from sapool.workflows.compare.comparison import compare
from sapool.workflows.compare.config import CompareConfig

MODELS = tuple(f"timm:mobilenetv2_{width}" for width in ("035", "050", "075", "100", "140"))
STRIDES = ("1222121", "2222121", "4222121")
POOLS = ("self_attentive", "lip", "gaussian", "soft", "blur", "max", "avg", "strided")
_REST = "222121"
# The reference kernels that classify in int8 take seconds an image at this size.
INT8_IMAGES = 2000


@dataclass(frozen=True)
class Point:
    """One trained network of the study: what it needs and what it reaches."""

    network: str
    label: str
    arena_bytes: int
    val: float
    test: Estimate


def study_configs(
    data: str,
    *,
    models: Sequence[str] = MODELS,
    strides: Sequence[str] = STRIDES,
    pools: Sequence[str] = POOLS,
    input_size: int = 224,
    seeds: int = 3,
    recipe: TrainConfig | None = None,
    placement: str = "block",
) -> dict[str, CompareConfig]:
    """Return the study's comparisons, by name: one a network and stride pattern, without a RAM budget.

    Args:
        data: a source in ImageNet's format: ``imagenet:DIR`` or ``DIR``.
        models: networks whose first site is the stem.
        strides: the authors' digits; only the first may differ from 1222121.
        pools: poolings.
        input_size: in pixels a side.
        seeds: how many.
        recipe: how to train.
        placement: where pools stand: ``"group-start"`` is the authors' ``mobilenet``, ``"block"`` near their
            ``mobilenet_v2``.

    Raises:
        ValueError: strides that the study does not have, or an unknown name.
    """
    found: dict[str, CompareConfig] = {}
    for model in models:
        sites = supported_sites(load_model(model, 10), input_size)
        for digits in strides:
            first = _stem_factor(digits)
            found[f"{model.partition(':')[2]}-{digits}"] = CompareConfig(
                model=model,
                data=data,
                input_size=input_size,
                pools=tuple(pools),
                ram_bytes=None,
                flash_bytes=None,
                seeds=seeds,
                recipe=recipe or TrainConfig(),
                placement=placement,
                sites=tuple(site.name for site in (sites[1:] if first == 1 else sites)),
                strides=(sites[0].reduction * first, *(site.reduction for site in sites[1:])),
                tables=("budget",),
                int8_images=INT8_IMAGES,
            )
    return found


def _stem_factor(digits: str) -> int:
    if len(digits) != 7 or digits[1:] != _REST or digits[0] not in "1248":
        raise ValueError(f"strides must be 1{_REST}, 2{_REST}, 4{_REST} or 8{_REST}, got {digits!r}")
    return int(digits[0])


def run_study(
    configs: Mapping[str, CompareConfig],
    out: Path,
    *,
    storage: str | None = None,
    reporter: Reporter | None = None,
    hardware: Hardware | None = None,
    heartbeat_seconds: int = HEARTBEAT_SECONDS,
) -> dict[str, Comparison]:
    """Run every comparison of a study; workers share it as they share one comparison.

    Returns:
        {name: comparison}, each also in ``out/NAME``; the iso-memory table is ``out/iso_memory.md``.
    """
    reporter = reporter or SilentReporter()
    out.mkdir(parents=True, exist_ok=True)
    found: dict[str, Comparison] = {}
    url = storage or f"sqlite:///{out / 'study.db'}"
    for wait in (False, True):  # first whatever nobody does, then wait for what others have in hand
        for name, config in configs.items():
            reporter.stage(name)
            found[name] = compare(
                config,
                out / name,
                storage=url,
                reporter=reporter,
                wait=wait,
                hardware=hardware,
                heartbeat_seconds=heartbeat_seconds,
            )
    write_text_atomically(out / "iso_memory.md", iso_memory_page(found))
    return found


def points_of(comparisons: Mapping[str, Comparison]) -> list[Point]:
    """Return every network of a study that was trained and that TensorFlow Lite Micro runs as LiteRT does."""
    return [
        Point(name, row.label, row.arena_bytes, sum(row.int8_val) / len(row.int8_val), row.mean)
        for name, comparison in comparisons.items()
        for row in comparison.tables["budget"]
        if row.fits and row.mean is not None and row.arena_bytes is not None
    ]


def iso_memory(points: Sequence[Point], budgets: Sequence[int]) -> dict[int, dict[str, Point | None]]:
    """Return, for every budget in bytes and every pooling, its best network within it, chosen on validation."""
    labels = list(dict.fromkeys(point.label for point in points))
    return {
        budget: {
            label: max(
                (p for p in points if p.label == label and p.arena_bytes <= budget), key=lambda p: p.val, default=None
            )
            for label in labels
        }
        for budget in budgets
    }


def iso_memory_page(comparisons: Mapping[str, Comparison]) -> str:
    """Return the iso-memory table in Markdown; its budgets are the arenas of the average-pooled networks."""
    points = points_of(comparisons)
    budgets = sorted({point.arena_bytes for point in points if point.label == "avg"})
    table = iso_memory(points, budgets)
    labels = list(dict.fromkeys(point.label for point in points))
    lines = [f"| arena, bytes | {' | '.join(labels)} |", f"|--:|{'--|' * len(labels)}"]
    for budget, row in table.items():
        texts = ["-" if (p := row[label]) is None else f"{show_estimate(p.test)} ({p.network})" for label in labels]
        lines.append(f"| {budget:,} | {' | '.join(texts)} |")
    intro = (
        "Best int8 accuracy on test at equal arena: in every row each pooling has its best network within it, chosen"
    )
    return "\n".join(["# Iso-memory", "", f"{intro} on validation.", "", *lines, ""])
