from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from sapool.firmware import toolchain
from sapool.firmware.cores import CORES, find_core
from sapool.firmware.elf import read_elf
from sapool.firmware.emulate import emulate_image
from sapool.firmware.host import HostError, run_on_host
from sapool.firmware.toolchain import WARNINGS, ToolchainError, compile_image, find_compiler, find_compilers
from tests.firmware.program import CALLS, ROOTS, SOURCE, expected, images, write_program

BARE = [name for name, core in CORES.items() if core.family != "host"]


@pytest.mark.parametrize("core", BARE)
def test_sizes(core: str, tmp_path: Path) -> None:
    image = compile_image(write_program(tmp_path), find_core(core), ROOTS)
    assert image.linked.data_bytes == 4  # pushes
    assert image.linked.zeroed_bytes == 0
    assert image.linked.constant_bytes >= 16  # weights
    assert image.units["tiny.c"].data_bytes == 4
    assert 0 < image.units["tiny.c"].code_bytes <= image.linked.code_bytes
    pushes = image.elf.symbol("pushes")
    assert (pushes.size_bytes, pushes.address, pushes.section) == (4, toolchain.RAM_ADDRESS, ".data")
    assert {"product", "step", *ROOTS} <= {symbol.name for symbol in image.elf.functions()}
    assert image.linked.flash_bytes == image.linked.code_bytes + image.linked.constant_bytes + 4


def test_code_that_nothing_reaches_is_left_out(tmp_path: Path) -> None:
    source = SOURCE + "\nint32_t unused(int32_t a); int32_t unused(int32_t a) { return a * 12345; }\n"
    image = compile_image(write_program(tmp_path, source), find_core("cortex-m4"), ROOTS)
    assert "unused" not in {symbol.name for symbol in image.elf.symbols}


def test_the_same_code_gives_the_same_image(tmp_path: Path) -> None:
    sources = write_program(tmp_path)
    once, again = (compile_image(sources, find_core("cortex-m4"), ROOTS).elf for _ in range(2))
    assert once.sections[1].content == again.sections[1].content


def test_what_a_compiler_refuses(tmp_path: Path) -> None:
    sources = write_program(tmp_path, SOURCE + "int broken(void) { return nothing; }\n")
    with pytest.raises(ToolchainError, match=r"^zig refuses the code: .*undeclared identifier 'nothing'"):
        compile_image(sources, find_core("cortex-m4"), ROOTS, kind="zig")


def test_what_is_in_no_file(tmp_path: Path) -> None:
    sources = write_program(tmp_path, SOURCE.replace("pushes++", "extern void elsewhere(void); elsewhere()"))
    with pytest.raises(ToolchainError, match="undefined symbol: elsewhere"):
        compile_image(sources, find_core("cortex-m4"), ROOTS, kind="zig")


def test_no_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(toolchain, "find_compilers", lambda core: ())
    with pytest.raises(ToolchainError, match=r"there is no compiler for Cortex-M4: pip install 'sapool\[firmware\]'"):
        find_compiler(find_core("cortex-m4"))


def test_unknown_core() -> None:
    with pytest.raises(ValueError, match="unknown core 'cortex-m5': did you mean cortex-m4"):
        find_core("cortex-m5")


def test_not_an_elf() -> None:
    with pytest.raises(ValueError, match="not a little-endian ELF file"):
        read_elf(b"MZ" + bytes(100))


@pytest.mark.parametrize("compiler", find_compilers(CORES["host"]), ids=lambda compiler: compiler.kind)
@pytest.mark.parametrize("language", ["c", "c++"])
def test_on_this_machine(compiler: toolchain.Compiler, language: str, tmp_path: Path) -> None:
    given = images(4)
    sources = write_program(tmp_path)
    flags = WARNINGS if language == "c" else ()
    run = run_on_host(sources, "tiny", given, kind=compiler.kind, flags=flags, language=language)  # type: ignore[arg-type]
    assert np.array_equal(run.outputs.view(np.int32), expected(given))
    assert run.seconds < 1


@pytest.mark.parametrize(
    ("fault", "said"),
    [("row[i + 1]", "AddressSanitizer"), ("row[i] * (INT32_MAX / 2)", "signed integer overflow")],
)
@pytest.mark.skipif(not shutil.which("gcc"), reason="the sanitizers are tested with gcc's")
def test_sanitizers_end_it(fault: str, said: str, tmp_path: Path) -> None:
    faulty = SOURCE.replace("row[i] *", f"{fault} *")
    with pytest.raises(HostError, match=said):
        run_on_host(write_program(tmp_path, faulty), "tiny", images(), sanitize=True)


@pytest.mark.skipif(not shutil.which("arm-none-eabi-gcc"), reason="there is no arm-none-eabi-gcc")
def test_gcc_as_a_second_opinion(tmp_path: Path) -> None:
    given = images()
    image = compile_image(write_program(tmp_path), find_core("cortex-m4"), ROOTS, kind="gcc")
    assert np.array_equal(emulate_image(image, CALLS, given).outputs.view(np.int32), expected(given))
