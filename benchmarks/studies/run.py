"""Run the studies: ``python benchmarks/studies/run.py [--seeds 3] [--threads 1] NAME ...`` (no name: lists them).

With ``--final-seeds 8`` the finalists of the winner studies get more seeds: of our forms, and of the rivals, the best
on validation, and average pooling. Start it several times at once and the workers share the runs. Finished runs are
read from ``records/`` and never done again; new ones are added there. ``page.py`` writes the page.
"""

from __future__ import annotations

import argparse
import fnmatch
from dataclasses import replace
from pathlib import Path

import definitions
import records
import torch

from sapool.base.reporter import LineReporter
from sapool.workflows.compare import CompareConfig, Comparison, compare
from sapool.workflows.folder import COMPARE, RunFolder

RUNS = Path("runs") / "studies"
OURS = "self_attentive"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", help="studies, or patterns such as 'winner-*'")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--final-seeds", type=int, default=0, help="of the finalists, if more than --seeds")
    parser.add_argument("--threads", type=int, default=1)
    asked = parser.parse_args()
    if not asked.names:
        for name, study in definitions.STUDIES.items():
            print(f"{name:32} {study.place}")
        return
    torch.set_num_threads(asked.threads)
    for name in definitions.STUDIES:
        if any(fnmatch.fnmatch(name, pattern) for pattern in asked.names):
            run(name, asked.seeds, asked.final_seeds)


def run(name: str, seeds: int, final_seeds: int) -> None:
    study = definitions.STUDIES[name]
    folder = RUNS / study.folder
    # Before anything else is in it.
    RunFolder(folder, COMPARE).claim(replace(study.config, seeds=seeds).base())
    records.restore(study.folder, folder)
    for other in definitions.larger_budgets(study):
        records.borrow(RUNS / other.folder, folder, study.config.ram_bytes)
    found = [compare(replace(study.config, seeds=seeds), folder, reporter=LineReporter())]
    if name.startswith("winner-") and final_seeds > seeds:
        config = finals(study.config, found[0])
        found.append(compare(replace(config, seeds=final_seeds), folder, reporter=LineReporter()))
    count = records.save(study.folder, folder)
    records.save_tables(name, found)
    print(f"{name}: {count} runs in records/{study.folder}.jsonl")


def finals(config: CompareConfig, comparison: Comparison) -> CompareConfig:
    """Return the comparison of two: of our forms that fit, and of the rivals, the one that is best on validation."""
    able = [row for row in comparison.tables["budget"] if row.int8_val]
    groups = ([row for row in able if (row.pool == OURS) is own] for own in (True, False))
    best = [max(rows, key=lambda row: sum(row.int8_val) / len(row.int8_val)) for rows in groups if rows]
    labels = [row.label for row in best]
    return replace(
        config,
        pools=tuple(pool for pool in config.pools if pool in labels),
        variants={label: variant for label, variant in config.variants.items() if label in labels},
    )


if __name__ == "__main__":
    main()
