"""A ``.tflite``'s subgraphs in memory: typed, and kept consistent by every edit."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sapool.tflite.options import Options

BYTES_OF: Mapping[str, int] = {
    "bool": 1,
    "int4": 1,  # the runtime unpacks it
    "int8": 1,
    "uint8": 1,
    "int16": 2,
    "uint16": 2,
    "float16": 2,
    "int32": 4,
    "uint32": 4,
    "float32": 4,
    "int64": 8,
    "uint64": 8,
    "float64": 8,
    "complex64": 8,
    "resource": 0,  # a handle, which lies in its operator's own data
}
# The options that name the graphs a control-flow operator runs, in the order in which the runtime visits them.
CALLED: Mapping[str, tuple[str, ...]] = {
    "IF": ("thenSubgraphIndex", "elseSubgraphIndex"),
    "CALL_ONCE": ("initSubgraphIndex",),
    "WHILE": ("condSubgraphIndex", "bodySubgraphIndex"),
}


@dataclass(frozen=True)
class Quantization:
    """``real = (q - zero_point) * scale``, one pair for the tensor or one for every channel along ``axis``."""

    scales: tuple[float, ...]
    zero_points: tuple[int, ...]
    axis: int = 0


class Constant:
    """Bytes of a constant, made or read when they are first asked for; tensors that share them share this object."""

    def __init__(self, source: NDArray[np.uint8] | Callable[[], NDArray[Any]]) -> None:
        self._source = source

    @cached_property
    def raw(self) -> NDArray[np.uint8]:
        """The bytes, (n,)."""
        values = self._source() if callable(self._source) else self._source
        return np.ascontiguousarray(values).reshape(-1).view(np.uint8)


@dataclass(frozen=True, eq=False)
class Tensor:
    """One tensor of a graph.

    Attributes:
        name: in the file, or of the traced node that makes it.
        shape: as the runtime holds it, channel-last: (1, H, W, C).
        dtype: ``int8``, ``float32``, ...; a key of :data:`BYTES_OF` for whatever is computed.
        quantization: its scales and zero points; None where it has none.
        constant: its bytes where the file (or the network) has them, else None.
        variable: state that lives through every inference.
        signature: the shape with -1 for sides that may change; () where it says nothing more than ``shape``.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str = "int8"
    quantization: Quantization | None = None
    constant: Constant | None = None
    variable: bool = False
    signature: tuple[int, ...] = ()

    @property
    def bytes(self) -> int:
        """Its size in bytes."""
        return math.prod(self.shape) * BYTES_OF[self.dtype]

    @property
    def values(self) -> NDArray[Any] | None:
        """A constant's values in its own type and shape; None for what is computed."""
        if self.constant is None:
            return None
        return self.constant.raw.view(np.dtype(self.dtype)).reshape(self.shape)

    @property
    def integers(self) -> tuple[int, ...]:
        """A constant int32 or int64 tensor's values; () for any other."""
        if self.constant is None or self.dtype not in ("int32", "int64"):
            return ()
        return tuple(int(n) for n in self.constant.raw.view(np.dtype(self.dtype)))

    @property
    def channels(self) -> int:
        """How many scales its quantisation has (1: per tensor, 0: not quantised)."""
        return len(self.quantization.scales) if self.quantization is not None else 0

    @property
    def scale(self) -> float:
        """The scale of a tensor quantised per tensor; 0 for any other."""
        return self.quantization.scales[0] if self.quantization is not None and self.channels == 1 else 0.0

    @property
    def zero_point(self) -> int:
        """The zero point of a tensor quantised per tensor; 0 for any other."""
        return self.quantization.zero_points[0] if self.quantization is not None and self.channels == 1 else 0


@dataclass(frozen=True, eq=False)
class Operator:
    """One operator; ``inputs`` and ``outputs`` are places in its graph's tensors (-1: an absent input).

    Attributes:
        kind: the builtin operator's name, ``CONV_2D``, or a custom operator's own.
        inputs: what it reads, in the runtime's order.
        outputs: what it writes.
        options: what it was made with.
        custom: whether ``kind`` is a custom operator's name.
        custom_options: a custom operator's bytes.
        version: of the builtin operator.
        module: the PyTorch module it came from, or empty where that is not known.
    """

    kind: str
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    options: Options = field(default_factory=Options)
    custom: bool = False
    custom_options: bytes = b""
    version: int = 1
    module: str = ""

    @property
    def called(self) -> tuple[int, ...]:
        """The graphs that a control-flow operator runs; () for any other operator."""
        return tuple(self.options.integer(name) for name in CALLED.get(self.kind, ()))


@dataclass(frozen=True)
class Signature:
    """The names by which a caller knows a graph's inputs and outputs: {name: place in its tensors}."""

    key: str
    graph: int
    inputs: Mapping[str, int]
    outputs: Mapping[str, int]


class Graph:
    """Operators in execution order and the tensors between them.

    Tensors and operators can't be changed in place: every edit goes through a method, so that :attr:`makers` and
    :attr:`readers` are always those of the graph as it is.

    Attributes:
        name: in the file.
        subgraphs: of the main graph: the file's graphs 1, 2, ... that WHILE, IF and CALL_ONCE run.
        metadata: of the main graph: {name: bytes}.
        signatures: of the main graph.
        description: of the file.
        trailer: what stands behind the flatbuffer, such as zipped labels.
    """

    def __init__(
        self,
        tensors: Iterable[Tensor] = (),
        operators: Iterable[Operator] = (),
        inputs: Iterable[int] = (),
        outputs: Iterable[int] = (),
        *,
        name: str = "",
        subgraphs: Iterable[Graph] = (),
        metadata: Mapping[str, bytes] | None = None,
        signatures: Iterable[Signature] = (),
        description: str = "",
        trailer: bytes = b"",
    ) -> None:
        self._tensors, self._operators = tuple(tensors), tuple(operators)
        self._inputs, self._outputs = tuple(inputs), tuple(outputs)
        self.name, self.subgraphs = name, list(subgraphs)
        self.metadata = dict(metadata or {})
        self.signatures = tuple(signatures)
        self.description, self.trailer = description, trailer
        self._makers: dict[int, int] | None = None
        self._readers: dict[int, tuple[int, ...]] = {}

    def copy(self) -> Graph:
        """Return a graph that can be edited without changing this one; constants are shared."""
        return Graph(
            self._tensors,
            self._operators,
            self._inputs,
            self._outputs,
            name=self.name,
            subgraphs=[graph.copy() for graph in self.subgraphs],
            metadata=self.metadata,
            signatures=self.signatures,
            description=self.description,
            trailer=self.trailer,
        )

    # --- reading -----------------------------------------------------------------------------------------------------

    @property
    def tensors(self) -> tuple[Tensor, ...]:
        """All tensors, constants too."""
        return self._tensors

    @property
    def operators(self) -> tuple[Operator, ...]:
        """In execution order."""
        return self._operators

    @property
    def inputs(self) -> tuple[int, ...]:
        """Places in ``tensors``."""
        return self._inputs

    @property
    def outputs(self) -> tuple[int, ...]:
        """Places in ``tensors``."""
        return self._outputs

    @property
    def graphs(self) -> tuple[Graph, ...]:
        """All graphs in the file's order, this one first."""
        return (self, *self.subgraphs)

    @property
    def makers(self) -> Mapping[int, int]:
        """{tensor: place of the operator that makes it}."""
        self._look()
        return self._makers or {}

    def readers(self, tensor: int) -> tuple[int, ...]:
        """Return the places of the operators that read a tensor, in order; a graph output is not among them."""
        self._look()
        return self._readers.get(tensor, ())

    def maker(self, tensor: int, kind: str = "") -> Operator | None:
        """Return the operator that makes a tensor, if there is one (of that kind)."""
        place = self.makers.get(tensor)
        operator = None if place is None else self._operators[place]
        return operator if operator is not None and kind in ("", operator.kind) else None

    def only_reader(self, tensor: int) -> int | None:
        """Return the place of the one operator that reads a tensor; None if there are several, or it is an output."""
        places = self.readers(tensor)
        return places[0] if len(places) == 1 and tensor not in self._outputs else None

    def of_kind(self, *kinds: str) -> Iterator[tuple[int, Operator]]:
        """Yield (place, operator) of every operator of these kinds, in order."""
        return ((place, op) for place, op in enumerate(self._operators) if op.kind in kinds)

    def is_constant(self, tensor: int) -> bool:
        """Whether a tensor's values are known before the network runs; an absent input's are not."""
        return tensor >= 0 and self._tensors[tensor].constant is not None

    def _look(self) -> None:
        if self._makers is not None:
            return
        makers: dict[int, int] = {}
        readers: dict[int, list[int]] = {}
        for place, op in enumerate(self._operators):
            makers.update(dict.fromkeys(op.outputs, place))
            for tensor in dict.fromkeys(op.inputs):
                readers.setdefault(tensor, []).append(place)
        self._makers, self._readers = makers, {tensor: tuple(places) for tensor, places in readers.items()}

    # --- edits -------------------------------------------------------------------------------------------------------

    def add_tensor(self, tensor: Tensor) -> int:
        """Append a tensor; returns its place."""
        self._tensors = (*self._tensors, tensor)
        return len(self._tensors) - 1

    def add_constant(self, values: NDArray[Any], name: str, quantization: Quantization | None = None) -> int:
        """Append a constant with the type and shape of ``values``; returns its place."""
        raw = np.ascontiguousarray(values)
        constant = Constant(raw.reshape(-1).view(np.uint8))
        return self.add_tensor(Tensor(name, raw.shape, raw.dtype.name, quantization, constant))

    def change_tensor(self, place: int, **fields: Any) -> None:
        """Replace fields of one tensor."""
        tensors = list(self._tensors)
        tensors[place] = replace(tensors[place], **fields)
        self._tensors = tuple(tensors)

    def set_operators(self, operators: Iterable[Operator]) -> None:
        """Replace all operators: what a reordering, an insertion or a removal of several comes to."""
        self._operators, self._makers = tuple(operators), None

    def change_operator(self, place: int, **fields: Any) -> None:
        """Replace fields of one operator."""
        operators = list(self._operators)
        operators[place] = replace(operators[place], **fields)
        self.set_operators(operators)

    def insert(self, place: int, *operators: Operator) -> None:
        """Put operators before the one at ``place``."""
        self.set_operators((*self._operators[:place], *operators, *self._operators[place:]))

    def remove(self, places: Iterable[int]) -> None:
        """Remove operators by place."""
        gone = set(places)
        self.set_operators(op for place, op in enumerate(self._operators) if place not in gone)

    def remove_unread(self) -> int:
        """Remove operators whose results nothing reads, again and again; returns how many."""
        before = len(self._operators)
        while unread := [place for place, op in enumerate(self._operators) if op.outputs and not self._is_read(op)]:
            self.remove(unread)
        return before - len(self._operators)

    def _is_read(self, operator: Operator) -> bool:
        return any(self.readers(tensor) or tensor in self._outputs for tensor in operator.outputs)

    def set_inputs(self, places: Sequence[int]) -> None:
        """Replace the graph's inputs."""
        self._inputs = tuple(places)

    def set_outputs(self, places: Sequence[int]) -> None:
        """Replace the graph's outputs."""
        self._outputs = tuple(places)

    def redirect(self, old: int, new: int) -> None:
        """Let every operator, the graph's outputs and its signatures read ``new`` instead of ``old``."""
        operators = list(self._operators)
        for place in self.readers(old):
            inputs = tuple(new if tensor == old else tensor for tensor in operators[place].inputs)
            operators[place] = replace(operators[place], inputs=inputs)
        self.set_operators(operators)
        self._outputs = tuple(new if tensor == old else tensor for tensor in self._outputs)
        self._rename_in_signatures({old: new}, inputs=False)

    def keep_tensors(self, order: Sequence[int]) -> None:
        """Keep the tensors named in ``order``, in that order; every mention of them follows."""
        place = {old: new for new, old in enumerate(order)} | {-1: -1}
        self._tensors = tuple(self._tensors[old] for old in order)
        self._inputs = tuple(place[tensor] for tensor in self._inputs)
        self._outputs = tuple(place[tensor] for tensor in self._outputs)
        self.set_operators(
            replace(op, inputs=tuple(place[t] for t in op.inputs), outputs=tuple(place[t] for t in op.outputs))
            for op in self._operators
        )
        self._rename_in_signatures(place)

    def _rename_in_signatures(self, place: Mapping[int, int], inputs: bool = True) -> None:
        """Signatures of other graphs keep their places: those name other tensors."""
        self.signatures = tuple(
            replace(
                one,
                inputs={k: place.get(t, t) if inputs else t for k, t in one.inputs.items()},
                outputs={k: place.get(t, t) for k, t in one.outputs.items()},
            )
            if one.graph == 0
            else one
            for one in self.signatures
        )
