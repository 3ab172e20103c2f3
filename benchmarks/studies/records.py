"""A study's runs in one committed file, and back: so that a study grows on any machine and no run is ever done twice.

A line holds one ``RunRecord``; what many runs share (configuration, environment, plan) stands once, in a line of its
own that they name by its hash.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from sapool.base.files import write_text_atomically
from sapool.base.records import RunRecord, record_to_json
from sapool.workflows.compare import Comparison
from sapool.workflows.compare.config import fingerprint

SHARED = ("plan", "config", "environment", "tried")
HERE = Path(__file__).parent / "records"


def pack(runs: dict[str, RunRecord]) -> str:
    """Return the lines of {folder of the run inside the study: record}."""
    shared: dict[str, Any] = {}
    lines = []
    for place, record in sorted(runs.items()):
        data = json.loads(json.dumps(asdict(record)))  # without sums: they follow from what is kept
        for name in SHARED:
            value = data.pop(name)
            key = fingerprint(value)
            shared[key] = value
            data[name] = key
        lines.append({"run": place, **data})
    heads = [{"shared": key, "value": value} for key, value in sorted(shared.items())]
    return "".join(json.dumps(line, separators=(",", ":")) + "\n" for line in [*heads, *lines])


def unpack(text: str) -> dict[str, RunRecord]:
    """Return what :func:`pack` was given."""
    shared: dict[str, Any] = {}
    runs = {}
    for line in map(json.loads, text.splitlines()):
        if "shared" in line:
            shared[line["shared"]] = line["value"]
            continue
        place = line.pop("run")
        whole = line | {name: shared[line[name]] for name in SHARED}
        runs[place] = RunRecord.from_json(json.dumps(whole))
    return runs


def collect(folder: Path) -> dict[str, RunRecord]:
    """Return the records of every finished run under a comparison's folder."""
    found = sorted((folder / "runs").glob("*/seed*/record.json"))
    return {str(path.parent.relative_to(folder / "runs")): RunRecord.from_json(path.read_text()) for path in found}


def save(name: str, folder: Path) -> int:
    """Add a study's finished runs to its committed file; return how many that holds."""
    path = HERE / f"{name}.jsonl"
    held = unpack(path.read_text()) if path.is_file() else {}
    runs = held | collect(folder)
    write_text_atomically(path, pack(runs))
    return len(runs)


def restore(name: str, folder: Path) -> int:
    """Put committed runs back where ``compare`` looks for finished ones; return how many."""
    path = HERE / f"{name}.jsonl"
    runs = unpack(path.read_text()) if path.is_file() else {}
    for place, record in runs.items():
        target = folder / "runs" / place / "record.json"
        if not target.is_file():
            write_text_atomically(target, record_to_json(record))
    return len(runs)


def borrow(source: Path, target: Path, ram_bytes: int) -> int:
    """Copy the finished runs of a comparison under a larger budget that keep this one too; return how many."""
    kept = {place: r for place, r in collect(source).items() if r.fits and r.arena_bytes <= ram_bytes}
    for place, record in kept.items():
        path = target / "runs" / place / "record.json"
        if not path.is_file():
            write_text_atomically(path, record_to_json(record))
    return len(kept)


def save_tables(name: str, found: Sequence[Comparison]) -> None:
    """Write what a study found: its rows, without plans and paths, which the runs' file has.

    Rows of a later comparison, with more seeds of a few, stand in the place of the first one's.
    """
    data, *later = (json.loads(comparison.to_json()) for comparison in found)
    for kind, rows in data["tables"].items():
        longer = {row["label"]: row for more in later for row in more["tables"][kind]}
        rows[:] = [longer.get(row["label"], row) for row in rows]
        for row in rows:
            row.pop("plan")
            row["records"] = [
                str(Path(path).parent.relative_to(Path(data["folder"]) / "runs")) for path in row["records"]
            ]
    data.pop("folder")
    write_text_atomically(HERE / f"{name}.json", json.dumps(data, indent=1) + "\n")
