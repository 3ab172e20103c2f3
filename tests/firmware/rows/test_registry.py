"""Which operators the engine has; what it says of those it has not."""

from __future__ import annotations

import pytest

from sapool.firmware.rows import UnsupportedError
from sapool.firmware.rows.moves import MOVES
from sapool.firmware.rows.registry import LOOKS, LOWERED
from sapool.firmware.rows.tables import BINARY, FUNCTIONS
from tests.firmware.rows.build import network, quantised, steps_of


def test_every_function_binary_and_move_is_there() -> None:
    assert {*FUNCTIONS, *BINARY, *MOVES} <= set(LOWERED)
    assert set(LOOKS) <= set(LOWERED)


@pytest.mark.parametrize("kind", ["CUMSUM", "SOME_CUSTOM_OPERATOR"])
def test_an_unknown_operator_is_named_in_one_line(kind: str) -> None:
    make, source = network((1, 4, 4, 2))
    first = make.conv(source)
    out = make.tensor(make.shape(first))
    make.add(kind, (first,), (out,))
    with pytest.raises(UnsupportedError, match=rf"operator 1 \({kind}\)") as raised:
        steps_of(make, out)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(("shape", "kind"), [((), "table"), ((2,), "add"), ((1, 4, 4, 2), "add")])
def test_a_sum_with_one_number_is_a_table(shape: tuple[int, ...], kind: str) -> None:
    make, source = network((1, 4, 4, 2))
    values = make.rng.integers(-128, 128, shape).astype("int8")
    out = make.pair("ADD", source, make.constant(values, quantised(0.1)))
    assert [step.kind for step in steps_of(make, out).steps] == [kind]
