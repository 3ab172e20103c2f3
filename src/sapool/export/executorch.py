"""From a PyTorch network to an ExecuTorch ``.pte``, computed by XNNPACK where it can be (extra: ``executorch``)."""

from __future__ import annotations

import copy
import importlib.metadata
import warnings
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from sapool.base.extras import require
from sapool.base.files import write_bytes_atomically
from sapool.export._quiet import captured_output
from sapool.export.finite import why_not_finite
from sapool.export.litert import ExportError
from sapool.export.onnx import ERROR_LIMIT, relative_error, run_model
from sapool.export.refusal import explain_refusal, first_line
from sapool.networks.traced import InputSize, as_input_size, evaluating

_CHECKED_IMAGES = 4
_PURPOSE = "exporting to .pte"


@dataclass(frozen=True)
class ExecutorchRecord:
    """How a network became a ``.pte``.

    Attributes:
        path: the file.
        flash_bytes: its size.
        delegates: parts of the network that XNNPACK computes.
        portable: {operator: how often} of what ExecuTorch's own, slower kernels compute: what XNNPACK does not take.
        float_error: largest difference between ExecuTorch's outputs and PyTorch's, over PyTorch's largest output; None
            where the installed ExecuTorch brings no runtime.
        images: how many random images that was measured on.
        runtime: ExecuTorch and its version.
    """

    path: str
    flash_bytes: int
    delegates: int
    portable: dict[str, int]
    float_error: float | None
    images: int
    runtime: str


def export_executorch(model: nn.Module, input_size: InputSize, path: str | Path) -> ExecutorchRecord:
    """Write ``model`` as float32 ``.pte``, one image (1, C, H, W) at a time, and hold it against PyTorch.

    Args:
        model: network with one tensor as output; it is not changed.
        input_size: an int (square, 3 channels) or (C, H, W); fixed in the file.
        path: where to write; replaced as a whole if it exists.

    Returns:
        What was written, with what XNNPACK did not take and the error measured on random images.

    Raises:
        ExportError: the network can't be lowered (the module and operator are named), or ExecuTorch computes something
            else.
        ValueError: an input size that is none.
        ImportError: the ``executorch`` extra is not installed.
    """
    if not isinstance(model, nn.Module):
        raise ValueError(f"model must be a torch.nn.Module, got {type(model).__name__}")
    require("executorch", "executorch", _PURPOSE)
    size = as_input_size(input_size)
    if refusal := why_not_finite(model):
        raise ExportError(refusal)
    images = torch.rand(_CHECKED_IMAGES, *size, generator=torch.Generator().manual_seed(0))
    network = copy.deepcopy(model).to("cpu", torch.float32).eval()
    with evaluating(network):
        expected = torch.cat([run_model(network, image[None]) for image in images])
        data, targets = _lower(network, images[:1])
    runtime = f"executorch {importlib.metadata.version('executorch')}"
    got = _run_program(data, images)
    error = None if got is None else relative_error(expected, got)
    if error is not None and not error <= ERROR_LIMIT:
        raise ExportError(
            f"{runtime} does not compute what PyTorch computes of {type(model).__name__}: "
            f"relative error {error:.1e}, at most {ERROR_LIMIT:.0e} is rounding"
        )
    write_bytes_atomically(Path(path), data)
    delegates = sum("executorch_call_delegate" in target for target in targets)
    portable = Counter(target for target in targets if "::" in target or target.startswith("aten"))
    return ExecutorchRecord(
        str(path), len(data), delegates, dict(sorted(portable.items())), error, len(images), runtime
    )


def _lower(model: nn.Module, image: Tensor) -> tuple[bytes, list[str]]:
    """Return the program and the names of what its top graph calls."""
    with captured_output(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        exir = require("executorch.exir", "executorch", _PURPOSE)
        xnnpack = require("executorch.backends.xnnpack.partition.xnnpack_partitioner", "executorch", _PURPOSE)
        try:
            exported = torch.export.export(model, (image,))
            edge = exir.to_edge_transform_and_lower(exported, partitioner=[xnnpack.XnnpackPartitioner()])
            nodes = edge.exported_program().graph.nodes
            targets = [_name(node.target) for node in nodes if node.op == "call_function"]
            return bytes(edge.to_executorch().buffer), targets
        except Exception as error:  # torch.export, the partitioner and the emitter each raise their own
            reason = explain_refusal(model, image, error, "ExecuTorch") or first_line(error)
            raise ExportError(f"ExecuTorch can't lower {type(model).__name__}: {reason}") from error


def _name(target: Any) -> str:
    """Return ``aten.gather.default`` of an edge operator, and any other target's own name."""
    name = getattr(target, "__name__", None) or str(target)
    return str(name).replace("_ops.", "")


def _run_program(data: bytes, images: Tensor) -> Tensor | None:
    """Return what ExecuTorch's runtime makes of each image, or None where there is no runtime."""
    try:
        with captured_output(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            runtime = require("executorch.runtime", "executorch", _PURPOSE).Runtime.get()
    except ImportError:
        return None
    try:
        with captured_output():
            method = runtime.load_program(data).load_method("forward")
            # The runtime's output is its own memory, which the next run overwrites.
            return torch.cat([method.execute([image[None].contiguous()])[0].clone() for image in images])
    except Exception as error:  # the runtime raises RuntimeError with a code of its own
        raise ExportError(f"ExecuTorch can't run the exported network: {first_line(error)}") from error
