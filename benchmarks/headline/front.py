"""Accuracy against arena of one network: ``python benchmarks/headline/front.py [--seeds 1] [STRIDES ...]``.

The strides of one network decide its arena. Every set of strides is one comparison of :mod:`sapool.workflows.compare`
without a budget, which resumes and can be shared by workers; at a budget, a pooling stands with those of its networks
that fit and are best on validation (int8). ``--draw`` only writes what the finished ones say: ``front.json``,
``front.svg``; the table in ``README.md`` is by ``page.py``.
"""

from __future__ import annotations

import argparse
import io
import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch

from sapool.base.files import write_bytes_atomically, write_text_atomically
from sapool.base.reporter import LineReporter
from sapool.training import TrainConfig
from sapool.workflows.compare import CompareConfig, Comparison, compare

HERE, RUNS = Path(__file__).parent, Path("runs") / "headline-front"
DATA, FIGURE = HERE / "front.json", HERE / "front.svg"
KIB = 1024
BUDGETS = (16, 32, 64, 128, 256, 512)
# From the latest down-sampling to the earliest.
STRIDES = ((2, 2, 2, 1), (2, 2, 2, 2), (4, 2, 2, 1), (4, 4, 1, 1), (8, 2, 1, 1))
BASE = CompareConfig(
    model="sapool:tiny_050",
    data="scattered-digits",
    input_size=64,
    pools=("self_attentive", "avg", "max", "strided", "lip"),
    ram_bytes=None,
    flash_bytes=None,
    recipe=TrainConfig(epochs=15),
    tables=("budget",),
    eval_images=750,
    fragments=8,
    int8_images=750,
)
KEPT = (
    "label", "strides", "seeds", "int8_val", "int8_test", "float_test", "total_bytes", "head_bytes", "macs",
    "parameters", "reasons",
)  # fmt: skip
Point = dict[str, Any]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    names = {named(strides): strides for strides in STRIDES}
    parser.add_argument("strides", nargs="*", help=f"of {', '.join(names)}")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--draw", action="store_true")
    asked = parser.parse_args()
    torch.set_num_threads(asked.threads)
    for name in () if asked.draw else asked.strides or names:
        run(name, replace(BASE, strides=names[name], seeds=asked.seeds))
    draw(json.loads(DATA.read_text()))


def named(strides: tuple[int, ...]) -> str:
    return ",".join(map(str, strides))


def run(name: str, config: CompareConfig) -> None:
    """Run one comparison, and add its rows to the data."""
    comparison = compare(config, RUNS / name.replace(",", ""), reporter=LineReporter())
    held: dict[str, Any] = json.loads(DATA.read_text()) if DATA.is_file() else {}
    held[name] = rows_of(comparison)
    write_text_atomically(DATA, json.dumps(held, indent=1) + "\n")


def rows_of(comparison: Comparison) -> list[Point]:
    rows = json.loads(json.dumps([asdict(row) for row in comparison.tables["budget"]]))
    return [{key: row[key] for key in KEPT} for row in rows]


def points_of(held: dict[str, list[Point]]) -> dict[str, list[Point]]:
    """Return every pooling's trained networks, the smallest arena first."""
    found: dict[str, list[Point]] = {}
    for rows in held.values():
        for row in rows:
            if row["int8_val"]:
                found.setdefault(row["label"], []).append(row)
    return {label: sorted(found[label], key=lambda point: point["total_bytes"]) for label in sorted(found)}


def best_within(points: list[Point], ram_bytes: int) -> Point | None:
    """Return the network that is best on validation of those that a budget holds."""
    able = [point for point in points if point["total_bytes"] <= ram_bytes]
    return max(able, key=lambda point: mean(point["int8_val"]), default=None)


def mean(values: list[float]) -> float:
    return sum(values) / len(values)


def draw(held: dict[str, list[Point]]) -> None:
    """Draw every network's mean int8 accuracy on test, and what a pooling reaches from each arena on."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 5), layout="tight")
    axes = figure.subplots()
    for place, (label, points) in enumerate(points_of(held).items()):
        arenas = [point["total_bytes"] / KIB for point in points]
        chosen = [best_within(points, point["total_bytes"]) or point for point in points]
        axes.step(
            [*arenas, max(BUDGETS)],
            [100 * mean(point["int8_test"]) for point in [*chosen, chosen[-1]]],
            where="post", color=f"C{place}", label=label,
        )  # fmt: skip
        axes.plot(arenas, [100 * mean(point["int8_test"]) for point in points], "o", color=f"C{place}")
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
