"""Run the studies: ``python benchmarks/studies/run.py [--seeds 3] [--threads 1] NAME ...`` (no name: lists them).

Start it several times at once and the workers share the runs. Finished runs are read from ``records/`` and never done
again; new ones are added there. ``page.py`` writes the page.
"""

from __future__ import annotations

import argparse
import fnmatch
from dataclasses import replace
from pathlib import Path

import definitions
import records
import torch

from sapool.cli.console import Terminal
from sapool.comparing import compare
from sapool.running import claim_folder

RUNS = Path("runs") / "studies"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", help="studies, or patterns such as 'winner-*'")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    asked = parser.parse_args()
    if not asked.names:
        for name, study in definitions.STUDIES.items():
            print(f"{name:32} {study.place}")
        return
    torch.set_num_threads(asked.threads)
    for name in definitions.STUDIES:
        if any(fnmatch.fnmatch(name, pattern) for pattern in asked.names):
            run(name, asked.seeds)


def run(name: str, seeds: int) -> None:
    study = definitions.STUDIES[name]
    folder = RUNS / study.folder
    # Before anything else is in it.
    claim_folder(folder, replace(study.config, seeds=seeds).base(), "sapool compare")
    records.restore(study.folder, folder)
    for other in definitions.larger_budgets(study):
        records.borrow(RUNS / other.folder, folder, study.config.ram_bytes)
    comparison = compare(replace(study.config, seeds=seeds), folder, reporter=Terminal())
    count = records.save(study.folder, folder)
    records.save_tables(name, comparison)
    print(f"{name}: {count} runs in records/{study.folder}.jsonl")


if __name__ == "__main__":
    main()
