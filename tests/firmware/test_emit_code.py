"""Header and code of a program: its figures, and that C and C++ take them."""

from __future__ import annotations

import ctypes
import re
import subprocess
from pathlib import Path

import pytest

from sapool.firmware.emit_code import header, state_bytes
from sapool.firmware.generate import plan_program, write_source
from tests.firmware.random_networks import random_network


@pytest.mark.parametrize("steps", [1, 2, 3, 7, 50])
@pytest.mark.parametrize("most", [1, 255, 256, 1000])
def test_the_state_is_as_large_as_a_compiler_makes_it(steps: int, most: int) -> None:
    counter = ctypes.c_uint8 if most < 256 else ctypes.c_uint16

    class State(ctypes.Structure):
        _fields_ = (("arena", ctypes.c_uint32 * 25), ("row", ctypes.c_uint16), ("done", counter * steps))

    assert state_bytes(100, steps, most) == ctypes.sizeof(State)


@pytest.mark.parametrize("stream", [True, False])
def test_macros(stream: bool) -> None:
    graph = random_network(2)
    made = plan_program(graph, "net", "cortex-m4", stream=stream)
    text = header(made.facts, made.program, labels=0)
    macros = dict(re.findall(r"#define NET_(\w+) (\S+)", text))
    taken, out = graph.tensors[graph.inputs[0]], graph.tensors[graph.outputs[0]]
    sides = tuple(int(macros[key]) for key in ("HEIGHT", "WIDTH", "CHANNELS"))
    assert sides == taken.shape[1:]
    assert int(macros["ROW_BYTES"]) * sides[0] == int(macros["INPUT_BYTES"]) == taken.bytes
    assert int(macros["CLASSES"]) == int(macros["OUTPUT_BYTES"]) == out.shape[-1]
    assert float(macros["OUTPUT_SCALE"].rstrip("f")) == pytest.approx(out.scale, rel=1e-7)
    assert int(macros["INPUT_ZERO_POINT"].strip("()")) == taken.zero_point
    assert int(macros["RAM_BYTES"]) == made.facts.ram_bytes
    assert int(macros["STACK_BYTES"]) == made.facts.stack_bytes
    assert int(macros["WORST_PUSH_MACS"]) == made.facts.worst_push_macs
    assert "net_labels" not in text


def test_labels_are_declared_where_there_are_some() -> None:
    made = plan_program(random_network(2), "net", "cortex-m4")
    assert "extern const char *const net_labels[5];" in header(made.facts, made.program, labels=5)


@pytest.mark.parametrize("language", ["c", "c++"])
@pytest.mark.parametrize("seed", [0, 9])
def test_compilers_take_it_without_a_warning(tmp_path: Path, seed: int, language: str) -> None:
    source = write_source(plan_program(random_network(seed), "net", "cortex-m4", stream=seed == 0))
    for name, text in source.files.items():
        assert "NAME" not in text.replace("SAPOOL", "")
        (tmp_path / name).write_text(text)
    flags = ("-std=c99",) if language == "c" else ("-std=c++11",)
    strict = ("-Wall", "-Wextra", "-Wconversion", "-Wshadow", "-Wpedantic", "-Werror", "-fsyntax-only")
    files = [str(tmp_path / name) for name in ("net.c", "net_weights.c")]
    subprocess.run(["gcc", "-x", language, *flags, *strict, *files], check=True)


def test_a_section_of_your_own_takes_the_weights(tmp_path: Path) -> None:
    for name, text in write_source(plan_program(random_network(0), "net", "m7")).files.items():
        (tmp_path / name).write_text(text)
    flag = '-DSAPOOL_WEIGHTS_SECTION=".my_flash"'
    subprocess.run(["gcc", "-c", flag, tmp_path / "net_weights.c", "-o", tmp_path / "w.o"], check=True)
    listed = subprocess.run(["objdump", "-h", tmp_path / "w.o"], capture_output=True, text=True, check=True).stdout
    sizes = {line.split()[1]: int(line.split()[2], 16) for line in listed.splitlines() if re.match(r"\s*\d+ \.", line)}
    assert sizes[".my_flash"] > 0
    assert sizes.get(".rodata", 0) == 0
