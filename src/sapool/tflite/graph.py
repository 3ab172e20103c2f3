"""A ``.tflite``'s subgraphs in memory: typed, and kept consistent by every edit."""

from __future__ import annotations

import struct
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sapool.tflite.errors import TfliteError
from sapool.tflite.options import Options
from sapool.tflite.tensor import Constant as Constant
from sapool.tflite.tensor import Quantization as Quantization
from sapool.tflite.tensor import Tensor as Tensor

OFFLINE = "OfflineMemoryAllocation"
_OFFLINE_VERSION, _OFFLINE_GRAPH = 1, 0
# The options that name the graphs a control-flow operator runs, in the order in which the runtime visits them.
CALLED: Mapping[str, tuple[str, ...]] = {
    "IF": ("thenSubgraphIndex", "elseSubgraphIndex"),
    "CALL_ONCE": ("initSubgraphIndex",),
    "WHILE": ("condSubgraphIndex", "bodySubgraphIndex"),
}


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
        intermediates: tensors of the graph that only tell an LSTM how its inner values are quantised.
    """

    kind: str
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    options: Options = field(default_factory=Options)
    custom: bool = False
    custom_options: bytes = b""
    version: int = 1
    module: str = ""
    intermediates: tuple[int, ...] = ()

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
        trailer: the archive behind the flatbuffer, of labels and descriptions.
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

    def kinds(self) -> Counter[str]:
        """Count the operators of each kind, those inside loops included."""
        return Counter(operator.kind for graph in self.graphs for operator in graph.operators)

    def same_values(self, one: int, other: int) -> bool:
        """Whether the bytes of two tensors stand for the same numbers: one type, one quantisation."""
        a, b = self._tensors[one], self._tensors[other]
        return a.dtype == b.dtype and a.quantization == b.quantization

    @property
    def offline(self) -> tuple[int, ...]:
        """An offset in bytes for each tensor of every graph in order, -1 where the runtime plans; () without a plan."""
        raw = self.metadata.get(OFFLINE)
        if raw is None:
            return ()
        count = struct.unpack_from("<i", raw, 8)[0] if len(raw) >= 12 else -1
        tensors = sum(len(graph.tensors) for graph in self.graphs)
        if count != tensors or len(raw) < 12 + 4 * count:
            raise TfliteError(f"{OFFLINE} must hold an offset for each of {tensors} tensors, got {max(count, 0)}")
        return struct.unpack_from(f"<{count}i", raw, 12)

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
        constant = Constant(np.ascontiguousarray(values).reshape(-1).view(np.uint8))
        return self.add_tensor(Tensor(name, values.shape, values.dtype.name, quantization, constant))

    def add_integers(self, values: Sequence[int], name: str, scalar: bool = False) -> int:
        """Append an int32 constant, (len(values),) or a scalar; returns its place."""
        numbers = np.array(values, np.int32)
        return self.add_constant(numbers.reshape(()) if scalar else numbers, name)

    def add_like(self, tensor: int, shape: Sequence[int], name: str) -> int:
        """Append a computed tensor with the type and quantisation of another; returns its place."""
        like = self._tensors[tensor]
        return self.add_tensor(Tensor(name, tuple(shape), like.dtype, like.quantization))

    def set_offline(self, offsets: Sequence[int] | None) -> None:
        """Replace the memory plan, see :attr:`offline`; None takes it out."""
        self.metadata.pop(OFFLINE, None)
        if offsets is not None:
            table = [_OFFLINE_VERSION, _OFFLINE_GRAPH, len(offsets), *offsets]
            self.metadata[OFFLINE] = struct.pack(f"<{len(table)}i", *table)

    def take_over(self, other: Graph) -> None:
        """Become what another graph is; it must not be used any more."""
        vars(self).update(vars(other))

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
        self.put(place, replace(self._operators[place], **fields))

    def put(self, place: int, operator: Operator) -> None:
        """Put another operator in place of the one that is there."""
        self.set_operators((*self._operators[:place], operator, *self._operators[place + 1 :]))

    def insert(self, place: int, *operators: Operator) -> None:
        """Put operators before the one at ``place``."""
        self.set_operators((*self._operators[:place], *operators, *self._operators[place:]))

    def remove(self, places: Iterable[int]) -> None:
        """Remove operators by place."""
        gone = set(places)
        self.set_operators(op for place, op in enumerate(self._operators) if place not in gone)

    def remove_unread(self) -> int:
        """Remove operators whose results nothing reads, again and again, but never all; returns how many."""
        before = len(self._operators)
        while unread := [place for place, op in enumerate(self._operators) if self._is_unread(op)]:
            if len(unread) == len(self._operators):
                break
            self.remove(unread)
        return before - len(self._operators)

    def _is_unread(self, operator: Operator) -> bool:
        """Whether an operator is there for results alone (other graphs may change variables) that nothing reads."""
        read = any(self.readers(tensor) or tensor in self._outputs for tensor in operator.outputs)
        return bool(operator.outputs) and not operator.called and not read

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
        """Keep the tensors named in ``order``, in that order; every mention of them in this graph follows."""
        place = {old: new for new, old in enumerate(order)} | {-1: -1}
        self._tensors = tuple(self._tensors[old] for old in order)
        self._inputs = tuple(place[tensor] for tensor in self._inputs)
        self._outputs = tuple(place[tensor] for tensor in self._outputs)
        self.set_operators(
            replace(
                op,
                inputs=tuple(place[t] for t in op.inputs),
                outputs=tuple(place[t] for t in op.outputs),
                intermediates=tuple(place[t] for t in op.intermediates),
            )
            for op in self._operators
        )
        self._rename_in_signatures(place)

    def used(self) -> set[int]:
        """Return the tensors that operators and the graph's ends name."""
        ops = self._operators
        used = {t for op in ops for places in (op.inputs, op.outputs, op.intermediates) for t in places}
        return (used | {*self._inputs, *self._outputs}) - {-1}

    def drop_unused(self) -> list[dict[int, int]]:
        """Leave out the tensors of every graph that no operator, end or signature names.

        The runtime keeps a record of every tensor, and gives even one that no operator touches room in the head.

        Returns:
            For each graph the new place of every tensor that stays, by its old one.
        """
        moved = []
        for index, graph in enumerate(self.graphs):
            named = {t for s in self.signatures if s.graph == index for t in (*s.inputs.values(), *s.outputs.values())}
            kept = sorted(graph.used() | named)
            moved.append({old: new for new, old in enumerate(kept)})
            if len(kept) < len(graph.tensors):
                graph.keep_tensors(kept)
                if index:
                    self._rename_in_signatures(moved[-1], graph=index)
        return moved

    def _rename_in_signatures(self, place: Mapping[int, int], inputs: bool = True, graph: int = 0) -> None:
        self.signatures = tuple(
            replace(
                one,
                inputs={k: place.get(t, t) if inputs else t for k, t in one.inputs.items()},
                outputs={k: place.get(t, t) for k, t in one.outputs.items()},
            )
            if one.graph == graph
            else one
            for one in self.signatures
        )
