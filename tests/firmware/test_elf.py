"""Sections and symbols of an object that the compiler makes, and of a 32-bit file made by hand."""

from __future__ import annotations

import struct
import subprocess
from pathlib import Path

import pytest

from sapool.firmware.elf import Elf, Section, SizeReport, read_elf

SOURCE = """
const int table[3] = {1, 2, 3};
int counter = 5;
int zeroed[10];
int twice(int value) { return 2 * value; }
int undefined_function(int value);
int call(int value) { return undefined_function(value); }
"""


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> Elf:
    folder: Path = tmp_path_factory.mktemp("elf")
    (folder / "a.c").write_text(SOURCE)
    flags = ("-c", "-O1", "-fno-asynchronous-unwind-tables", "-fcf-protection=none", "-fno-common")
    subprocess.run(["gcc", *flags, str(folder / "a.c"), "-o", str(folder / "a.o")], check=True)
    return read_elf((folder / "a.o").read_bytes())


def test_objects_and_functions_of_a_compiled_file(compiled: Elf) -> None:
    sizes = {symbol.name: symbol.size_bytes for symbol in compiled.symbols}
    assert {name: sizes[name] for name in ("table", "counter", "zeroed")} == {"table": 12, "counter": 4, "zeroed": 40}
    assert {symbol.name for symbol in compiled.functions()} == {"twice", "call"}
    assert "undefined_function" not in sizes
    assert compiled.symbol("counter").section == ".data"


def test_bytes_by_purpose(compiled: Elf) -> None:
    report = compiled.sizes()
    code = sum(symbol.size_bytes for symbol in compiled.functions())
    assert code <= report.code_bytes < code + 16
    assert (report.constant_bytes, report.data_bytes, report.zeroed_bytes) == (12, 4, 40)
    assert report.flash_bytes == report.code_bytes + 16
    assert report.ram_bytes == 44


def test_what_a_section_holds(compiled: Elf) -> None:
    (rodata,) = (section for section in compiled.sections if section.name == ".rodata")
    assert rodata.content == struct.pack("<3i", 1, 2, 3)
    assert (rodata.writable, rodata.executable, rodata.loaded) == (False, False, True)


def test_a_symbol_that_is_not_there(compiled: Elf) -> None:
    with pytest.raises(KeyError, match="no symbol 'nothing'"):
        compiled.symbol("nothing")


def by_hand() -> bytes:
    """A 32-bit file: one section of code, symbols for a Thumb function and an object, and their names."""
    names, strings = b"\0.text\0.symtab\0.strtab\0.names\0", b"\0go\0held\0"
    code = b"\x01\x02\x03\x04\x05\x06\x07\x08"
    symbols = struct.pack("<IIIBBH", 0, 0, 0, 0, 0, 0)
    symbols += struct.pack("<IIIBBH", 1, 0x1001, 4, 2, 0, 1) + struct.pack("<IIIBBH", 4, 0x1004, 4, 1, 0, 1)
    symbols += struct.pack("<IIIBBH", 1, 0, 0, 2, 0, 0)  # of another file
    data, headers = bytearray(52), [struct.pack("<10I", *[0] * 10)]
    for name, kind, flags, address, content, link in (
        (1, 1, 6, 0x1000, code, 0),
        (7, 2, 0, 0, symbols, 3),
        (15, 3, 0, 0, strings, 0),
        (23, 3, 0, 0, names, 0),
    ):
        headers.append(struct.pack("<10I", name, kind, flags, address, len(data), len(content), link, 0, 0, 0))
        data += content
    start = len(data)
    data[:6] = b"\x7fELF\x01\x01"
    struct.pack_into("<I", data, 32, start)
    struct.pack_into("<HHH", data, 46, 40, 5, 4)
    return bytes(data) + b"".join(headers)


def test_a_32_bit_file() -> None:
    elf = read_elf(by_hand())
    assert elf.sections[1] == Section(".text", 0x1000, 8, bytes(range(1, 9)), False, True, True)
    assert [(s.name, s.address, s.function) for s in elf.symbols] == [("go", 0x1000, True), ("held", 0x1004, False)]
    assert elf.sizes() == SizeReport(8, 0, 0, 0)


@pytest.mark.parametrize("wrong", [b"MZ" + bytes(60), b"\x7fELF\x01\x02" + bytes(60)])
def test_other_files_are_refused(wrong: bytes) -> None:
    with pytest.raises(ValueError, match="not a little-endian ELF file"):
        read_elf(wrong)
