"""What each kind of project's build files name."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from sapool.firmware.program import CProgram
from sapool.firmware.project import PROJECTS, project_files

PROGRAM = CProgram(
    folder="made",
    name="net",
    core="m7",
    sources=("net.c", "net_weights.c", "net_labels.c"),
    stream_input=True,
    input_shape=(48, 64, 3),
    input_dtype="int8",
    rows=48,
    output_bytes=(10,),
    ram_bytes=12345,
    stack_bytes=678,
    flash_bytes=50000,
    code_bytes=8000,
    macs=1234567,
    instructions=2345678,
    worst_push_macs=34567,
    operators=("CONV_2D",),
)


@pytest.mark.parametrize("kind", PROJECTS)
def test_the_page_holds_the_program_s_figures(kind: str) -> None:
    page = project_files(kind, PROGRAM)["README.md"]
    for said in ("48 x 64 x 3 (int8)", "12,345", "678", "42,000", "8,000", "1,234,567", "2,345,678", "34,567"):
        assert said in page
    assert "NET_RAM_BYTES" in page
    assert "a row at a time" in page


@pytest.mark.parametrize("kind", ["cmake", "esp-idf", "zephyr"])
def test_every_source_is_compiled(kind: str) -> None:
    listed = set(re.findall(r"\w+\.c\b", project_files(kind, PROGRAM)["CMakeLists.txt"]))
    assert listed - {"main.c"} == {*PROGRAM.sources, "net_selftest.c"}


def test_an_arduino_library_has_its_properties_and_a_sketch() -> None:
    made = project_files("arduino", PROGRAM)
    properties = dict(line.split("=", 1) for line in made["library.properties"].splitlines())
    assert (properties["name"], properties["includes"]) == ("net", "net.h")
    assert "net_selftest() == 0" in made["examples/net/net.ino"]


def test_a_zephyr_module_says_where_it_is_built() -> None:
    assert project_files("zephyr", PROGRAM)["zephyr/module.yml"] == "name: net\nbuild:\n  cmake: .\n"


def test_the_page_s_example_compiles(tmp_path: Path) -> None:
    lines = re.findall(r"```c\n(.*?)```", project_files("cmake", PROGRAM)["README.md"], re.DOTALL)[0]
    include, state, *body = [line for line in lines.splitlines() if line]
    (tmp_path / "net.h").write_text(
        "#define NET_HEIGHT 48\n#include <stdint.h>\ntypedef struct { int a; } net_t;\nvoid net_init(net_t *);\n"
        "int8_t *net_row(net_t *);\nconst int8_t *net_push(net_t *);\nint net_argmax(const int8_t *);\n"
    )
    around = "void read_row(int8_t *);\nint best; const int8_t *scores;\nvoid run(void);\nvoid run(void) {\n"
    (tmp_path / "a.c").write_text("\n".join([include, state, around, *body, "}\n"]))
    command = ["gcc", "-std=c99", "-Wall", "-Werror", "-fsyntax-only", str(tmp_path / "a.c")]
    assert subprocess.run(command, check=False).returncode == 0
