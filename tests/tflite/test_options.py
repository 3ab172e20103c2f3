from __future__ import annotations

import pytest
from ai_edge_litert import schema_py_generated as schema

from sapool.tflite import Options, WindowOptions, window_options
from sapool.tflite.options import ACTIVATIONS, TABLES


def test_every_table_is_the_schemas() -> None:
    for kind, table in TABLES.items():
        assert hasattr(schema.BuiltinOperator, kind), kind
        assert hasattr(schema, f"{table}T"), table


def test_activations_have_the_schemas_numbers() -> None:
    for code, name in enumerate(ACTIVATIONS):
        assert getattr(schema.ActivationFunctionType, name) == code
        assert Options("AddOptions", fusedActivationFunction=code).activation == name
    assert Options("AddOptions", fusedActivationFunction=9).activation == "activation 9"
    assert Options().activation == "NONE"


def test_each_access_has_its_type_and_its_default() -> None:
    options = Options.of("SOFTMAX", beta=0.5, axis=3, adjX=True, newShape=(1, 2))
    assert options.table == "SoftmaxOptions"
    assert (options.number("beta"), options.integer("axis"), options.flag("adjX")) == (0.5, 3, True)
    assert options.integers("newShape") == (1, 2)
    assert (options.number("none", 2.0), options.integer("none", 7), options.flag("none")) == (2.0, 7, False)
    assert options.integers("axis") == ()
    assert Options.of("MADE_UP").table == ""


def test_a_change_is_a_copy_and_equality_is_by_table_and_values() -> None:
    one = Options("AddOptions", fusedActivationFunction=1)
    other = one.changed(fusedActivationFunction=3)
    assert (one.activation, other.activation) == ("RELU", "RELU6")
    assert one == Options("AddOptions", fusedActivationFunction=1) != other
    assert one != Options("MulOptions", fusedActivationFunction=1)
    assert hash(one) == hash(Options("AddOptions", fusedActivationFunction=1))
    assert eval(repr(other), {"Options": Options}) == other
    with pytest.raises(KeyError):
        one["strideH"]


def test_a_window_is_rows_then_columns() -> None:
    options = Options("Pool2DOptions", strideH=1, strideW=2, filterHeight=3, filterWidth=4, padding=schema.Padding.SAME)
    assert window_options(options) == WindowOptions((1, 2), (1, 1), True, (3, 4))
    options = Options("Conv2DOptions", dilationHFactor=2, dilationWFactor=3, padding=schema.Padding.VALID)
    assert window_options(options) == WindowOptions((1, 1), (2, 3), False, (0, 0))
