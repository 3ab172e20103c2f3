from __future__ import annotations

import pytest

from sapool.firmware.cores import CORES, find_core
from sapool.firmware.scratch import DSP_CORES


def test_every_core_is_found_by_its_name() -> None:
    assert all(find_core(name) is core and core.name == name for name, core in CORES.items())
    assert len({core.title for core in CORES.values()}) == len(CORES)


def test_bare_cores_have_a_compiler_and_this_machine_needs_no_flags() -> None:
    assert {core.name for core in CORES.values() if not core.clang} == {"host"}
    for core in CORES.values():
        assert (core.family == "arm") == any("thumb" in flag for flag in core.clang)
        assert bool(core.gcc) == (core.family == "arm")


def test_the_emulator_has_every_model_that_is_named() -> None:
    unicorn = pytest.importorskip("unicorn")
    constants = {**vars(unicorn.arm_const), **vars(unicorn.riscv_const)}
    named = [core.emulated_as for core in CORES.values() if core.emulated_as]
    assert len(named) == 5
    assert set(named) <= set(constants)


def test_cores_with_dsp_instructions_are_cores() -> None:
    assert set(DSP_CORES) <= set(CORES)


def test_an_unknown_core_is_one_line_that_lists_them() -> None:
    with pytest.raises(ValueError, match=r"unknown core 'cortex-m5'.*cortex-m4") as raised:
        find_core("cortex-m5")
    assert "\n" not in str(raised.value)
