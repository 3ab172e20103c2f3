from __future__ import annotations

import pytest
from rich.table import Table

from sapool.cli.console import Terminal, print_table


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
