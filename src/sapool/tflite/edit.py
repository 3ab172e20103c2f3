"""Small helpers that the passes on a ``.tflite`` share: who makes and who reads a tensor, and how to change it.

A model with variables or a memory plan of its own is left alone: see :func:`is_plain`.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sapool.tflite.file import is_constant, operator_names, schema

OFFLINE_PLAN = b"OfflineMemoryAllocation"


def is_plain(model: Any) -> bool:
    """Whether a ``ModelT`` has no state and no plan: its main graph's tensors and operators may be moved.

    Other graphs, which its control flow runs, are fine: they know the main graph's tensors by their order alone.
    """
    planned = any(entry.name == OFFLINE_PLAN for entry in model.metadata or [])
    if planned or any(tensor.isVariable for graph in model.subgraphs for tensor in graph.tensors):
        return False
    kinds = {kind for graph in range(len(model.subgraphs)) for kind in operator_names(model, graph)}
    return not any("VAR" in kind.split("_") or kind.endswith("VARIABLE") for kind in kinds)


class FileGraph:
    """The main graph of a ``ModelT`` with what a rewrite asks of it; call :meth:`refresh` after changing operators."""

    def __init__(self, model: Any) -> None:
        self.model, self.graph = model, model.subgraphs[0]
        self.refresh()

    def refresh(self) -> None:
        """Look again at who makes and reads what."""
        self.kinds = operator_names(self.model)
        self.makers: dict[int, int] = {}
        self.readers: dict[int, list[int]] = defaultdict(list)
        for place, op in enumerate(self.graph.operators):
            for tensor in op.outputs:
                self.makers[int(tensor)] = place
            for tensor in dict.fromkeys(int(t) for t in op.inputs):
                self.readers[tensor].append(place)
        self.results = {int(t) for t in self.graph.outputs}

    def shape(self, tensor: int) -> tuple[int, ...]:
        """Return a tensor's shape."""
        sides = self.graph.tensors[tensor].shape
        return () if sides is None else tuple(int(n) for n in sides)

    def made_by(self, tensor: int, kind: str) -> Any | None:
        """Return the operator that makes a tensor if it is of a kind, else None."""
        place = self.makers.get(tensor)
        return self.graph.operators[place] if place is not None and self.kinds[place] == kind else None

    def same_values(self, one: int, other: int) -> bool:
        """Whether the bytes of two tensors stand for the same numbers: one type, one quantisation."""
        a, b = self.graph.tensors[one], self.graph.tensors[other]
        return bool(a.type == b.type) and quantization_of(a) == quantization_of(b)

    def of_kind(self, kind: str) -> list[Any]:
        """Return the operators of a kind, in order."""
        return [op for name, op in zip(self.kinds, self.graph.operators, strict=True) if name == kind]

    def only_reader(self, tensor: int) -> int | None:
        """Return the place of the one operator that reads a tensor; None if there are several, or it is a result."""
        places = self.readers.get(tensor, [])
        return places[0] if len(places) == 1 and tensor not in self.results else None

    def integers(self, tensor: int) -> tuple[int, ...] | None:
        """Return the values of a constant int32 tensor, or None where it is no such thing."""
        if tensor < 0 or not is_constant(self.model, tensor):
            return None
        if self.graph.tensors[tensor].type != schema().TensorType.INT32:
            return None
        return tuple(int(n) for n in self._bytes(tensor).view(np.int32))

    def _bytes(self, tensor: int) -> NDArray[np.uint8]:
        data = self.model.buffers[self.graph.tensors[tensor].buffer].data
        return np.ascontiguousarray(np.asarray(data, np.uint8))

    def replaceable(self, last: Any, first: Any) -> bool:
        """Whether what ``last`` makes may become what ``first`` reads: an input of the graph can't be its result."""
        return int(last.outputs[0]) not in self.results or int(first.inputs[0]) in self.makers

    def replace(self, old: int, new: int) -> None:
        """Let every operator, and the graph's results, read ``new`` instead of ``old``."""
        for place in self.readers.get(old, []):
            op = self.graph.operators[place]
            op.inputs = [new if int(t) == old else int(t) for t in op.inputs]
        self.graph.outputs = [new if int(t) == old else int(t) for t in self.graph.outputs]
        for signature in self.model.signatureDefs or []:
            for entry in signature.outputs or []:
                entry.tensorIndex = new if entry.tensorIndex == old else entry.tensorIndex

    def remove(self, places: Iterable[int]) -> None:
        """Remove operators by place, then :meth:`refresh`."""
        gone = set(places)
        self.graph.operators = [op for place, op in enumerate(self.graph.operators) if place not in gone]
        self.refresh()

    def remove_unread(self) -> int:
        """Remove operators whose results nothing reads, again and again; returns how many."""
        removed = 0
        while unread := [
            place
            for place, op in enumerate(self.graph.operators)
            if not any(self.readers.get(int(t)) or int(t) in self.results for t in op.outputs)
        ]:
            self.remove(unread)
            removed += len(unread)
        return removed

    def new_tensor(self, like: int, shape: Sequence[int], note: str) -> int:
        """Add a computed tensor with the type and quantisation of another; returns its place."""
        fb = schema()
        source = self.graph.tensors[like]
        tensor = fb.TensorT()
        tensor.shape, tensor.type, tensor.quantization = list(shape), source.type, source.quantization
        tensor.name = (source.name or b"") + f".{note}".encode()
        tensor.hasRank = True
        return self._added(tensor)

    def new_integers(self, values: Sequence[int], name: str, scalar: bool = False) -> int:
        """Add a constant int32 tensor, (len(values),) or a scalar; returns its place."""
        fb = schema()
        buffer = fb.BufferT()
        buffer.data = np.asarray(values, np.int32).view(np.uint8)
        self.model.buffers.append(buffer)
        tensor = fb.TensorT()
        tensor.shape, tensor.type, tensor.name = [] if scalar else [len(values)], fb.TensorType.INT32, name.encode()
        tensor.buffer, tensor.hasRank = len(self.model.buffers) - 1, True
        return self._added(tensor)

    def _added(self, tensor: Any) -> int:
        self.graph.tensors.append(tensor)
        return len(self.graph.tensors) - 1

    def operator(self, kind: str, inputs: Sequence[int], outputs: Sequence[int], options: str = "") -> Any:
        """Return a new operator, not yet in the graph; ``options`` names its table in the schema."""
        fb = schema()
        op = fb.OperatorT()
        op.opcodeIndex = self.code(getattr(fb.BuiltinOperator, kind))
        op.inputs, op.outputs = list(inputs), list(outputs)
        if options:
            op.builtinOptionsType = getattr(fb.BuiltinOptions, options)
            op.builtinOptions = getattr(fb, options + "T")()
        return op

    def make_reshape(self, op: Any) -> None:
        """Turn an operator into the RESHAPE of its first input to its output's shape, given as an option."""
        new = self.operator("RESHAPE", [int(op.inputs[0])], [int(op.outputs[0])], "ReshapeOptions")
        new.builtinOptions.newShape = list(self.shape(int(op.outputs[0])))
        op.opcodeIndex, op.inputs = new.opcodeIndex, new.inputs
        op.builtinOptionsType, op.builtinOptions = new.builtinOptionsType, new.builtinOptions

    def code(self, builtin: int, version: int = 1) -> int:
        """Return the place of an operator's code, which is added where the model has none."""
        for place, entry in enumerate(self.model.operatorCodes):
            if max(entry.builtinCode, entry.deprecatedBuiltinCode) == builtin:
                return place
        entry = schema().OperatorCodeT()
        entry.builtinCode, entry.deprecatedBuiltinCode, entry.version = builtin, min(builtin, 127), version
        self.model.operatorCodes.append(entry)
        return len(self.model.operatorCodes) - 1


def quantization_of(tensor: Any) -> tuple[object, ...]:
    """Return a ``TensorT``'s scales, zero points and their axis; () where it has none."""
    q = tensor.quantization
    if q is None or q.scale is None or not len(q.scale):
        return ()
    zeros = () if q.zeroPoint is None else tuple(int(z) for z in q.zeroPoint)
    return tuple(float(s) for s in q.scale), zeros, int(q.quantizedDimension)


def elements(shape: Sequence[int]) -> int:
    """Return how many values a shape holds."""
    return math.prod(int(n) for n in shape)


def repeat(step: Callable[[], int]) -> int:
    """Run a step that returns how many places it changed until it changes none; returns their sum."""
    total = 0
    while changed := step():
        total += changed
    return total
