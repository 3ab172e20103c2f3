"""A ``.tflite``'s main graph as the health checks read it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import nn

from sapool.tflite.file import is_constant, operator_names, parse, schema

_CONVERSIONS = ("QUANTIZE", "DEQUANTIZE")


@dataclass(frozen=True)
class ViewTensor:
    """One tensor; ``scale`` 0 means not quantised per tensor, ``values`` are a constant's."""

    name: str
    shape: tuple[int, ...]
    dtype: str
    scale: float
    zero_point: int
    values: NDArray[Any] | None


@dataclass(frozen=True)
class ViewOperator:
    """One operator; ``activation`` is its fused one (``RELU6``), or ``NONE``."""

    index: int
    kind: str
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    activation: str


@dataclass(frozen=True)
class FileView:
    """Operators in execution order, tensors by index, and the PyTorch module behind each operator where it is known."""

    tensors: tuple[ViewTensor, ...]
    operators: tuple[ViewOperator, ...]
    inputs: tuple[int, ...]
    modules: dict[int, str]

    @property
    def layers(self) -> list[ViewOperator]:
        """The operators without the conversions between int8 and float32."""
        return [op for op in self.operators if op.kind not in _CONVERSIONS]

    def computed(self, count: int) -> list[int]:
        """Return the tensors that the first ``count`` operators read or make, constants left out."""
        touched = {i for op in self.operators[:count] for i in (*op.inputs, *op.outputs)} | set(self.inputs)
        return sorted(i for i in touched if i >= 0 and self.tensors[i].values is None)

    def of_kind(self, *kinds: str) -> Iterator[ViewOperator]:
        """Yield the operators of these kinds."""
        return (op for op in self.operators if op.kind in kinds)


def view_file(data: bytes) -> FileView:
    """Read a ``.tflite``."""
    model = parse(data)
    graph = model.subgraphs[0]
    types = {value: name.lower() for name, value in vars(schema().TensorType).items() if isinstance(value, int)}
    tensors = tuple(_tensor(model, index, types) for index in range(len(graph.tensors)))
    kinds = operator_names(model)
    operators = tuple(_operator(index, kind, graph.operators[index]) for index, kind in enumerate(kinds))
    modules = {op.index: module_path(tensors[op.outputs[0]].name) for op in operators if op.outputs}
    return FileView(tensors, operators, tuple(int(i) for i in graph.inputs), modules)


def module_path(name: str) -> str:
    """Return the qualified module name behind a tensor that the converter named, or an empty text.

    ``x.Wrapper/tests.Net_wrapped/torch.Sequential_stem/torch.Conv2d_0;2`` -> ``stem.0``.
    """
    chain = name.split(";")[0].split("/")
    inside = next((place for place, part in enumerate(chain) if part.endswith("_wrapped")), len(chain))
    parts = [part.rpartition(".")[2].lstrip("_").partition("_")[2] for part in chain[inside + 1 :]]
    return ".".join(parts) if all(parts) else ""


def with_modules(view: FileView, model: nn.Module | None, layers: dict[int, str]) -> FileView:
    """Return ``view`` with better module names: from the float file's, or the module that a short name is.

    Args:
        view: of the int8 file, whose tensor names are shortened (``stem.0;2``).
        model: the network it came from, if it is at hand.
        layers: {operator: module} from the float file.
    """
    known = set() if model is None else {name for name, _ in model.named_modules()}
    modules = {}
    for op in view.operators:
        named = (view.tensors[op.outputs[0]].name if op.outputs else "").split(";")[0]
        modules[op.index] = layers.get(op.index) or view.modules.get(op.index) or (named if named in known else "")
    return FileView(view.tensors, view.operators, view.inputs, modules)


def _tensor(model: Any, index: int, types: dict[int, str]) -> ViewTensor:
    tensor = model.subgraphs[0].tensors[index]
    dtype = types.get(tensor.type, "")
    quantization = tensor.quantization
    scales = [] if quantization is None or quantization.scale is None else list(quantization.scale)
    scale, zero_point = (float(scales[0]), int(quantization.zeroPoint[0])) if len(scales) == 1 else (0.0, 0)
    values = None
    if is_constant(model, index):
        raw = np.asarray(model.buffers[tensor.buffer].data, np.uint8)
        values = raw.view(np.int8) if dtype == "int8" else raw
    shape = () if tensor.shape is None else tuple(int(n) for n in tensor.shape)
    return ViewTensor((tensor.name or b"").decode(), shape, dtype, scale, zero_point, values)


def _operator(index: int, kind: str, op: Any) -> ViewOperator:
    names = {value: name for name, value in vars(schema().ActivationFunctionType).items() if isinstance(value, int)}
    activation = names.get(getattr(op.builtinOptions, "fusedActivationFunction", 0), "NONE")
    ends = (() if ends is None else tuple(int(i) for i in ends) for ends in (op.inputs, op.outputs))
    inputs, outputs = ends
    return ViewOperator(index, kind, inputs, outputs, activation)
