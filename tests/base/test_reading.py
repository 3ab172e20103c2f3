from __future__ import annotations

import json
import os
import random
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import pytest

from sapool.base.reading import ReadingError, build, parse_json, parse_record, read_json, read_record, read_text


@dataclass(frozen=True)
class Inner:
    name: str
    size: tuple[int, int]
    share: float = 0.5


@dataclass(frozen=True)
class Outer:
    inner: tuple[Inner, ...]
    kind: Literal["a", "b"] = "a"
    flag: bool = False
    maybe: int | None = None
    stride: int | tuple[int, int] = 1
    free: Mapping[str, Any] = field(default_factory=dict)


WHOLE = Outer((Inner("x", (1, 2)), Inner("y", (3, 4), 1.0)), "b", True, 3, (2, 1), {"deep": [{"a": None}]})


def test_records_survive_json() -> None:
    assert parse_record(Outer, json.dumps(asdict(WHOLE))) == WHOLE
    assert parse_record(Outer, '{"inner": []}') == Outer(())
    assert build(float, 1) == 1.0


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"kind": "c"}, "kind must be one of 'a', 'b', got 'c'"),
        ({"flag": 1}, "flag must be true or false, got 1"),
        ({"maybe": True}, "maybe must be a whole number, got True"),
        ({"maybe": 2.0}, r"maybe must be a whole number, got 2\.0"),
        ({"maybe": 2**63}, "maybe must be a number of at most 64 bits"),
        ({"stride": "x"}, "stride must be a whole number or a list, got 'x'"),
        ({"inner": {}}, r"inner must be a list, got \{\}"),
        ({"inner": [3]}, r"inner\[0\] must be an object with the keys of a Inner, got 3"),
        ({"inner": [{"name": "x"}]}, r"it has no inner\[0\]\.size"),
        ({"inner": [{"name": "x", "size": [1]}]}, r"inner\[0\]\.size must be a list of 2, got \[1\]"),
        ({"inner": [{"name": "x", "size": [1, None]}]}, r"inner\[0\]\.size\[1\] must be a whole number, got None"),
        ({"free": []}, r"free must be a mapping of texts, got \[\]"),
        ({"frei": 1}, "unknown key 'frei': did you mean free"),
    ],
)
def test_what_does_not_fit_is_named(change: dict[str, Any], said: str) -> None:
    with pytest.raises(ReadingError, match=f"^{said}"):
        build(Outer, json.loads(json.dumps(asdict(WHOLE))) | change)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "not JSON: Expecting value"),
        ("NaN", "not JSON: NaN is no number of it"),
        ('{"a": -Infinity}', "not JSON: -Infinity is no number"),
        ('{"a": [1e999]}', r"a\[0\] must be a finite number, got inf"),
        ('{"a": %s}' % ("9" * 400), "a must be a number of at most 64 bits, got a whole number of about 400 digits"),
        ("9" * 5000, "not JSON: Exceeds the limit"),
        ("[" * 70 + "]" * 70, "nested deeper than 60 levels"),
        ("[" * 200_000, "nested deeper than 60 levels"),
        ('{"a":' * 200_000, "nested deeper than 60 levels"),
    ],
)
def test_hostile_json_is_one_line(text: str, said: str) -> None:
    with pytest.raises(ReadingError, match=said) as caught:
        parse_json(text)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 300


def test_files_are_checked_before_they_are_read(tmp_path: Path) -> None:
    big, pipe = tmp_path / "big.json", tmp_path / "pipe.json"
    with big.open("wb") as file:
        file.truncate(1 << 40)
    os.mkfifo(pipe)
    (tmp_path / "latin.json").write_bytes(b'"\xe9"')
    (tmp_path / "mark.json").write_bytes(b"\xef\xbb\xbf{}")
    for name, said in {
        "big.json": "bytes, a file of its kind has at most",
        "pipe.json": "not a regular file",
        "latin.json": "not a text file",
        "none.json": "no such file",
        ".": "a folder, no file",
    }.items():
        with pytest.raises(ReadingError, match=said):
            read_text(tmp_path / name)
    assert read_json(tmp_path / "mark.json") == {}
    (tmp_path / "plan.json").write_text('{"inner": 3}')
    with pytest.raises(ReadingError, match=r"plan\.json: inner must be a list, got 3"):
        read_record(Outer, tmp_path / "plan.json")


def test_mutated_records_are_refused_or_read() -> None:
    """300 seeded mutations of a record: each is a record or one short line, at once."""
    dice, whole = random.Random(0), json.dumps(asdict(WHOLE))
    junk = ["{", "[", "]", '"', "1e999", "NaN", "null", "-", "9" * 50, "\\u0000", ",", ":", "true", "\x1b"]
    lines, start = list[str](), time.perf_counter()
    for _ in range(300):
        text = whole
        for _ in range(dice.randint(1, 3)):
            place = dice.randrange(len(text))
            text = text[:place] + dice.choice([*junk, ""]) + text[place + dice.randint(0, 4) :]
        try:
            assert isinstance(parse_record(Outer, text), Outer)
        except ReadingError as error:
            lines.append(str(error))
    assert not any(control in line for line in lines for control in ("\n", "\x1b"))
    assert max(map(len, lines)) < 400
    assert len(lines) > 200
    assert time.perf_counter() - start < 5
