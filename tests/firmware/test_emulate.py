from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from sapool.firmware.cores import CORES, find_core
from sapool.firmware.emulate import OTHER, EmulationError, Machine, Steps, emulate_image
from sapool.firmware.toolchain import Image, ToolchainError, compile_image
from tests.firmware.program import CALLS, ROOTS, SOURCE, expected, images, write_program

pytest.importorskip("unicorn")
EMULATED = [name for name, core in CORES.items() if core.emulated_as]


def build(folder: Path, core: str = "cortex-m4", source: str = SOURCE) -> Image:
    return compile_image(write_program(folder, source), find_core(core), ROOTS)


@pytest.mark.parametrize("core", EMULATED)
def test_every_core_computes_the_same(core: str, tmp_path: Path) -> None:
    given = images()
    record = emulate_image(build(tmp_path, core), CALLS, given, Steps("step", ("scale", "product")))
    assert np.array_equal(record.outputs.view(np.int32), expected(given))
    assert set(record.instructions_by_operator) == {"scale", "product", OTHER}
    assert sum(record.instructions_by_operator.values()) == record.instructions
    # 16 products and 100 stores in 5 rows, each at least an instruction; around it hardly anything
    assert record.instructions_by_operator["product"] > 5 * 116
    assert 5 * 2 <= record.instructions_by_operator["scale"] < 5 * 20
    assert record.worst_push_instructions < record.instructions < 6 * record.worst_push_instructions
    assert 400 < record.stack_bytes < 500
    assert record.ram_bytes == CALLS.state_bytes + 4 + record.stack_bytes


def test_whole_images(tmp_path: Path) -> None:
    given = images()
    record = emulate_image(build(tmp_path), replace(CALLS, rows=0), given)
    assert np.array_equal(record.outputs.view(np.int32), expected(given))
    assert record.worst_push_instructions == record.instructions


@pytest.mark.parametrize("core", EMULATED)
def test_instructions_are_counted_one_by_one(core: str, tmp_path: Path) -> None:
    """A hook in Python on every single instruction is the oracle."""
    import unicorn

    machine = Machine(build(tmp_path, core))
    state, steps = machine.allocate(CALLS.state_bytes), []
    machine._engine.hook_add(unicorn.UC_HOOK_CODE, lambda *_: steps.append(0))
    for function in ("tiny_init", "tiny_push", "tiny_push"):
        machine.call(function, state)
        assert len(steps) > 0
        if core in ("m0plus", "riscv32"):
            assert machine.instructions == len(steps)
        else:  # unicorn's hook does not see what IT skips
            assert 0 <= machine.instructions - len(steps) <= len(steps) // 25


def test_code_that_does_not_end(tmp_path: Path) -> None:
    endless = SOURCE.replace("static int32_t pushes", "static volatile int32_t pushes").replace(
        "pushes++;", "while (pushes) pushes |= 1;"
    )
    machine = Machine(build(tmp_path, source=endless))
    with pytest.raises(EmulationError, match=r"tiny_push did not return within 0\.2 s: it is at tiny_push"):
        machine.call("tiny_push", machine.allocate(CALLS.state_bytes), time_limit_seconds=0.2)


def test_an_access_to_nowhere_says_where(tmp_path: Path) -> None:
    machine = Machine(build(tmp_path))
    with pytest.raises(EmulationError, match="tiny_push fails at"):
        machine.call("tiny_push", 0x60000000)


def test_a_core_the_emulator_lacks(tmp_path: Path) -> None:
    with pytest.raises(ToolchainError, match=r"the emulator has no Cortex-M55: choose from cortex-m4, m7, m33"):
        Machine(build(tmp_path, "m55"))


def test_more_memory_than_there_is(tmp_path: Path) -> None:
    machine = Machine(build(tmp_path))
    with pytest.raises(EmulationError, match="do not fit"):
        machine.allocate(64 << 20)
