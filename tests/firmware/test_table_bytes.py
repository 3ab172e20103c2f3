"""Sizes of tables against those that a compiler for a 32-bit core gives them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from sapool.firmware.cores import find_core
from sapool.firmware.elf import read_elf
from sapool.firmware.generate import constant_bytes, plan_program, write_source
from sapool.firmware.table_bytes import struct_bytes, table_bytes
from tests.firmware.random_networks import random_network


@pytest.mark.parametrize(
    ("body", "size"),
    [
        ("uint8_t a;", 1),
        ("uint8_t a; uint16_t b;", 4),
        ("int32_t a, b; uint8_t c;", 12),
        ("uint8_t a; const int8_t *b; uint8_t c, d;", 12),
        ("const int8_t *a, *b; int16_t c; int8_t d, e, f;", 16),
    ],
)
def test_structs_are_padded_as_c_pads_them(body: str, size: int) -> None:
    assert struct_bytes(body) == size


def test_arrays_of_numbers_pointers_and_structs_add_up() -> None:
    text = (
        "static const uint16_t a[5] = {1};\nstatic const int8_t *const b[3] = {0};\nstatic const pair c[2] = {{1, 2}};"
    )
    assert table_bytes(text, "typedef struct {\n  /* a; b */\n  int32_t x;\n  int8_t y;\n} pair;") == 10 + 12 + 16


@pytest.mark.parametrize("seed", [0, 3, 9])
def test_a_compiler_agrees(seed: int, tmp_path: Path) -> None:
    made = plan_program(random_network(seed), "net", "cortex-m4")
    source = write_source(made)
    for name, text in source.files.items():
        (tmp_path / name).write_text(text)
    sizes = 0
    for name in ("net", "net_weights"):
        command = [
            sys.executable,
            "-m",
            "ziglang",
            "cc",
            *find_core("cortex-m4").clang,
            "-O0",
            "-fno-sanitize=undefined",
            "-c",
        ]
        subprocess.run([*command, f"{tmp_path / name}.c", "-o", f"{tmp_path / name}.o"], check=True)
        symbols = read_elf((tmp_path / f"{name}.o").read_bytes()).symbols
        sizes += sum(symbol.size_bytes for symbol in symbols if symbol.name.startswith("net_") and not symbol.function)
    assert source.constant_bytes == sizes == constant_bytes(made)
