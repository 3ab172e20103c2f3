"""An operator's options, by the schema's names, with typed access."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

OptionValue = bool | int | float | bytes | str | tuple[int, ...] | None
NO_ACTIVATION = "NONE"
ACTIVATIONS = (NO_ACTIVATION, "RELU", "RELU_N1_TO_1", "RELU6", "TANH", "SIGN_BIT")  # the schema's numbers 0 to 5
_SAME = 0  # the schema's Padding.SAME
# The schema's table of an operator's options, for the kinds that this package makes or whose options it relies on.
TABLES: Mapping[str, str] = {
    "ADD": "AddOptions",
    "AVERAGE_POOL_2D": "Pool2DOptions",
    "BATCH_MATMUL": "BatchMatMulOptions",
    "CALL_ONCE": "CallOnceOptions",
    "CONCATENATION": "ConcatenationOptions",
    "CONV_2D": "Conv2DOptions",
    "DEPTHWISE_CONV_2D": "DepthwiseConv2DOptions",
    "DIV": "DivOptions",
    "DYNAMIC_UPDATE_SLICE": "DynamicUpdateSliceOptions",
    "FILL": "FillOptions",
    "FULLY_CONNECTED": "FullyConnectedOptions",
    "IF": "IfOptions",
    "L2_POOL_2D": "Pool2DOptions",
    "LESS": "LessOptions",
    "MAX_POOL_2D": "Pool2DOptions",
    "MEAN": "ReducerOptions",
    "MUL": "MulOptions",
    "PAD": "PadOptions",
    "PADV2": "PadV2Options",
    "RESHAPE": "ReshapeOptions",
    "SLICE": "SliceOptions",
    "SOFTMAX": "SoftmaxOptions",
    "SPLIT": "SplitOptions",
    "SUB": "SubOptions",
    "SUM": "ReducerOptions",
    "SVDF": "SVDFOptions",
    "TRANSPOSE": "TransposeOptions",
    "TRANSPOSE_CONV": "TransposeConvOptions",
    "UNIDIRECTIONAL_SEQUENCE_LSTM": "UnidirectionalSequenceLSTMOptions",
    "WHILE": "WhileOptions",
}


class Options(Mapping[str, OptionValue]):
    """What an operator was made with: ``strideH``, ``fusedActivationFunction``, ``adjY``, ...

    Equal options have the same table and the same values.

    Attributes:
        table: the schema's name, ``Conv2DOptions``; empty where the operator has none.
    """

    def __init__(self, table: str = "", **values: OptionValue) -> None:
        self.table, self._values = table, values

    def __getitem__(self, name: str) -> OptionValue:
        return self._values[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __hash__(self) -> int:
        return hash((self.table, tuple(sorted(self._values))))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Options) and (self.table, self._values) == (other.table, other._values)

    def __repr__(self) -> str:
        inside = ", ".join([repr(self.table), *(f"{name}={value!r}" for name, value in self._values.items())])
        return f"Options({inside})"

    @classmethod
    def of(cls, kind: str, **values: OptionValue) -> Options:
        """Return the options of a kind of operator, in the table of :data:`TABLES`."""
        return cls(TABLES.get(kind, ""), **values)

    def changed(self, **values: OptionValue) -> Options:
        """Return a copy with some values replaced."""
        return Options(self.table, **{**self._values, **values})

    def integer(self, name: str, default: int = 0) -> int:
        """Return a whole number; ``default`` where the operator has no such option."""
        value = self._values.get(name)
        return int(value) if isinstance(value, int | float) else default

    def number(self, name: str, default: float = 0.0) -> float:
        """Return a number; ``default`` where the operator has no such option."""
        value = self._values.get(name)
        return float(value) if isinstance(value, int | float) else default

    def flag(self, name: str) -> bool:
        """Return whether an option is set."""
        return bool(self._values.get(name))

    def integers(self, name: str) -> tuple[int, ...]:
        """Return a list of whole numbers; () where the operator has no such option."""
        value = self._values.get(name)
        return value if isinstance(value, tuple) else ()

    @property
    def activation(self) -> str:
        """The activation fused into the operator: one of :data:`ACTIVATIONS`."""
        code = self.integer("fusedActivationFunction")
        return ACTIVATIONS[code] if 0 <= code < len(ACTIVATIONS) else f"activation {code}"


@dataclass(frozen=True)
class WindowOptions:
    """How a convolution or a pool moves over its input: (rows, columns) each.

    Attributes:
        stride: step between two windows.
        dilation: step between two taps of a window.
        same: padding as TensorFlow's SAME; otherwise VALID.
        filter: the window of a pool; (0, 0) for a convolution, whose weights have it.
    """

    stride: tuple[int, int]
    dilation: tuple[int, int]
    same: bool
    filter: tuple[int, int]


def window_options(options: Options) -> WindowOptions:
    """Return the window of CONV_2D, DEPTHWISE_CONV_2D, TRANSPOSE_CONV or a pool."""
    return WindowOptions(
        (options.integer("strideH", 1), options.integer("strideW", 1)),
        (options.integer("dilationHFactor", 1), options.integer("dilationWFactor", 1)),
        options.integer("padding") == _SAME,
        (options.integer("filterHeight"), options.integer("filterWidth")),
    )
