"""The committed studies: their runs are whole, and their page says what they say."""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest

from sapool.workflows.compare import CompareConfig

STUDIES = Path(__file__).parents[1] / "benchmarks" / "studies"
FILES = sorted((STUDIES / "records").glob("*.jsonl"))


OWN = ("definitions", "figure", "page", "records", "run")


@pytest.fixture
def studies(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """The studies' modules, whose names the headline's modules share."""
    for name in OWN:
        monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.syspath_prepend(str(STUDIES))
    yield importlib.import_module("page")
    for name in OWN:
        sys.modules.pop(name, None)


def test_the_page_is_what_the_records_say(studies: ModuleType) -> None:
    assert (STUDIES / "README.md").read_text() == studies.page()


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_runs_survive_packing_and_their_tables_point_to_them(
    path: Path, studies: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    records = studies.records
    runs = records.unpack(path.read_text())
    assert records.pack(runs) == path.read_text()
    assert records.restore(path.stem, tmp_path) == len(runs) > 0
    monkeypatch.setattr(records, "HERE", tmp_path / "elsewhere")
    assert records.save(path.stem, tmp_path) == len(runs)
    assert (tmp_path / "elsewhere" / path.name).read_text() == path.read_text()


def test_accuracies_in_the_tables_are_those_of_the_runs(studies: ModuleType) -> None:
    for name, study in studies.definitions.STUDIES.items():
        for row in studies.rows_of(name):
            runs = studies.records.unpack((studies.records.HERE / f"{study.folder}.jsonl").read_text())
            assert row["int8_test"] == [runs[place].int8_test_accuracy for place in row["records"]]
            assert (all(runs[place].fits for place in row["records"]) and row["records"] != []) == row["fits"]


def test_studies_that_share_a_folder_differ_only_in_what_is_compared(studies: ModuleType) -> None:
    bases: dict[str, object] = {}
    for study in studies.definitions.STUDIES.values():
        assert bases.setdefault(study.folder, study.config.base()) == study.config.base()
    assert len({str(base) for base in bases.values()}) == len(bases)


def test_finalists_are_chosen_on_validation(studies: ModuleType) -> None:
    run = importlib.import_module("run")
    rows = [
        SimpleNamespace(label="self_attentive", pool="self_attentive", int8_val=[0.7, 0.8], int8_test=[0.9, 0.9]),
        SimpleNamespace(label="gained", pool="self_attentive", int8_val=[0.8, 0.9], int8_test=[0.1, 0.1]),
        SimpleNamespace(label="max", pool="max", int8_val=[0.6, 0.6], int8_test=[0.1, 0.1]),
        SimpleNamespace(label="lip", pool="lip", int8_val=[0.5, 0.5], int8_test=[0.9, 0.9]),
        SimpleNamespace(label="strided", pool="strided", int8_val=[], int8_test=[]),
    ]
    config = CompareConfig(
        pools=("self_attentive", "max", "lip", "strided"), variants={"gained": ("self_attentive", {"gain": 4.0})}
    )
    final = run.finals(config, SimpleNamespace(tables={"budget": rows}))
    assert (final.pools, list(final.variants)) == (("max",), ["gained"])
    assert "avg" in {variant.label for variant in final.all_variants()}
    final = run.finals(config, SimpleNamespace(tables={"budget": rows[2:]}))  # none of ours fits
    assert (final.pools, list(final.variants)) == (("max",), [])


def test_rows_with_more_seeds_take_the_place_of_others(
    studies: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def comparison(seeds: dict[str, list[int]]) -> SimpleNamespace:
        rows = [{"label": label, "plan": {}, "records": [], "seeds": held} for label, held in seeds.items()]
        data = {"folder": "runs/x", "tables": {"budget": rows}}
        return SimpleNamespace(to_json=lambda: json.dumps(data))

    monkeypatch.setattr(studies.records, "HERE", tmp_path)
    studies.records.save_tables(
        "it", [comparison({"a": [0], "b": [0], "c": [0]}), comparison({"c": [0, 1], "a": [0, 1]})]
    )
    rows = json.loads((tmp_path / "it.json").read_text())["tables"]["budget"]
    assert {row["label"]: row["seeds"] for row in rows} == {"a": [0, 1], "b": [0], "c": [0, 1]}


def test_the_figures_are_drawn(studies: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    figure = importlib.import_module("figure")
    monkeypatch.setattr(figure, "HERE", tmp_path)
    figure.main()
    assert {path.name for path in tmp_path.iterdir()} == {path.name for path in STUDIES.glob("*.svg")}
    assert all("<svg" in path.read_text() for path in tmp_path.iterdir())
