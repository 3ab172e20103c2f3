from __future__ import annotations

from dataclasses import replace

from sapool.firmware.rows import Layer, Program, Read, Step, Store
from sapool.tflite.graph import Tensor


def read(low: tuple[int, ...], high: tuple[int, ...]) -> Read:
    return Read(0, low, high, 4, 10)


def step(**fields: object) -> Step:
    made = Step("conv", "CONV_2D", "stem", (read((0, 0), (2, 3)),), 1, (1, 2), lambda: Layer("sapool_conv", ()))
    return replace(made, **fields)  # type: ignore[arg-type]


def test_a_read_is_whole_where_the_first_task_needs_all_that_any_needs() -> None:
    assert read((0, 0), (4, 4)).whole
    assert read((0, 1), (4, 4)).whole
    assert not read((0, 0), (3, 4)).whole
    assert not read((1, 1), (4, 4)).whole
    assert not read((0,), (1,)).whole  # of one row there is nothing to wait for
    assert not read((), ()).whole


def test_tiles_get_smaller_until_there_is_one() -> None:
    first = step(tiles=((4, 80), (2, 40), (1, 20)), scratch=80)
    second = first.with_smaller_tile()
    assert second is not None
    assert (second.tiles, second.scratch) == (((2, 40), (1, 20)), 40)
    third = second.with_smaller_tile()
    assert third is not None
    assert third.scratch == 20
    assert third.with_smaller_tile() is None
    assert step().with_smaller_tile() is None


def test_sums() -> None:
    program = Program(steps=[step(macs=100), step(macs=7, made=(0, 0, 1))])
    assert program.steps[1].tasks == 3
    assert program.macs == 2 * 100 + 3 * 7
    assert Store(Tensor("t", (1, 4, 5, 2)), 4, 10).bytes == 40
