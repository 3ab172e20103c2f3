"""Reading what files hold into typed records: one reader for every JSON record, YAML recipe and board file.

A file is untrusted: its size, its depth and its numbers are bounded before anything is made of them, and whatever
does not fit its record's annotations is one line with the key, the rule and the value.
"""

from __future__ import annotations

import dataclasses
import json
import math
import re
import types
import typing
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, Literal, TypeVar, Union

from sapool.base.errors import SapoolError
from sapool.base.extras import require
from sapool.base.quoting import one_line, quote
from sapool.base.suggest import suggest

T = TypeVar("T")

MOST_BYTES = 64 << 20  # of a record: the largest real ones, profiles of big networks, have a few megabytes
MOST_YAML_BYTES = 1 << 16
MOST_DEPTH = 60
MOST_WHOLE = 2**63 - 1
_WORDS = {int: "a whole number", float: "a number", bool: "true or false", str: "a text", type(None): "null"}


class ReadingError(SapoolError, ValueError):
    """What a file holds is not what it must hold; the message says key, rule and value."""


def read_text(path: str | Path, most_bytes: int = MOST_BYTES) -> str:
    """Return what a text file holds.

    Raises:
        ReadingError: no such file, not a regular one, larger than ``most_bytes``, or not UTF-8; the message names it.
    """
    path = Path(path)
    if not path.is_file():
        why = "a folder, no file" if path.is_dir() else "not a regular file" if path.exists() else "no such file"
        raise ReadingError(f"{path}: {why}")
    if (size := path.stat().st_size) > most_bytes:
        raise ReadingError(f"{path}: {size:,} bytes, a file of its kind has at most {most_bytes:,}")
    try:
        return path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ReadingError(f"{path}: not a text file: {error.reason} at byte {error.start}") from None


def parse_json(text: str, *, check: bool = True) -> Any:
    """Return what a JSON text holds.

    Args:
        text: the text.
        check: look at every value: numbers must be finite and of 64 bits, nesting at most 60 deep. Without, only what
            the parser itself finds is refused; for large files whose readers check each value.

    Raises:
        ReadingError: not JSON, or a value that no record can have.

    >>> parse_json('{"a": [1, 2.5]}')
    {'a': [1, 2.5]}
    """
    try:
        value = json.loads(text, parse_constant=_refuse_constant if check else None)
    except RecursionError:
        raise ReadingError(f"nested deeper than {MOST_DEPTH} levels") from None
    except json.JSONDecodeError as error:
        raise ReadingError(f"not JSON: {error}") from None
    except ReadingError:
        raise
    except ValueError as error:  # Python converts no number of more than 4,300 digits
        raise ReadingError(f"not JSON: {one_line(str(error), 80)}") from None
    if check:
        check_plain(value)
    return value


def read_json(path: str | Path, *, most_bytes: int = MOST_BYTES, check: bool = True) -> Any:
    """Return what a JSON file holds; see :func:`parse_json`.

    Raises:
        ReadingError: as :func:`read_text` and :func:`parse_json`; the message names the file.
    """
    text = read_text(path, most_bytes)
    try:
        return parse_json(text, check=check)
    except ReadingError as error:
        raise ReadingError(f"{path}: {error}") from None


def read_yaml(path: str | Path, most_bytes: int = MOST_YAML_BYTES) -> dict[str, Any]:
    """Return what a YAML file of ``key: value`` lines holds, an empty one as an empty mapping.

    Raises:
        ReadingError: as :func:`read_text`; not YAML; aliases, which let a few lines stand for gigabytes; a key that is
            there twice, or is no text; a value that no record can have. The message names the file.
        ImportError: PyYAML is not installed.
    """
    yaml = require("yaml", "train", "a recipe")
    text = read_text(path, most_bytes)
    try:
        if any(isinstance(event, yaml.AliasEvent) for event in yaml.parse(text, yaml.SafeLoader)):
            raise ReadingError("aliases (*name) can't be used here: write the value again")
        tree, values = yaml.compose(text, yaml.SafeLoader), yaml.load(text, _number_loader())
        keys = Counter(str(key.value) for key, _ in tree.value) if isinstance(tree, yaml.MappingNode) else Counter()
        if keys and max(keys.values()) > 1:  # YAML itself would silently take the last
            raise ReadingError(f"{quote(keys.most_common(1)[0][0])} is there twice: remove one")
        if not isinstance(values, dict | None):
            raise ReadingError(f"it must be 'key: value' lines, this is a {type(values).__name__}")
        check_plain(values)
    except RecursionError:
        raise ReadingError(f"{path}: nested deeper than {MOST_DEPTH} levels") from None
    except yaml.YAMLError as error:
        raise ReadingError(f"{path}: not YAML: {one_line(str(error))}") from None
    except ValueError as error:  # ours, or a number or date that YAML lets Python refuse
        raise ReadingError(f"{path}: {one_line(str(error))}") from None
    return values or {}


def read_record(kind: type[T], path: str | Path, *, most_bytes: int = MOST_BYTES) -> T:
    """Read a JSON file as a record; see :func:`build`.

    Raises:
        ReadingError: the message names file, key, rule and value.
    """
    held = read_json(path, most_bytes=most_bytes)
    try:
        return build(kind, held)
    except ReadingError as error:
        raise ReadingError(f"{path}: {error}") from None


def parse_record(kind: type[T], text: str) -> T:
    """Read a JSON text as a record; see :func:`build`.

    Raises:
        ReadingError: the message names key, rule and value.
    """
    return build(kind, parse_json(text))


def build(kind: type[T], data: Any, where: str = "") -> T:
    """Return ``data``, as JSON or YAML hold it, in the type that ``kind`` says.

    Args:
        kind: a dataclass (its fields by their annotations; those with a default may be left out, unknown ones are
            refused), or any annotation made of dataclasses, ``int``, ``float``, ``bool``, ``str``, ``Path``,
            ``None``, ``Literal``, unions, tuples, lists, sequences, mappings and ``Any``. JSON has no tuples: lists
            become what the annotation says. Whole numbers are taken for ``float``, true and false for no number.
        data: what a parser returned.
        where: the key so far, for messages.

    Raises:
        ReadingError: it does not fit; the message says which key must be what, and what it is.
        ValueError: the record's own check refuses it.

    >>> build(tuple[int, ...], [1, 2])
    (1, 2)
    """
    return typing.cast(T, _build(kind, data, where))


def _build(kind: Any, data: Any, where: str) -> Any:
    if dataclasses.is_dataclass(kind):
        return _build_record(typing.cast(type, kind), data, where)
    origin = typing.get_origin(kind)
    if kind is Any or kind is object:
        return check_plain(data, where)
    if origin is Literal:
        choices = typing.get_args(kind)
        if not any(type(data) is type(choice) and data == choice for choice in choices):
            raise _wrong(where, f"one of {', '.join(map(repr, choices))}", data)
        return data
    if origin in (Union, types.UnionType):
        return _build_union(typing.get_args(kind), data, where)
    builder = _BUILDERS.get(origin or kind)
    return _build_simple(kind, data, where) if builder is None else builder(typing.get_args(kind), data, where)


def check_plain(value: Any, where: str = "", depth: int = 0) -> Any:
    """Return a value of no known type once it is known to be harmless: shallow, its numbers finite and of 64 bits.

    Raises:
        ReadingError: it is not; the message says where.
    """
    if depth > MOST_DEPTH:
        raise ReadingError(f"{_named(where)} nested deeper than {MOST_DEPTH} levels".strip())
    if isinstance(value, dict):
        for key, item in value.items():
            if not isinstance(key, str):
                raise _wrong(where, "a mapping of texts", key)
            check_plain(item, _join(where, key) if depth < 3 else where, depth + 1)
    elif isinstance(value, list | tuple):
        for index, item in enumerate(value):
            check_plain(item, f"{where}[{index}]" if depth < 3 else where, depth + 1)
    elif isinstance(value, float) and not math.isfinite(value):
        raise _wrong(where, "a finite number", value)
    elif isinstance(value, int) and abs(value) > MOST_WHOLE:
        raise _wrong(where, "a number of at most 64 bits", value)
    return value


@cache
def _number_loader() -> Any:
    """Return PyYAML's safe loader that knows numbers as YAML 1.2 does: to YAML 1.1 ``1e-3`` is a text."""
    yaml = require("yaml", "train", "a recipe")
    loader: Any = type("NumberLoader", (yaml.SafeLoader,), {})
    pattern = re.compile(r"[-+]?([0-9]+\.?[0-9]*|\.[0-9]+)[eE][-+]?[0-9]+$")
    loader.add_implicit_resolver("tag:yaml.org,2002:float", pattern, list("-+.0123456789"))
    return loader


def _refuse_constant(name: str) -> float:
    raise ReadingError(f"not JSON: {name} is no number of it")


def _build_record(kind: type, data: Any, where: str) -> Any:
    if not isinstance(data, dict):
        raise _wrong(where, f"an object with the keys of a {kind.__name__}", data)
    fields = {field.name: field for field in dataclasses.fields(kind) if field.init}
    # What a record computes is written beside what it holds, so that no reader of the file has to.
    data = {key: value for key, value in data.items() if not isinstance(getattr(kind, str(key), None), property)}
    for key in data:
        if key not in fields:
            raise ReadingError(f"unknown key {quote(_join(where, str(key)))}: {suggest(str(key)[:100], fields)}")
    hints = _hints(kind)
    unset = dataclasses.MISSING
    required = [name for name, field in fields.items() if field.default is unset and field.default_factory is unset]
    if missing := [_join(where, name) for name in required if name not in data]:
        raise ReadingError(f"it has no {', '.join(missing)}")
    return kind(**{key: _build(hints[key], value, _join(where, key)) for key, value in data.items()})


@cache
def _hints(kind: type) -> dict[str, Any]:
    return typing.get_type_hints(kind)


def _build_union(choices: tuple[Any, ...], data: Any, where: str) -> Any:
    """Return what the first fitting choice makes of it; a message names all, or the one that null stands beside."""
    if data is None and type(None) in choices:
        return None
    rest = [choice for choice in choices if choice is not type(None)]
    if len(rest) == 1:
        return _build(rest[0], data, where)
    for choice in rest:
        try:
            return _build(choice, data, where)
        except ReadingError:
            continue
    raise _wrong(where, " or ".join(_WORDS.get(choice) or "a list" for choice in rest), data)


def _build_simple(kind: type, data: Any, where: str) -> Any:
    """Return a number, a text or a truth value, or a path, which files hold as a text."""
    if kind is Path:
        return Path(_build_simple(str, data, where))
    if kind not in _WORDS:
        raise TypeError(f"{where}: no reader for {kind}")  # a record's author's mistake, no user's
    fits = type(data) in (int, float) if kind is float else type(data) is kind
    if not fits:
        raise _wrong(where, _WORDS[kind], data)
    check_plain(data, where)
    return float(data) if kind is float else data


def _build_tuple(kinds: tuple[Any, ...], data: Any, where: str) -> tuple[Any, ...]:
    items = _items(data, where)
    if len(kinds) == 2 and kinds[1] is Ellipsis:
        return tuple(_build(kinds[0], item, f"{where}[{index}]") for index, item in enumerate(items))
    if len(items) != len(kinds):
        raise _wrong(where, f"a list of {len(kinds)}", data)
    return tuple(_build(k, item, f"{where}[{index}]") for index, (k, item) in enumerate(zip(kinds, items, strict=True)))


def _build_list(kinds: tuple[Any, ...], data: Any, where: str) -> list[Any]:
    kind = kinds[0] if kinds else Any
    return [_build(kind, item, f"{where}[{index}]") for index, item in enumerate(_items(data, where))]


def _build_mapping(kinds: tuple[Any, ...], data: Any, where: str) -> dict[str, Any]:
    if not isinstance(data, dict) or not all(isinstance(key, str) for key in data):
        raise _wrong(where, "a mapping of texts", data)
    return {key: _build(kinds[1] if kinds else Any, value, _join(where, key)) for key, value in data.items()}


_BUILDERS: dict[Any, Callable[[tuple[Any, ...], Any, str], Any]] = {
    tuple: _build_tuple,
    list: _build_list,
    Sequence: _build_tuple,
    dict: _build_mapping,
    Mapping: _build_mapping,
}


def _items(data: Any, where: str) -> Sequence[Any]:
    if not isinstance(data, list | tuple):
        raise _wrong(where, "a list", data)
    return data


def _join(where: str, key: str) -> str:
    return f"{where}.{key}" if where else key


def _named(where: str) -> str:
    return one_line(where, 120) if where else "it"


def _wrong(where: str, rule: str, value: Any) -> ReadingError:
    return ReadingError(f"{_named(where)} must be {rule}, got {quote(value)}")
