"""What a compiled program is made of: sections and symbols of a little-endian ELF file (32 or 64 bits)."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass

_PROGBITS, _SYMTAB, _NOBITS = 1, 2, 8
_WRITE, _ALLOCATE, _EXECUTE = 1, 2, 4
_OBJECT, _FUNCTION = 1, 2


@dataclass(frozen=True)
class Section:
    """One section: its name, its address, its bytes (zeros where the file holds none) and what it is for."""

    name: str
    address: int
    size_bytes: int
    content: bytes
    writable: bool
    executable: bool
    loaded: bool


@dataclass(frozen=True)
class Symbol:
    """One function or object. ``address`` is without the bit that marks Thumb code."""

    name: str
    address: int
    size_bytes: int
    function: bool
    section: str


@dataclass(frozen=True)
class SizeReport:
    """Bytes by purpose: code, constants, initialised and zeroed data."""

    code_bytes: int
    constant_bytes: int
    data_bytes: int
    zeroed_bytes: int

    @property
    def flash_bytes(self) -> int:
        """What stays in flash: code, constants and the initial values of data."""
        return self.code_bytes + self.constant_bytes + self.data_bytes

    @property
    def ram_bytes(self) -> int:
        """What is in RAM without anyone's asking: static data."""
        return self.data_bytes + self.zeroed_bytes


@dataclass(frozen=True)
class Elf:
    """A parsed file."""

    sections: tuple[Section, ...]
    symbols: tuple[Symbol, ...]

    def symbol(self, name: str) -> Symbol:
        """Return the symbol called ``name``.

        Raises:
            KeyError: there is none.
        """
        for symbol in self.symbols:
            if symbol.name == name:
                return symbol
        raise KeyError(f"the program has no symbol {name!r}")

    def functions(self) -> tuple[Symbol, ...]:
        """Return the functions, by address."""
        return tuple(sorted((s for s in self.symbols if s.function), key=lambda s: s.address))

    def sizes(self) -> SizeReport:
        """Add up what is loaded, by purpose."""
        kept = [section for section in self.sections if section.loaded and section.size_bytes]
        zeroed = sum(s.size_bytes for s in kept if s.writable and not s.content)
        return SizeReport(
            code_bytes=sum(s.size_bytes for s in kept if s.executable),
            constant_bytes=sum(s.size_bytes for s in kept if not s.executable and not s.writable),
            data_bytes=sum(s.size_bytes for s in kept if s.writable and s.content),
            zeroed_bytes=zeroed,
        )


def read_elf(data: bytes) -> Elf:
    """Parse an object file or a linked program.

    Raises:
        ValueError: it is no little-endian ELF file.
    """
    if data[:4] != b"\x7fELF" or data[5] != 1:
        raise ValueError("not a little-endian ELF file")
    wide = data[4] == 2
    headers = list(_section_headers(data, wide))
    names = _bytes_of(data, headers[struct.unpack_from("<H", data, 62 if wide else 50)[0]])
    sections = tuple(_section(data, header, names) for header in headers)
    symbols = tuple(
        symbol
        for header in headers
        if header[1] == _SYMTAB
        for symbol in _symbols(_bytes_of(data, header), _bytes_of(data, headers[header[6]]), wide, sections)
    )
    return Elf(sections, symbols)


# name, type, flags, address, offset, size, link
_Header = tuple[int, int, int, int, int, int, int]


def _section_headers(data: bytes, wide: bool) -> Iterator[_Header]:
    start = struct.unpack_from("<Q", data, 40)[0] if wide else struct.unpack_from("<I", data, 32)[0]
    size, count = struct.unpack_from("<HH", data, 58 if wide else 46)
    for number in range(count):
        yield struct.unpack_from("<IIQQQQI" if wide else "<IIIIIII", data, start + number * size)


def _bytes_of(data: bytes, header: _Header) -> bytes:
    return b"" if header[1] == _NOBITS else data[header[4] : header[4] + header[5]]


def _section(data: bytes, header: _Header, names: bytes) -> Section:
    name, _, flags, address, _, size, _ = header
    return Section(
        name=_text(names, name),
        address=address,
        size_bytes=size,
        content=_bytes_of(data, header),
        writable=bool(flags & _WRITE),
        executable=bool(flags & _EXECUTE),
        loaded=bool(flags & _ALLOCATE),
    )


def _symbols(table: bytes, names: bytes, wide: bool, sections: tuple[Section, ...]) -> Iterator[Symbol]:
    for entry in struct.iter_unpack("<IBBHQQ" if wide else "<IIIBBH", table):
        if wide:
            name, info, _, where, address, size = entry
        else:
            name, address, size, info, _, where = entry
        kind = info & 15
        if kind in (_OBJECT, _FUNCTION) and 0 < where < len(sections):
            function = kind == _FUNCTION
            at = address & ~1 if function else address
            yield Symbol(_text(names, name), at, size, function, sections[where].name)


def _text(names: bytes, at: int) -> str:
    return names[at : names.index(b"\0", at)].decode()
