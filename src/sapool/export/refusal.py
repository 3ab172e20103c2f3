"""Which module of a network, and which operator, a converter stumbled over."""

from __future__ import annotations

import linecache
import re
import warnings
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

import torch
from torch import Tensor, fx, nn

_LONGEST_REASON = 160
_LONGEST_SOURCE = 80
# How the converters name an operator.
_OPERATORS = (
    r"target=torch\.ops\.([\w.]+)",
    r"Lowering not found: ([\w.]+)",
    r"Missing out variants: \{'([\w:]+)",
    r"OpOverload\(op='([\w.]+)', overload='(\w+)'\)",
)
# What the converter's own words mean for whoever wrote the network.
_MEANINGS = (
    ("data-dependent", "its code branches on a tensor's values"),
    ("Abstract tracer value", "it turns a tensor into a Python number"),
    ("Array boolean indices", "it indexes with a mask, so that a shape depends on values"),
)


@dataclass(frozen=True)
class Place:
    """Where in a network something fails: a module by its qualified name, its class and a line of code.

    Attributes:
        module: as ``named_modules`` has it; empty for the network itself.
        kind: its class.
        line: ``file.py:12 (source)``, or empty where it is not known.
    """

    module: str
    kind: str
    line: str

    def __str__(self) -> str:
        """Return ``module 'blocks.2' (Median), file.py:12 (source)``."""
        name = f"module {self.module!r} ({self.kind})" if self.module else f"its own forward ({self.kind})"
        return f"{name}, {self.line}" if self.line else name


def explain_refusal(
    model: nn.Module, image: Tensor, error: BaseException, target: str = "TensorFlow Lite"
) -> str | None:
    """Say in one line which module and operator a converter refuses.

    Args:
        model: the network as the converter got it, (N, C, H, W) -> anything, in eval mode.
        image: the example it was given, (1, C, H, W).
        error: what the converter raised.
        target: what it converts to.

    Returns:
        The line, or None where neither the error nor a fresh export names a place.
    """
    text = str(error)
    place = raising_module(model, error) or _lowered_module(model, image, text)
    if place is None:
        return None
    return f"{place}: {_meaning(text)}; rewrite that line with operators that {target} has"


def raising_module(model: nn.Module, error: BaseException) -> Place | None:
    """Return the innermost module of ``model`` whose code was running when ``error`` was raised, or None."""
    names = {id(module): name for name, module in model.named_modules()}
    found: Place | None = None
    step: TracebackType | None = error.__traceback__
    while step is not None:
        code = step.tb_frame.f_code
        running = step.tb_frame.f_locals.get(code.co_varnames[0]) if code.co_varnames else None
        # A function that is only handed a module is not the module's own code.
        if isinstance(running, nn.Module) and id(running) in names and _is_method(code.co_qualname, type(running)):
            line = "" if "/torch/" in code.co_filename else _line(code.co_filename, step.tb_lineno)
            found = Place(names[id(running)], type(running).__name__, line)
        step = step.tb_next
    return found


def _is_method(qualified: str, kind: type) -> bool:
    return any(qualified.startswith(f"{base.__qualname__}.") for base in kind.__mro__)


def first_line(error: BaseException | str) -> str:
    """Return the first line of an error that says something, cut short, without a full stop."""
    lines = (line.strip() for line in str(error).splitlines())
    fallback = error if isinstance(error, str) else type(error).__name__
    return next((line for line in lines if line), fallback)[:_LONGEST_REASON].rstrip(".")


def _lowered_module(model: nn.Module, image: Tensor, text: str) -> Place | None:
    """Find the module behind the operator of a message: an export of our own remembers where each one came from."""
    operator = _operator(text)
    if operator is None:
        return None
    # The network's own lines stand last in the traceback that the message quotes.
    lines = re.findall(r'File "([^"]+)", line (\d+), in forward', text)
    try:
        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")
            graph = torch.export.export(model, (image,)).run_decompositions().graph
    except Exception:  # whatever made the converter give up may do the same here
        return None
    nodes = [node for node in graph.nodes if str(node.target) == operator]
    from_line = [node for node in nodes if lines and _last_frame(node) == lines[-1]]
    return next((_place(model, node) for node in from_line or nodes), None)


def _operator(text: str) -> str | None:
    for pattern in _OPERATORS:
        if found := re.search(pattern, text):
            return ".".join(found.groups())
    return None


def _last_frame(node: fx.Node) -> tuple[str, str] | None:
    frames = re.findall(r'File "([^"]+)", line (\d+), in forward', node.stack_trace or "")
    return frames[-1] if frames else None


def _place(model: nn.Module, node: fx.Node) -> Place:
    stack = node.meta.get("nn_module_stack") or {}
    name = str(list(stack.values())[-1][0]) if stack else ""
    kinds = dict(model.named_modules())
    frame = _last_frame(node)
    line = _line(frame[0], int(frame[1])) if frame and "/torch/" not in frame[0] else ""
    return Place(name, type(kinds.get(name, model)).__name__, line)


def _line(file: str, number: int) -> str:
    source = linecache.getline(file, number).strip()
    shown = source if len(source) <= _LONGEST_SOURCE else source[: _LONGEST_SOURCE - 3] + "..."
    return f"{Path(file).name}:{number}" + (f" ({shown})" if shown else "")


def _meaning(text: str) -> str:
    first = first_line(text)
    operator = _operator(text)
    if first.startswith(("Lowering not found", "No ONNX function found")):
        return f"the converter has no form of {operator}"
    for words, meaning in _MEANINGS:
        if words in first:
            return meaning
    return f"the converter fails at {operator} with: {first}" if operator else first
