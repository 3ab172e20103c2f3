"""The shape of the house: rooms, rows, arrows, a test file a module, and no untyped nouns."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

from benchmarks.rooms import count

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "src" / "sapool"
NOUNS = ("model", "op", "graph", "tensor")

# Modules whose test is not in a file of their name, and where it is.
TESTED_ELSEWHERE = {
    "cli/__main__.py": "one line, the same as __main__.py's: tests/test_main.py",
    "export/runtime/worker.py": "runs in a process of its own, by tests/export/runtime/test_interpreters.py",
}


def modules() -> Iterator[Path]:
    """Yield every module but the packages' own files, relative to the package."""
    for path in sorted(PACKAGE.rglob("*.py")):
        if path.name != "__init__.py":
            yield path.relative_to(PACKAGE)


def test_at_most_17_rooms_and_nothing_beside_them() -> None:
    house = count()
    assert len(house.rooms) <= 17
    assert house.loose == ()


def test_at_most_12_rows_that_hold_every_room_once() -> None:
    house = count()
    assert len(house.rows) <= 12
    assert sorted(room for row in house.rows for room in row) == sorted(house.rooms)


def test_at_most_90_pairs_of_rooms_all_of_which_point_down() -> None:
    house = count()
    assert 0 < len(house.pairs) <= 90
    level = {room: place for place, row in enumerate(house.rows) for room in row}
    inside = {(one, other) for one, other in house.pairs if one in level}
    assert [(one, other) for one, other in sorted(inside) if level[one] >= level[other]] == []


def test_every_module_has_a_test_file_of_its_name() -> None:
    lacking = [
        str(module)
        for module in modules()
        if not (ROOT / "tests" / module.parent / f"test_{module.stem.strip('_')}.py").is_file()
        and str(module) not in TESTED_ELSEWHERE
    ]
    assert lacking == []


def test_the_exceptions_are_few_and_there() -> None:
    assert len(TESTED_ELSEWHERE) <= 10
    assert all((PACKAGE / module).is_file() for module in TESTED_ELSEWHERE)


def untyped(path: Path) -> Iterator[str]:
    """Yield the functions of a file that take one of the nouns as ``Any``."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            for argument in (*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs):
                kind = argument.annotation
                if argument.arg in NOUNS and isinstance(kind, ast.Name) and kind.id == "Any":
                    yield f"{path.relative_to(PACKAGE)}: {node.name}({argument.arg})"


def test_no_noun_is_untyped_outside_of_reading_and_writing_files() -> None:
    found = [name for module in modules() if module.parts[0] != "tflite" for name in untyped(PACKAGE / module)]
    assert found == []
