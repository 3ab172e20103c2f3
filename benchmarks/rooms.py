"""Count the house: rooms, loose modules, rows of the import contract, pairs of rooms: ``python benchmarks/rooms.py``.

A room is a folder at the top of ``src/sapool``; a module beside them is loose, and counts as a room of its own. A pair
is one room that imports another, anywhere in its code: at the top of a file, inside a function, for types alone.
"""

from __future__ import annotations

import ast
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
PACKAGE = "sapool"
# What may stand beside the rooms.
BESIDE = ("__init__.py", "__main__.py", "py.typed")


@dataclass(frozen=True)
class House:
    """What was counted.

    Attributes:
        rooms: the folders.
        loose: files beside them that are none of :data:`BESIDE`.
        rows: of the import contract of layers, from the top; the rooms that share one.
        pairs: (room, room that it imports).
    """

    rooms: tuple[str, ...]
    loose: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    pairs: frozenset[tuple[str, str]]


def count(root: Path = ROOT) -> House:
    """Count the house of a checkout."""
    package = root / "src" / PACKAGE
    rooms = tuple(sorted(path.name for path in package.iterdir() if (path / "__init__.py").is_file()))
    files = sorted(path.name for path in package.iterdir() if path.is_file())
    loose = tuple(name for name in files if name not in BESIDE)
    known = {*rooms, *(Path(name).stem for name in loose)}
    pairs = {
        (path.relative_to(package).parts[0].removesuffix(".py"), target)
        for path in package.rglob("*.py")
        for target in imported(path, package)
    }
    known |= {"__init__"}
    ours = frozenset((room, target) for room, target in pairs if room != target and {room, target} <= known)
    return House(rooms, loose, rows_of(root / "pyproject.toml"), ours)


def imported(path: Path, package: Path) -> Iterator[str]:
    """Yield the rooms, or loose modules, that a file imports from."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module == PACKAGE:
            names = [f"{PACKAGE}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [node.module or ""]
        else:
            continue
        yield from (name.split(".")[1] for name in names if name.startswith(f"{PACKAGE}."))


def rows_of(pyproject: Path) -> tuple[tuple[str, ...], ...]:
    """Return the rooms of every row of the import contract, from the top."""
    contracts = tomllib.loads(pyproject.read_text())["tool"]["importlinter"]["contracts"]
    (layers,) = (contract["layers"] for contract in contracts if contract["type"] == "layers")
    return tuple(tuple(name.strip().removeprefix(f"{PACKAGE}.") for name in row.split("|")) for row in layers)


def main() -> None:
    house = count(Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT)
    print(f"{len(house.rooms)} rooms: {', '.join(house.rooms)}")
    print(f"{len(house.loose)} loose modules: {', '.join(house.loose) or 'none'}")
    print(f"{len(house.rows)} rows: {' / '.join(' | '.join(row) for row in house.rows)}")
    print(f"{len(house.pairs)} pairs of rooms of which one imports the other:")
    for room in sorted({room for room, _ in house.pairs}):
        print(f"  {room} -> {', '.join(sorted(target for one, target in house.pairs if one == room))}")


if __name__ == "__main__":
    main()
