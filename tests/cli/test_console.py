from __future__ import annotations

from pathlib import Path

import pytest
from rich.table import Table

from sapool.base.records import PoolingPlan, SitePlan
from sapool.cli.console import Terminal, check_free, names_in, print_table, read_plan, say


def test_names_are_split_at_commas() -> None:
    assert names_in(" avg, max ,,lip") == ("avg", "max", "lip")


def test_a_table_in_a_pipe_is_not_cut_to_a_terminals_width(capsys: pytest.CaptureFixture[str]) -> None:
    table = Table("first", "second")
    table.add_row("a" * 60, "b" * 60)
    print_table(table)
    assert "a" * 60 in capsys.readouterr().out


def test_progress_in_a_file_is_a_line_every_tenth(capsys: pytest.CaptureFixture[str]) -> None:
    terminal = Terminal()
    terminal.start("training", 100)
    for step in range(100):
        terminal.advance(f"step {step + 1}")
    terminal.finish()
    assert capsys.readouterr().err.split("\n") == [*(f"  step {10 * tenth}" for tenth in range(1, 11)), ""]


def test_nothing_is_written_over_unless_it_is_said(tmp_path: Path) -> None:
    path = tmp_path / "there"
    check_free(path, force=False)
    path.write_text("precious")
    check_free(path, force=True)
    check_free(None, force=False)
    with pytest.raises(ValueError, match="there exists; choose another --out or say --force"):
        check_free(path, force=False)
    with pytest.raises(ValueError, match=r"--json-out .* is a folder; name the file to write"):
        check_free(tmp_path, force=True, option="--json-out")


def test_a_plan_is_for_one_size(tmp_path: Path) -> None:
    planned = PoolingPlan((3, 32, 48), (SitePlan("stem", "avg", 1, 2),))
    (tmp_path / "plan.json").write_text(planned.to_json())
    assert read_plan(tmp_path / "plan.json", (3, 32, 48)) == planned
    with pytest.raises(ValueError, match=r"plan.json is for an input of \(3, 32, 48\) \(C, H, W\), --input-size is 32"):
        read_plan(tmp_path / "plan.json", 32)
    with pytest.raises(ValueError, match="a folder, no file"):
        read_plan(tmp_path, 32)
    (tmp_path / "plan.json").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ValueError, match=r"plan\.json: not a text file"):
        read_plan(tmp_path / "plan.json", 32)


def test_names_are_printed_as_they_are_markup_and_all(capsys: pytest.CaptureFixture[str]) -> None:
    name = "runs/[/b] [red]x :smile:"
    table = Table(title=name)
    table.add_column(name)
    table.add_row(name)
    print_table(table)
    assert capsys.readouterr().out.count(name) == 3
    terminal = Terminal()
    terminal.stage(name)
    terminal.start(name, 1)
    terminal.advance(name)
    terminal.finish()
    assert capsys.readouterr().err.count(name) >= 1


def test_control_characters_are_shown_and_not_obeyed(capsys: pytest.CaptureFixture[str]) -> None:
    name = "a\x1b]0;owned\x07b\x1b[2J"
    table = Table(title=name)
    table.add_column(name)
    table.add_row(name)
    print_table(table)
    say(name)
    assert capsys.readouterr().out.count(r"a\x1b]0;owned\x07b\x1b[2J") == 4
    Terminal().stage(name)
    shown = capsys.readouterr().err
    assert r"\x1b]0;owned" in shown
    assert "\x1b" not in shown
