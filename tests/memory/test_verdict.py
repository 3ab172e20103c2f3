"""Verdicts: what is compared with what, at the very byte, and what is said."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from sapool.memory.boards import BOARDS, Board, get_board
from sapool.memory.persistent import tail_bytes
from sapool.memory.profile import MemoryProfile, profile_graph
from sapool.memory.targets import get_target
from sapool.memory.verdict import TargetMemory, profile_for_target, verdict
from sapool.tflite import Graph
from tests.graphs import make_operator, make_tensor, with_operators, with_plan

FILE = 10_000


def network() -> Graph:
    """16 x 16 x 8 -> 3 x 3 convolution -> 16 x 16 x 8 -> mean -> 8."""
    tensors = (
        make_tensor("image", (1, 16, 16, 8)),
        make_tensor("weights", (8, 3, 3, 8), constant=True, channels=8),
        make_tensor("map", (1, 16, 16, 8)),
        make_tensor("axes", (2,), "int32", constant=True, channels=0),
        make_tensor("mean", (1, 8)),
    )
    operators = (
        make_operator("CONV_2D", (0, 1), (2,), {"padding": 0, "strideH": 1, "strideW": 1}),
        make_operator("MEAN", (2, 3), (4,), {"keepDims": False}),
    )
    return Graph(tensors, operators, (0,), (4,))


def memory(total: int, target: str = "cortex-m4") -> TargetMemory:
    return TargetMemory(target=target, head_bytes=total, tail_bytes=0, scratch_bytes=0)


def test_cmsis_head_holds_the_convolutions_patches():
    # two maps of 2048 and two patches of 72 int16, 288: all three alive in the convolution
    on_m4 = profile_for_target(network(), "cortex-m4")
    assert on_m4.head_bytes == 2 * 2048 + 288
    assert on_m4.scratch_bytes == 288
    assert profile_for_target(network(), "riscv").head_bytes == 2 * 2048


def test_reference_kernels_agree_with_the_plain_profile():
    plain, target = profile_graph(network()), profile_for_target(network(), get_target("riscv"))
    assert (target.head_bytes, target.tail_bytes, target.total_bytes) == (
        plain.head_bytes,
        plain.tail_bytes_32bit,
        plain.total_bytes_32bit,
    )


def test_cmsis_tail_is_that_of_32_bits_and_a_handle():
    # one scratch buffer more than with the reference kernels: 4 bytes of pointer
    tail = profile_for_target(network(), "cortex-m4").tail_bytes
    assert tail == tail_bytes(network(), pointer_bytes=4) + 4


def test_given_offsets_are_kept():
    graph = network()
    far = with_plan(graph, (4096, -1, -1, -1, -1))
    assert profile_for_target(far, "riscv").head_bytes == 4096 + 2048


def test_fits_to_the_last_byte_of_ram_and_flash():
    board = get_board("nano33ble")
    ram, flash = board.available_ram_bytes, board.available_flash_bytes
    assert verdict(memory(ram), flash, board).fits
    assert not verdict(memory(ram + 1), flash, board).fits
    assert not verdict(memory(ram), flash + 1, board).fits


@pytest.mark.parametrize("of", [profile_graph, lambda graph: profile_for_target(graph, "riscv")])
def test_the_arena_that_planning_needs_is_judged(of: Callable[[Graph], MemoryProfile | TargetMemory]):
    # ninety additions of 16 bytes: the planner's lists are larger than the head
    tensors = tuple(make_tensor(f"t{i}", (1, 16)) for i in range(91))
    steps = tuple(make_operator("ADD", (i, i), (i + 1,)) for i in range(90))
    found = of(Graph(tensors, steps, (0,), (90,)))
    tail, setup = (
        (found.tail_bytes, found.setup_bytes)
        if isinstance(found, TargetMemory)
        else (found.tail_bytes_32bit, found.setup_bytes_32bit)
    )
    assert setup > found.head_bytes
    board = replace(get_board("nano33ble"), target=get_target("riscv"))
    for short, fits in ((0, True), (1, False)):
        judged = verdict(found, FILE, replace(board, reserved_ram_bytes=0, ram_bytes=tail + setup - short))
        assert (judged.fits, judged.ram_needed_bytes) == (fits, tail + setup)


def test_what_a_verdict_says():
    fits = verdict(memory(200 * 1024), FILE, "nano33ble")
    assert (fits.board, fits.target) == ("nano33ble", "cortex-m4")
    assert (fits.ram_needed_bytes, fits.ram_available_bytes) == (204800, 212992)
    assert (fits.flash_needed_bytes, fits.flash_available_bytes) == (FILE, 964048)
    assert fits.reason == "fits: 8192 bytes of RAM and 954048 of flash are left"
    both = verdict(memory(212992 + 7), 964048 + 9, "nano33ble")
    assert both.reason == (
        "does not fit: 7 bytes of RAM short (212999 needed, 212992 available) and "
        "9 bytes of flash short (964057 needed, 964048 available)"
    )


def test_a_verdict_names_what_a_leaner_firmware_spares():
    spared = replace(memory(212992 + 2128), spared_bytes=2128)
    assert verdict(spared, FILE, "nano33ble").reason == (
        "does not fit: 2128 bytes of RAM short (215120 needed, 212992 available); "
        "a firmware that records no allocations and has no resource variables needs 2128 bytes of RAM less"
    )
    assert "less" not in verdict(replace(spared, head_bytes=212992), FILE, "nano33ble").reason
    assert verdict(replace(spared, head_bytes=212992 + 2129), FILE, "nano33ble").reason.endswith("available)")


def test_what_is_spared_is_the_same_for_every_kernel():
    plain = profile_graph(network())
    spared = plain.total_bytes_32bit - plain.firmware_bytes_32bit
    assert spared in (2112, 2128)
    assert profile_for_target(network(), "cortex-m4").spared_bytes == spared
    short = replace(plain, total_bytes_32bit=212992 + 1, firmware_bytes_32bit=212992 + 1 - spared)
    assert f"needs {spared} bytes of RAM less" in verdict(short, FILE, "nano33ble").reason


def test_external_ram_is_named_but_not_counted():
    short = verdict(memory(600 * 1024, "esp32s3"), FILE, "esp32-s3")
    assert not short.fits
    assert short.reason.endswith("its external RAM of 8388608 bytes would hold the arena, slower")
    assert "external" not in verdict(memory(600 * 1024), FILE, "nano33ble").reason


def test_eight_bits_never_fit():
    tiny = verdict(profile_graph(network()), FILE, "uno")
    assert not tiny.fits
    assert tiny.reason == "does not fit: TensorFlow Lite Micro does not run on its 8-bit AVR core"
    with pytest.raises(ValueError, match="target avr: TensorFlow Lite Micro does not run"):
        profile_for_target(network(), "avr")


def test_plain_profile_is_judged_by_its_32_bit_total_and_says_what_it_lacks():
    profile = profile_graph(network())
    judged = verdict(profile, FILE, get_target("cortex-m4"))
    assert judged.ram_needed_bytes == profile.total_bytes_32bit
    assert judged.board == judged.target == "cortex-m4"
    assert judged.caveats == ("the scratch of cortex-m4's own kernels is not counted: measure on the board",)
    assert judged.reason.endswith(f"of flash are left; {judged.caveats[0]}")
    assert verdict(profile, FILE, get_target("riscv")).caveats == ()


def test_uncounted_kernels_are_told():
    assert "esp32s3's own kernels" in verdict(profile_for_target(network(), "esp32s3"), FILE, "esp32-s3").caveats[0]
    graph = network()
    svdf = with_operators(graph, *graph.operators, make_operator("SVDF", (2, 1), (4,), {"rank": 1}))
    assert "CMSIS-NN's SVDF" in profile_for_target(svdf, "cortex-m7").caveats[0]
    assert profile_for_target(svdf, "riscv").caveats == ()


def test_memory_of_another_target_is_refused():
    with pytest.raises(ValueError, match="board esp32 needs the memory of target esp32, got that of cortex-m4"):
        verdict(memory(1), FILE, "esp32")


@pytest.mark.parametrize("board", [b for b in BOARDS.values() if b.target.kernels != "none"], ids=lambda b: b.name)
def test_every_board_can_be_judged(board: Board):
    found = verdict(profile_for_target(network(), board.target), FILE, board)
    assert found.fits == (board.available_flash_bytes >= FILE)
