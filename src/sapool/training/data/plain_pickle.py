"""Reading pickles of numbers, texts, lists, dictionaries and arrays without Python's own unpickler.

That one lets a file set the inner state of a numpy type, which can make pointers out of the file's bytes. Here nothing
of the file is ever called: a name it asks for is only a mark, and an array is built by us, from bytes whose length fits
the shape and one of a few types. What is read is bounded by the file: no step makes more than it reads.
"""

from __future__ import annotations

import codecs
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sapool.base.errors import SapoolError

MOST_STEPS = 1_000_000  # CIFAR-100's training file takes 300,000
_NAME_BYTES = 200
_SMALL = 9  # bytes of a number
_TYPES = {"u1": np.uint8, "i1": np.int8, "i2": np.int16, "i4": np.int32, "i8": np.int64, "f4": np.float32}
_MODULES = ("numpy.core.multiarray", "numpy._core.multiarray", "numpy.core.numeric", "numpy._core.numeric")


class PickleError(SapoolError, ValueError):
    """The bytes are no pickle of plain data; the message says why."""


@dataclass(frozen=True)
class _Name:
    """What a file calls a function or class: a mark, never looked up."""

    module: str
    name: str

    @property
    def last(self) -> str:
        """Its own name, where it is one that arrays need; numpy's have moved between modules."""
        known = {("numpy", "ndarray"), ("numpy", "dtype"), ("_codecs", "encode")}
        known |= {(module, name) for module in _MODULES for name in ("_reconstruct", "_frombuffer")}
        if (self.module, self.name) not in known:
            raise PickleError(f"it asks for {self.module}.{self.name}, which is no array of numbers")
        return self.name


@dataclass
class _Type:
    """A numpy type by the file's word for it."""

    code: str
    order: str = "|"

    def dtype(self) -> np.dtype[Any]:
        """Return our own type of that name."""
        name = self.code.lstrip("|<=")
        if name not in _TYPES or self.order not in ("|", "<", "="):
            raise PickleError(f"an array of type {self.order}{self.code[:20]!r}, known are {', '.join(_TYPES)}")
        return np.dtype(_TYPES[name])


@dataclass
class _Array:
    """An array that is under construction."""

    made: NDArray[Any] | None = None

    def fill(self, shape: Any, kind: Any, data: Any, order: str) -> None:
        """Build it from bytes."""
        if not (isinstance(kind, _Type) and isinstance(data, bytes) and isinstance(shape, tuple)):
            raise PickleError("an array without a plain type, shape or bytes")
        if len(shape) > 4 or not all(type(side) is int and 0 <= side <= len(data) for side in shape):
            raise PickleError("an array of impossible shape")
        dtype = kind.dtype()
        if math.prod(shape) * dtype.itemsize != len(data):
            raise PickleError(f"an array of {shape} with {len(data):,} bytes")
        self.made = np.frombuffer(data, dtype).reshape(shape, order="F" if order == "F" else "C")


_MARK = object()


def load_plain(data: bytes) -> Any:
    """Return what a pickle of plain data holds: texts of Python 2 as bytes, arrays as numpy's.

    Raises:
        PickleError: it is damaged, takes too many steps, or asks for anything but plain data.
    """
    reader = _Reader(data)
    try:
        return _unwrap(reader.run())
    except PickleError:
        raise
    except (ValueError, TypeError, KeyError, IndexError, OverflowError) as error:
        raise PickleError(f"damaged at byte {reader.place:,}: {type(error).__name__}") from None


def _unwrap(value: Any) -> Any:
    """Return a dictionary's arrays as arrays; arrays deeper inside are nobody's data."""
    if isinstance(value, _Array):
        return value.made
    return {key: _unwrap(item) for key, item in value.items()} if isinstance(value, dict) else value


class _Reader:
    """The pickle machine: a stack, a memo and some fifty instructions, of which only those of plain data are known."""

    def __init__(self, data: bytes) -> None:
        self.data, self.place = data, 0
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}

    def run(self) -> Any:
        for _ in range(MOST_STEPS):
            code = self.take(1)
            if code == b".":
                return self.stack.pop()
            step = _STEPS.get(code)
            if step is None:
                raise PickleError(f"instruction {code!r} at byte {self.place - 1:,}, which plain data do not need")
            step(self)
        raise PickleError(f"it takes more than {MOST_STEPS:,} steps")

    # -- reading

    def take(self, count: int) -> bytes:
        """Return the next ``count`` bytes."""
        end = self.place + count
        if end > len(self.data):
            raise PickleError(f"cut off: {count:,} bytes expected at byte {self.place:,} of {len(self.data):,}")
        self.place, start = end, self.place
        return self.data[start:end]

    def number(self, count: int, *, signed: bool = False) -> int:
        """Return a little-endian number."""
        return int.from_bytes(self.take(count), "little", signed=signed)

    def line(self, most: int = 1 << 30) -> bytes:
        """Return what stands before the next line's end."""
        end = self.data.find(b"\n", self.place, self.place + most)
        if end < 0:
            raise PickleError(f"cut off: no end of the line at byte {self.place:,}")
        return self.take(end + 1 - self.place)[:-1]

    # -- the stack

    def push(self, value: Any) -> None:
        self.stack.append(value)

    def pop(self, count: int) -> list[Any]:
        """Take the last ``count`` values off the stack."""
        if len(self.stack) < count:
            raise PickleError(f"damaged at byte {self.place:,}: the stack is empty")
        values = self.stack[len(self.stack) - count :]
        del self.stack[len(self.stack) - count :]
        if any(value is _MARK for value in values):
            raise PickleError(f"damaged at byte {self.place:,}: a mark for a value")
        return values

    def pop_marked(self) -> list[Any]:
        """Take what lies above the last mark off the stack, and the mark."""
        place = len(self.stack) - 1
        while place >= 0 and self.stack[place] is not _MARK:
            place -= 1
        if place < 0:
            raise PickleError(f"damaged at byte {self.place:,}: no mark")
        values = self.stack[place + 1 :]
        del self.stack[place:]
        return values

    def extend(self, values: list[Any]) -> None:
        """Put values into the list on top of the stack."""
        target = self.stack[-1]
        if type(target) is not list:
            raise PickleError(f"damaged at byte {self.place:,}: no list to append to")
        target.extend(values)

    def update(self, values: list[Any]) -> None:
        """Put pairs into the dictionary on top of the stack."""
        target = self.stack[-1]
        if type(target) is not dict or len(values) % 2:
            raise PickleError(f"damaged at byte {self.place:,}: no dictionary to fill")
        for key, value in zip(values[::2], values[1::2], strict=True):
            if not isinstance(key, str | bytes):
                raise PickleError("a dictionary whose keys are no texts")
            target[key] = value

    # -- names and arrays

    def reduce(self) -> None:
        """Make what a name and its arguments stand for."""
        name, values = self.pop(2)
        if not isinstance(name, _Name) or not isinstance(values, tuple):
            raise PickleError("a call of something without a name")
        if name.last == "_reconstruct":
            self.push(_Array())
        elif name.last == "dtype" and isinstance(values[0], str | bytes):
            self.push(_Type(_text(values[0])))
        elif name.last == "encode" and isinstance(values[0], str) and values[1:] in (("latin1",), (b"latin1",)):
            self.push(values[0].encode("latin-1"))
        elif name.last == "_frombuffer" and len(values) == 4:
            array = _Array()
            array.fill(values[2], values[1], values[0], _text(values[3]))
            self.push(array)
        else:
            raise PickleError(f"a call of {name.name} that makes no array of numbers")

    def build(self) -> None:
        """Complete a type or an array."""
        target, state = self.pop(2)
        if isinstance(target, _Type) and isinstance(state, tuple) and state[1:2] and isinstance(state[1], str | bytes):
            if state[2:5] != (None, None, None):
                raise PickleError("an array of records, which is no array of numbers")
            target.order = _text(state[1])[:1]
        elif isinstance(target, _Array) and isinstance(state, tuple) and len(state) == 5:
            target.fill(state[1], state[2], state[4], "F" if state[3] else "C")
        else:
            raise PickleError("a state for something that is no array of numbers")
        self.push(target)

    def name(self, module: Any, name: Any) -> None:
        if not isinstance(module, str | bytes) or not isinstance(name, str | bytes):
            raise PickleError(f"damaged at byte {self.place:,}: a name that is no text")
        self.push(_Name(_text(module)[:_NAME_BYTES], _text(name)[:_NAME_BYTES]))

    def whole(self, said: bytes) -> None:
        """Push a number that is written out; ``00`` and ``01`` are false and true."""
        truths = {b"00": False, b"01": True}
        self.push(truths[said] if said in truths else int(said[:20].rstrip(b"L")))


def _text(value: str | bytes) -> str:
    return value.decode("latin-1") if isinstance(value, bytes) else value


_Step = Callable[[_Reader], object]


def _collect(count: int) -> _Step:
    return lambda r: r.push(tuple(r.pop(count)))


def _constant(value: Any) -> _Step:
    return lambda r: r.push(value)


def _bytes_of(size: int) -> _Step:
    return lambda r: r.push(r.take(r.number(size)))


def _text_of(size: int) -> _Step:
    return lambda r: r.push(r.take(r.number(size)).decode("utf-8", "surrogatepass"))


def _dictionary(reader: _Reader) -> None:
    values = reader.pop_marked()
    reader.push({})
    reader.update(values)


def _quoted(reader: _Reader) -> None:
    said = reader.line()
    reader.push(codecs.escape_decode(said[1:-1])[0])  # undocumented; pickle itself uses it


def _long(reader: _Reader) -> None:
    size = reader.number(1)
    if size > _SMALL:
        raise PickleError(f"a number of {size} bytes")
    reader.push(reader.number(size, signed=True))


# By what the pickle format's own names for them are (pickletools.opcodes).
_STEPS: dict[bytes, _Step] = {
    b"\x80": lambda r: r.take(1),  # PROTO
    b"\x95": lambda r: r.take(8),  # FRAME
    b"(": _constant(_MARK),  # MARK
    b"}": lambda r: r.push({}),  # EMPTY_DICT
    b"]": lambda r: r.push([]),  # EMPTY_LIST
    b")": _constant(()),  # EMPTY_TUPLE
    b"d": _dictionary,  # DICT
    b"l": lambda r: r.push(r.pop_marked()),  # LIST
    b"t": lambda r: r.push(tuple(r.pop_marked())),  # TUPLE
    b"\x85": _collect(1),  # TUPLE1
    b"\x86": _collect(2),  # TUPLE2
    b"\x87": _collect(3),  # TUPLE3
    b"a": lambda r: r.extend(r.pop(1)),  # APPEND
    b"e": lambda r: r.extend(r.pop_marked()),  # APPENDS
    b"s": lambda r: r.update(r.pop(2)),  # SETITEM
    b"u": lambda r: r.update(r.pop_marked()),  # SETITEMS
    b"N": _constant(None),  # NONE
    b"\x88": _constant(True),  # NEWTRUE
    b"\x89": _constant(False),  # NEWFALSE
    b"J": lambda r: r.push(r.number(4, signed=True)),  # BININT
    b"K": lambda r: r.push(r.number(1)),  # BININT1
    b"M": lambda r: r.push(r.number(2)),  # BININT2
    b"I": lambda r: r.whole(r.line(_NAME_BYTES)),  # INT
    b"L": lambda r: r.whole(r.line(_NAME_BYTES)),  # LONG
    b"\x8a": _long,  # LONG1
    b"S": _quoted,  # STRING
    b"T": _bytes_of(4),  # BINSTRING
    b"U": _bytes_of(1),  # SHORT_BINSTRING
    b"B": _bytes_of(4),  # BINBYTES
    b"C": _bytes_of(1),  # SHORT_BINBYTES
    b"\x8e": _bytes_of(8),  # BINBYTES8
    b"\x96": _bytes_of(8),  # BYTEARRAY8
    b"V": lambda r: r.push(r.line().decode("raw-unicode-escape")),  # UNICODE
    b"X": _text_of(4),  # BINUNICODE
    b"\x8c": _text_of(1),  # SHORT_BINUNICODE
    b"\x8d": _text_of(8),  # BINUNICODE8
    b"p": lambda r: r.memo.__setitem__(int(r.line(20)), r.stack[-1]),  # PUT
    b"q": lambda r: r.memo.__setitem__(r.number(1), r.stack[-1]),  # BINPUT
    b"r": lambda r: r.memo.__setitem__(r.number(4), r.stack[-1]),  # LONG_BINPUT
    b"\x94": lambda r: r.memo.__setitem__(len(r.memo), r.stack[-1]),  # MEMOIZE
    b"g": lambda r: r.push(r.memo[int(r.line(20))]),  # GET
    b"h": lambda r: r.push(r.memo[r.number(1)]),  # BINGET
    b"j": lambda r: r.push(r.memo[r.number(4)]),  # LONG_BINGET
    b"c": lambda r: r.name(r.line(_NAME_BYTES), r.line(_NAME_BYTES)),  # GLOBAL
    b"\x93": lambda r: r.name(*r.pop(2)),  # STACK_GLOBAL
    b"R": _Reader.reduce,  # REDUCE
    b"b": _Reader.build,  # BUILD
}
