"""The table of targets: complete, sane, every figure with a source."""

from dataclasses import replace

import pytest

from sapool.memory.targets import TARGETS, Target, get_target, read_data

FIGURES = {"core", "ram", "flash", "reserved_ram", "reserved_flash"}


def test_generic_cores_are_there():
    assert {"cortex-m0plus", "cortex-m4", "cortex-m7", "cortex-m55", "esp32", "esp32s3", "rp2040", "riscv"} <= set(
        TARGETS
    )


@pytest.mark.parametrize("target", TARGETS.values(), ids=TARGETS)
def test_every_figure_has_a_source(target: Target):
    assert set(target.sources) == FIGURES
    assert all(len(source) > 20 for source in target.sources.values())


@pytest.mark.parametrize("target", TARGETS.values(), ids=TARGETS)
def test_memory_is_whole_kibibytes(target: Target):
    assert target.ram_bytes % 1024 == target.flash_bytes % 1024 == target.reserved_ram_bytes % 1024 == 0


def test_every_source_is_used():
    data = read_data()
    used = {key for row in data["targets"].values() for key in row["sources"].values()}
    used |= {row.get("source", "mcufit") for row in data["boards"].values()}
    assert used == set(data["sources"])


def test_helium_and_dsp_only_where_the_core_has_them():
    assert {name: t.simd for name, t in TARGETS.items() if t.kernels == "cmsis-nn"} == {
        "cortex-m0plus": "none",
        "cortex-m3": "none",
        "rp2040": "none",
        "cortex-m4": "dsp",
        "cortex-m7": "dsp",
        "cortex-m33": "dsp",
        "cortex-m55": "mve",
    }


def test_any_case_and_spaces():
    assert get_target(" Cortex-M4 ") is TARGETS["cortex-m4"]


def test_unknown_target_names_the_nearest():
    with pytest.raises(ValueError, match="unknown target 'cortex-m5': did you mean cortex-m55"):
        get_target("cortex-m5")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"kernels": "magic"}, "unknown kernels 'magic'"),
        ({"simd": "avx"}, "instructions 'avx'"),
        ({"reserved_ram_bytes": 1 << 30}, "RAM must exceed what is reserved"),
        ({"flash_bytes": 0}, "flash must be positive"),
    ],
)
def test_data_errors_are_told(change: dict[str, object], message: str):
    with pytest.raises(ValueError, match=message):
        replace(TARGETS["cortex-m4"], **change)  # type: ignore[arg-type]
