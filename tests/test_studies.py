"""The committed studies: their runs are whole, and their page says what they say."""

from __future__ import annotations

import importlib
from pathlib import Path
from types import ModuleType

import pytest

STUDIES = Path(__file__).parents[1] / "benchmarks" / "studies"
FILES = sorted((STUDIES / "records").glob("*.jsonl"))


@pytest.fixture
def studies(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(STUDIES))
    return importlib.import_module("page")


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
