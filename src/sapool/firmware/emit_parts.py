"""Pieces of C: constants, numbers, structs."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence

import numpy as np

from sapool.firmware.rows import Blob, Layer

_PER_LINE = 24


def unsigned(highest: int) -> str:
    """Return the smallest unsigned type that holds a number."""
    return "uint8_t" if highest < 1 << 8 else "uint16_t" if highest < 1 << 16 else "uint32_t"


def numbers(values: Iterable[int], per_line: int = _PER_LINE) -> str:
    """Return numbers as the lines between an array's braces."""
    texts = [literal(int(value)) for value in values]
    lines = [", ".join(texts[at : at + per_line]) for at in range(0, len(texts), per_line)]
    return "\n".join(f"  {line}," for line in lines)


def literal(value: int) -> str:
    """Return a number as C takes it without a warning."""
    return "INT32_MIN" if value == -(1 << 31) else str(value)


class Constants:
    """Arrays in flash: equal ones exist once."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._names: dict[tuple[str, bytes], str] = {}
        self.blobs: list[tuple[str, Blob]] = []

    def add(self, blob: Blob) -> str:
        """Return the name of an array with these values."""
        raw = np.ascontiguousarray(blob.values).astype(np.int64).tobytes()
        key = (blob.ctype, hashlib.sha256(raw).digest())
        if key not in self._names:
            self._names[key] = f"{self.name}_data{len(self.blobs)}"
            self.blobs.append((self._names[key], blob))
        return self._names[key]

    @property
    def bytes(self) -> int:
        """Of all arrays."""
        sizes = {"int8_t": 1, "uint8_t": 1, "int16_t": 2, "uint16_t": 2}
        return sum(np.asarray(blob.values).size * sizes.get(blob.ctype, 4) for _, blob in self.blobs)

    def declarations(self) -> str:
        """Return what a unit that reads them must see."""
        return "\n".join(f"extern const {blob.ctype} {name}[];" for name, blob in self.blobs)

    def definitions(self, section: str) -> str:
        """Return all arrays."""
        return "\n\n".join(_definition(name, blob, section) for name, blob in self.blobs)

    def struct(self, layer: Layer) -> str:
        """Return a layer's members between braces."""
        return "{" + ", ".join(self._field(field) for field in layer.fields) + "}"

    def _field(self, field: int | Blob | None) -> str:
        if field is None:
            return "NULL"
        return self.add(field) if isinstance(field, Blob) else literal(int(field))


def _definition(name: str, blob: Blob, section: str) -> str:
    values = np.asarray(blob.values)
    if values.ndim == 2:
        body = "\n".join("  {" + ", ".join(literal(int(v)) for v in row) + "}," for row in values)
    else:
        body = numbers(values.tolist())
    comment = blob.label.replace("*/", "* /").replace("\\", "/").replace("\n", " ")
    return f"/* {comment} */\nconst {blob.ctype} {name}[{len(values)}] {section} = {{\n{body}\n}};"


def array(ctype: str, name: str, values: Sequence[int]) -> str:
    """Return a static array of numbers."""
    return f"static const {ctype} {name}[{max(len(values), 1)}] = {{\n{numbers(values or [0])}\n}};"
