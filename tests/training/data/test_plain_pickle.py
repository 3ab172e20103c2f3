from __future__ import annotations

import pickle
import random
import time
import tracemalloc
from typing import Any

import numpy as np
import pytest

from sapool.training.data.plain_pickle import PickleError, load_plain

IMAGES = np.arange(60, dtype=np.uint8).reshape(4, 15)


def python2(shape: tuple[int, int] = (4, 15), code: bytes = b"u1", state: bytes = b"") -> bytes:
    """Return a batch as Python 2 and its numpy pickled it, by protocol 2: texts are byte strings."""
    raw = IMAGES.tobytes()
    return (
        b"\x80\x02}q\x01(U\x0bbatch_labelq\x02U\x05one 1q\x03U\x06labelsq\x04]q\x05(K\x06K\x09M\x10'J\xff\xff\xff\xffe"
        b"U\x04dataq\x06cnumpy.core.multiarray\n_reconstruct\nq\x07cnumpy\nndarray\nq\x08K\x00\x85U\x01b\x87Rq\x09"
        b"(K\x01K" + bytes([shape[0]]) + b"K" + bytes([shape[1]]) + b"\x86cnumpy\ndtype\nq\x0a"
        b"U" + bytes([len(code)]) + code + b"K\x00K\x01\x87Rq\x0b"
        + (state or b"(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb")
        + b"\x89T" + len(raw).to_bytes(4, "little") + raw + b"tbu."
    )  # fmt: skip


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize("order", ["C", "F"])
def test_plain_data_survive(protocol: int, order: Any) -> None:
    held = {
        "data": np.array(IMAGES, order=order),
        "labels": [0, 1, 255, 256, 70_000, -5, 1 << 40],
        "wide": np.arange(3, dtype=np.int64),
        "names": ["cat", b"dog", "猫"],
        "rest": (None, True, False, (), {}, []),
    }
    read = load_plain(pickle.dumps(held, protocol=protocol))
    for name in ("data", "wide"):
        np.testing.assert_array_equal(read.pop(name), held.pop(name))
    assert read == held


def test_what_python_2_wrote_has_its_texts_as_bytes() -> None:
    read = load_plain(python2())
    np.testing.assert_array_equal(read[b"data"], IMAGES)
    assert read[b"labels"] == [6, 9, 10_000, -1]
    assert read[b"batch_label"] == b"one 1"


@pytest.mark.parametrize(
    ("data", "said"),
    [
        # An object type whose flags say that it holds no objects: numpy would take the bytes for pointers.
        (python2((4, 15), b"O8", b"(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"), "an array of type .*O8"),
        (python2((4, 15), b"u1", b"(K\x03U\x01>NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"), "an array of type >"),
        (python2((4, 15), b"V8", b"(K\x03U\x01|N(U\x01atNJ\xff\xff\xff\xffK\x00K\x00tb"), "an array of records"),
        (python2((4, 16)), r"an array of \(4, 16\) with 60 bytes"),
        (python2((0, 0)), r"an array of \(0, 0\) with 60 bytes"),
        (b"cos\nsystem\n(S'true'\ntR.", "it asks for os.system, which is no array of numbers"),
        (pickle.dumps(np.array([object()])), "instruction|asks for|array of type"),
        (b"\x80\x05\x96" + (1 << 60).to_bytes(8, "little"), "cut off: 1,152,921,504,606,846,976 bytes expected"),
        (b"\x80\x02" + b"]" * 1_000_001, "more than 1,000,000 steps"),
        (b"\x80\x02\x8b\xff\xff\xff\x7f", "instruction b'.x8b' at byte 2, which plain data do not need"),
        (b"K\x01.", None),
        (b"e.", "no mark"),
        (b"R.", "the stack is empty"),
        (b"h\x05.", "damaged at byte 2: KeyError"),
        (b"I" + b"9" * 100_000 + b"\n.", "no end of the line"),
        (b"}K\x01K\x02s.", "keys are no texts"),
        (b"((tR.", "a mark for a value"),
        (b".", "damaged at byte 1: IndexError"),
        (b"", "cut off"),
    ],
)  # fmt: skip
def test_hostile_pickles_are_refused(data: bytes, said: str | None) -> None:
    if said is None:
        assert load_plain(data) == 1
        return
    with pytest.raises(PickleError, match=said):
        load_plain(data)


def test_mutants_are_refused_or_read_at_once_and_in_little_memory() -> None:
    """300 seeded mutants of files as Python 2 and 3 write them, every byte a possible victim."""
    dice, lines = random.Random(0), list[str]()
    held = {"data": IMAGES, "labels": list(range(50)), "names": ["a", b"b"]}
    seeds = [python2(), *(pickle.dumps(held, protocol=protocol) for protocol in range(6))]
    codes = b"()].}abcdeghjlpqrstuIJKLMNRSTUVXBC\x80\x85\x86\x87\x88\x8a\x8b\x8c\x8e\x93\x94\x95\x96\xff\x00"
    tracemalloc.start()
    try:
        for number in range(300):
            data = bytearray(dice.choice(seeds))
            for _ in range(dice.randint(1, 4)):
                place = dice.randrange(len(data))
                if number % 3 == 0:
                    data[place] = dice.choice(codes)
                elif number % 3 == 1:
                    data[place:place] = bytes(dice.choices(codes, k=dice.randint(1, 8))) * dice.choice([1, 50])
                else:
                    del data[place : place + dice.randint(1, 8)]
            start = time.perf_counter()
            try:
                load_plain(bytes(data))
            except PickleError as error:
                lines.append(str(error))
            assert time.perf_counter() - start < 5
        assert tracemalloc.get_traced_memory()[1] < 50 << 20
    finally:
        tracemalloc.stop()
    assert len(lines) > 100
    assert not any("\n" in line for line in lines)
