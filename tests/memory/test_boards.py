"""The table of boards: names, aliases, figures, and what is left for a model."""

from dataclasses import replace
from pathlib import Path

import pytest

from sapool.base.budget import Budget
from sapool.memory.boards import BOARDS, Board, board_of, boards_table, budget_of, get_board
from sapool.memory.targets import TARGETS, get_target

# Names that mcufit 0.5.2 lists; a board that it knows must be known here.
MCUFIT = [
    "esp32",
    "esp32-s3",
    "esp32-c3",
    "rp2040",
    "rp2350",
    "stm32f411",
    "stm32f746",
    "stm32h743",
    "nano33ble",
    "teensy41",
    "xiao-esp32s3",
    "uno",
    "esp32-s2",
    "esp32-c6",
    "esp32-p4",
    "esp8266",
    "pico-w",
    "teensy40",
    "nano33iot",
    "uno-r4",
    "portenta-h7",
    "stm32f407-disco",
    "nrf52832",
    "xiao-nrf52840",
    "wio-terminal",
    "sparkfun-edge",
    "bluepill",
    "mega2560",
    "esp32-cam",
    "m5stack-core2",
    "microbit-v2",
]


def test_every_board_of_mcufit_is_known():
    assert len(MCUFIT) == 31
    assert set(MCUFIT) <= set(BOARDS)


def test_no_name_means_two_boards():
    names = [name for board in BOARDS.values() for name in (board.name, *board.aliases)]
    assert len(names) == len(set(names))


@pytest.mark.parametrize("board", BOARDS.values(), ids=BOARDS)
def test_names_can_be_typed(board: Board):
    for name in (board.name, *board.aliases):
        assert get_board(name) is board
        assert get_board(f" {name.upper().replace('-', '_')} ") is board


@pytest.mark.parametrize("board", BOARDS.values(), ids=BOARDS)
def test_figures_make_sense(board: Board):
    assert board.ram_bytes % 512 == board.flash_bytes % 1024 == 0
    assert 0 < board.available_ram_bytes < board.ram_bytes
    assert 0 <= board.available_flash_bytes < board.flash_bytes
    assert "mcufit" in board.source


def test_known_budgets():
    # nRF52840: 256 KiB less 48 KiB for the radio stack; 1 MiB less the 84,528 bytes of runtime measured on it
    assert budget_of("nano33ble") == budget_of("nano-33-ble-sense") == (208 * 1024, 1024 * 1024 - 84528)
    assert budget_of("pico") == (264 * 1024 - 32 * 1024, 2 * 1024 * 1024 - 114579)


def test_unknown_board_names_the_nearest():
    with pytest.raises(ValueError, match=r"unknown board 'nano33bel': did you mean nano33ble"):
        get_board("nano33bel")
    with pytest.raises(ValueError, match="sapool boards lists all"):
        budget_of("toaster")


@pytest.mark.parametrize("name", ["uno", "mega2560"])
def test_eight_bit_boards_have_no_budget(name: str):
    with pytest.raises(ValueError, match=f"board {name}: TensorFlow Lite Micro does not run on its 8-bit AVR core"):
        budget_of(name)


def test_flash_too_small_for_the_runtime_leaves_nothing():
    assert budget_of("bluepill")[1] == 0
    with pytest.raises(ValueError, match=r"board bluepill: interpreter and kernels leave nothing of its 65,536 bytes"):
        _ = get_board("bluepill").budget


def test_a_board_is_a_budget():
    assert get_board("nano33ble").budget == Budget(*budget_of("nano33ble"))
    with pytest.raises(ValueError, match="does not run on its 8-bit AVR core"):
        _ = get_board("uno").budget


def test_table_lists_all_smallest_first():
    rows = boards_table()
    assert {row["board"] for row in rows} == set(BOARDS)
    left = [int(row["available_ram_bytes"]) for row in rows]
    assert left == sorted(left)
    assert {key for row in rows for key in row} == set(rows[0])


def test_the_page_shows_the_figures():
    page = (Path(__file__).parents[2] / "docs" / "boards.md").read_text(encoding="utf-8")
    shown = [[cell.strip() for cell in line.strip("| ").split("|")] for line in page.splitlines() if line[:3] == "| `"]
    boards = [row for row in shown if len(row) == 9]
    assert [row[:8] for row in boards] == [
        [
            f"`{row['board']}`",
            row["aliases"],
            row["chip"],
            row["target"],
            *(f"{row[key]:,}" for key in ("ram_bytes", "available_ram_bytes", "flash_bytes", "available_flash_bytes")),
        ]
        for row in boards_table()
    ]
    targets = {row[0].strip("`"): [cell.split(" (")[0] for cell in row[3:]] for row in shown if len(row) == 7}
    assert targets == {
        name: [f"{n:,}" for n in (t.ram_bytes, t.reserved_ram_bytes, t.flash_bytes, t.reserved_flash_bytes)]
        for name, t in TARGETS.items()
    }


def test_a_target_stands_for_its_usual_chip():
    target = get_target("cortex-m4")
    board = board_of(target)
    assert (board.target, board.ram_bytes, board.flash_bytes) == (target, target.ram_bytes, target.flash_bytes)
    assert board.available_ram_bytes == target.ram_bytes - target.reserved_ram_bytes


def test_reserving_more_than_there_is_is_told():
    with pytest.raises(ValueError, match="board uno: RAM must exceed what is reserved"):
        replace(BOARDS["uno"], reserved_ram_bytes=4096)
