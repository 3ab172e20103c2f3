"""A ``.tflite``'s main graph as the health checks read it: with the module behind every operator."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from torch import nn

from sapool.tflite import Graph, Operator, Tensor

_CONVERSIONS = ("QUANTIZE", "DEQUANTIZE")


@dataclass(frozen=True)
class NamedGraph:
    """A main graph, and the PyTorch module behind the operator at each place where it is known."""

    graph: Graph
    modules: Mapping[int, str]

    @property
    def tensors(self) -> tuple[Tensor, ...]:
        """All tensors."""
        return self.graph.tensors

    @property
    def operators(self) -> tuple[Operator, ...]:
        """In execution order."""
        return self.graph.operators

    @property
    def layers(self) -> list[int]:
        """The places of the operators without the conversions between int8 and float32."""
        return [place for place, op in enumerate(self.operators) if op.kind not in _CONVERSIONS]

    def computed(self, count: int) -> list[int]:
        """Return the tensors that the first ``count`` operators read or make, constants left out."""
        touched = {i for op in self.operators[:count] for i in (*op.inputs, *op.outputs)} | {*self.graph.inputs}
        return sorted(i for i in touched if i >= 0 and not self.graph.is_constant(i))


def named_graph(graph: Graph) -> NamedGraph:
    """Return a graph with the modules that the converter's names of its tensors tell."""
    operators = enumerate(graph.operators)
    return NamedGraph(
        graph, {place: module_path(graph.tensors[op.outputs[0]].name) for place, op in operators if op.outputs}
    )


def module_path(name: str) -> str:
    """Return the qualified module name behind a tensor that the converter named, or an empty text.

    ``x.Wrapper/tests.Net_wrapped/torch.Sequential_stem/torch.Conv2d_0;2`` -> ``stem.0``.
    """
    chain = name.split(";")[0].split("/")
    inside = next((place for place, part in enumerate(chain) if part.endswith("_wrapped")), len(chain))
    parts = [part.rpartition(".")[2].lstrip("_").partition("_")[2] for part in chain[inside + 1 :]]
    return ".".join(parts) if all(parts) else ""


def with_modules(view: NamedGraph, model: nn.Module | None, layers: Mapping[int, str]) -> NamedGraph:
    """Return ``view`` with better module names: from the float file's, or the module that a short name is.

    Args:
        view: of the int8 file, whose tensor names are shortened (``stem.0;2``).
        model: the network it came from, if it is at hand.
        layers: {operator: module} from the float file.
    """
    known = set() if model is None else {name for name, _ in model.named_modules()}
    modules = {}
    for place, op in enumerate(view.operators):
        named = (view.tensors[op.outputs[0]].name if op.outputs else "").split(";")[0]
        modules[place] = layers.get(place) or view.modules.get(place) or (named if named in known else "")
    return replace(view, modules=modules)
