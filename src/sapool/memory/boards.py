"""Boards by name: how much memory each has and what is left of it for a model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sapool.base.budget import Budget
from sapool.base.suggest import suggest
from sapool.memory.targets import TARGETS, Target, check_memory, read_data


@dataclass(frozen=True)
class Board:
    """A development board.

    Attributes:
        name: ``nano33ble``.
        title: its maker's name for it.
        vendor: who makes it.
        chip: its micro-controller.
        target: the kind of core and kernels.
        ram_bytes: RAM on the chip.
        flash_bytes: flash on the chip or module.
        reserved_ram_bytes: what RTOS, radio and boot loader usually take of the RAM.
        external_ram_bytes: slower RAM outside the chip, never counted in a verdict.
        aliases: other names that :func:`get_board` takes.
        source: where the figures are from.
    """

    name: str
    title: str
    vendor: str
    chip: str
    target: Target
    ram_bytes: int
    flash_bytes: int
    reserved_ram_bytes: int
    external_ram_bytes: int = 0
    aliases: tuple[str, ...] = ()
    source: str = ""

    def __post_init__(self) -> None:
        """Check the data file.

        Raises:
            ValueError: no memory left.
        """
        check_memory(f"board {self.name}", self.ram_bytes, self.flash_bytes, self.reserved_ram_bytes)

    @property
    def available_ram_bytes(self) -> int:
        """RAM that is left for the tensor arena and the application's own buffers."""
        return self.ram_bytes - self.reserved_ram_bytes

    @property
    def available_flash_bytes(self) -> int:
        """Flash that interpreter and kernels leave, 0 where they do not fit: room for the model and the application."""
        return max(0, self.flash_bytes - self.target.reserved_flash_bytes)

    @property
    def budget(self) -> Budget:
        """RAM for an arena and flash for a ``.tflite``: what the board leaves.

        Raises:
            ValueError: TensorFlow Lite Micro does not run on it, or leaves no flash.
        """
        self.check_runs()
        if not self.available_flash_bytes:
            raise ValueError(
                f"board {self.name}: interpreter and kernels leave nothing of its {self.flash_bytes:,} bytes of flash"
            )
        return Budget(self.available_ram_bytes, self.available_flash_bytes)

    def check_runs(self) -> None:
        """Raise a ValueError if TensorFlow Lite Micro does not run on the board."""
        if self.target.kernels == "none":
            raise ValueError(f"board {self.name}: TensorFlow Lite Micro does not run on its {self.target.core} core")


def _board(name: str, row: Mapping[str, Any]) -> Board:
    sources = read_data()["sources"]
    return Board(
        name=name,
        title=row["title"],
        vendor=row["vendor"],
        chip=row["chip"],
        target=TARGETS[row["target"]],
        ram_bytes=row["ram"],
        flash_bytes=row["flash"],
        reserved_ram_bytes=row["reserved_ram"],
        external_ram_bytes=row.get("external_ram", 0),
        aliases=tuple(row.get("aliases", ())),
        source="; ".join(sources[key] for key in dict.fromkeys([row.get("source", "mcufit"), "mcufit"])),
    )


BOARDS: Mapping[str, Board] = {name: _board(name, row) for name, row in read_data()["boards"].items()}
"""Every board by its own name, without aliases."""


def get_board(name: str) -> Board:
    """Return a board by its name or an alias, in any case; spaces and underscores count as hyphens.

    Raises:
        ValueError: there is none of that name; the message says which are near.

    >>> get_board("Nano 33 BLE").name
    'nano33ble'
    """
    known = dict(BOARDS) | {alias: board for board in BOARDS.values() for alias in board.aliases}
    key = "-".join(name.lower().replace("_", " ").split())
    if key not in known:
        raise ValueError(f"unknown board {name!r}: {suggest(key, known)}; sapool boards lists all")
    return known[key]


def board_of(target: Target) -> Board:
    """Return a target's usual chip as a board, so that a verdict can be had for a core alone."""
    return Board(
        name=target.name,
        title=target.name,
        vendor="",
        chip=target.core,
        target=target,
        ram_bytes=target.ram_bytes,
        flash_bytes=target.flash_bytes,
        reserved_ram_bytes=target.reserved_ram_bytes,
        source="; ".join(dict.fromkeys(target.sources.values())),
    )


def budget_of(name: str) -> tuple[int, int]:
    """Return the bytes of RAM for an arena and of flash for a ``.tflite`` that a board leaves; see ``Board.budget``.

    Raises:
        ValueError: there is no board of that name, or TensorFlow Lite Micro does not run on it.
    """
    board = get_board(name)
    board.check_runs()
    return board.available_ram_bytes, board.available_flash_bytes


def boards_table() -> list[dict[str, str | int]]:
    """Return one row a board, smallest available RAM first: what ``sapool boards`` shows."""
    return [
        {
            "board": board.name,
            "title": board.title,
            "chip": board.chip,
            "target": board.target.name,
            "kernels": board.target.kernels,
            "ram_bytes": board.ram_bytes,
            "available_ram_bytes": board.available_ram_bytes,
            "flash_bytes": board.flash_bytes,
            "available_flash_bytes": board.available_flash_bytes,
            "external_ram_bytes": board.external_ram_bytes,
            "aliases": ", ".join(board.aliases),
        }
        for board in sorted(BOARDS.values(), key=lambda board: (board.available_ram_bytes, board.name))
    ]
