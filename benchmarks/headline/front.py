"""Accuracy against arena for each pooling, 16 to 512 KiB: ``python benchmarks/headline/front.py [--seeds 3] [KIB]``.

Every budget and width is one comparison of :mod:`sapool.comparing`, which resumes and can be shared by workers; of the
widths the one that is best on validation (int8) stands for a pooling at a budget. ``--draw`` only writes what the
finished ones say: ``front.json``, ``front.svg`` and the table in ``README.md`` (by ``page.py``).
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch

from sapool.cli.console import Terminal
from sapool.comparing import CompareConfig, Comparison, compare
from sapool.records import write_bytes_atomically, write_text_atomically
from sapool.training import TrainConfig

HERE, RUNS = Path(__file__).parent, Path("runs") / "headline-front"
DATA, FIGURE = HERE / "front.json", HERE / "front.svg"
KIB = 1024
BUDGETS = (16, 32, 64, 128, 256, 512)
# Two widths a budget: the widest that can fit at all, and one that leaves room for larger maps.
WIDTHS: dict[int, tuple[str, ...]] = {
    16: ("sapool:tiny_025",),
    32: ("sapool:tiny_025", "sapool:tiny_050"),
    64: ("sapool:tiny_025", "sapool:tiny_050"),
    128: ("sapool:tiny_050", "sapool:tiny"),
    256: ("sapool:tiny", "sapool:tiny_150"),
    512: ("sapool:tiny", "sapool:tiny_200"),
}
POOLS = ("self_attentive", "avg", "max", "strided", "lip")
BASE = CompareConfig(
    data="scattered-digits",
    input_size=64,
    pools=POOLS,
    variants={"self_attentive, average start": ("self_attentive", {"init": "average"})},
    flash_bytes=None,
    recipe=TrainConfig(epochs=30),
    tables=("budget",),
    eval_images=1500,
    fragments=24,
    stride_choices=((2, 2, 2, 2), (4, 2, 2, 1), (4, 4, 1, 1), (8, 2, 1, 1)),
    plan_candidates=1,
    int8_images=750,
)


def configs(kib: int) -> Iterator[CompareConfig]:
    """Yield the comparisons of one budget."""
    for model in WIDTHS[kib]:
        # At 16 KiB no 64 px canvas leaves room for a map.
        sizes = {"input_size": 32, "fragments": 8} if kib == min(BUDGETS) else {}
        yield replace(BASE, model=model, ram_bytes=kib * KIB, **sizes)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("budgets", nargs="*", type=int, help=f"in KiB, of {', '.join(map(str, BUDGETS))}")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--draw", action="store_true")
    asked = parser.parse_args()
    torch.set_num_threads(asked.threads)
    for kib in () if asked.draw else asked.budgets or BUDGETS:
        for config in configs(kib):
            run(kib, replace(config, seeds=asked.seeds))
    draw(json.loads(DATA.read_text()))


def run(kib: int, config: CompareConfig) -> None:
    """Run one comparison, and add its rows to the data."""
    width = config.model.partition(":")[2]
    comparison = compare(config, RUNS / f"{kib}k-{width}", reporter=Terminal())
    held: dict[str, Any] = json.loads(DATA.read_text()) if DATA.is_file() else {}
    held[f"{kib} {width}"] = {"kib": kib, "model": config.model, "rows": rows_of(comparison)}
    write_text_atomically(DATA, json.dumps(held, indent=1) + "\n")


KEPT = (
    "label", "strides", "seeds", "int8_val", "int8_test", "float_test", "fits", "total_bytes", "head_bytes", "macs",
    "parameters", "reasons",
)  # fmt: skip


def rows_of(comparison: Comparison) -> list[dict[str, Any]]:
    rows = json.loads(json.dumps([asdict(row) for row in comparison.tables["budget"]]))
    return [{key: row[key] for key in KEPT} for row in rows]


def front(held: dict[str, Any]) -> dict[str, list[dict[str, Any]]]:
    """Return, pooling by pooling, the row of every budget: of the widths that fit, the best on validation."""
    found: dict[str, dict[int, dict[str, Any]]] = {}
    for entry in held.values():
        for row in entry["rows"]:
            if row["fits"] and row["int8_val"]:
                points = found.setdefault(row["label"], {})
                best = points.get(entry["kib"])
                if best is None or _mean(row["int8_val"]) > _mean(best["int8_val"]):
                    points[entry["kib"]] = row | {"kib": entry["kib"], "model": entry["model"]}
    return {label: [points[kib] for kib in sorted(points)] for label, points in found.items()}


def _mean(values: list[float]) -> float:
    return sum(values) / len(values)


def draw(held: dict[str, Any]) -> None:
    """Draw every pooling's mean int8 accuracy on test against its measured arena."""
    import io

    from matplotlib import rc_context
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 5), layout="tight")
    axes = figure.subplots()
    for label, points in sorted(front(held).items()):
        arenas = [point["total_bytes"] / KIB for point in points]
        axes.plot(arenas, [100 * _mean(point["int8_test"]) for point in points], marker="o", label=label)
    axes.set_xscale("log", base=2)
    axes.set_xlabel("measured arena, KiB")
    axes.set_ylabel("int8 accuracy on test, %")
    axes.legend()
    drawn = io.BytesIO()
    # Nothing in the file that differs from run to run.
    with rc_context({"svg.hashsalt": "front"}):
        figure.savefig(drawn, format="svg", metadata={"Date": None})
    write_bytes_atomically(FIGURE, drawn.getvalue())


if __name__ == "__main__":
    main()
