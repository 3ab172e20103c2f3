"""How many bytes a program's tables take in flash, laid out as compilers for 32-bit cores do."""

from __future__ import annotations

import re
from collections.abc import Iterator

_SIZES = {"int8_t": 1, "uint8_t": 1, "int16_t": 2, "uint16_t": 2, "int32_t": 4, "uint32_t": 4}
_POINTER = 4


def table_bytes(text: str, headers: str) -> int:
    """Return the bytes of all static arrays.

    Args:
        text: C that defines them, and some of their structs.
        headers: C that declares the others.
    """
    found = re.findall(r"^static const (\w+) (\*const )?\w+\[(\d+)\]", text, re.MULTILINE)
    structs = {name: struct_bytes(body) for name, body in _structs(text + headers)}
    sizes = _SIZES | structs
    return sum(int(count) * (_POINTER if star else sizes[ctype]) for ctype, star, count in found)


def struct_bytes(body: str) -> int:
    """Return the size of a struct of numbers and pointers, given what is between its braces."""
    size, widest = 0, 1
    for ctype, names in re.findall(r"(?:const )?(\w+) ([^;]+);", body):
        for name in names.split(","):
            each = _POINTER if "*" in name else _SIZES[ctype]
            size = -(-size // each) * each + each
            widest = max(widest, each)
    return -(-size // widest) * widest


def _structs(text: str) -> Iterator[tuple[str, str]]:
    """Yield (name, body) of every struct."""
    plain = re.sub(r"/\*.*?\*/", "", text, flags=re.DOTALL)
    for body, name in re.findall(r"typedef struct \{([^}]*)\} (\w+);", plain):
        yield name, body
