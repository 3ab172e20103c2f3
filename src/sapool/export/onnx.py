"""From a PyTorch network to an ``.onnx`` that onnxruntime computes as PyTorch does (extra: ``onnx``)."""

from __future__ import annotations

import copy
import tempfile
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from sapool.base.extras import require
from sapool.base.files import write_bytes_atomically
from sapool.export._quiet import captured_output
from sapool.export.finite import why_not_finite
from sapool.export.litert import ExportError
from sapool.export.refusal import explain_refusal, first_line
from sapool.networks.traced import InputSize, as_input_size, evaluating

ERROR_LIMIT = 1e-4  # relative, float32: the sums are the same, their order is not
_CHECKED_BATCH = 5  # another size than the one exported with, so that the batch's axis is proven to be dynamic
_PURPOSE = "exporting to .onnx"


@dataclass(frozen=True)
class OnnxRecord:
    """How a network became an ``.onnx``.

    Attributes:
        path: the file.
        flash_bytes: its size.
        opset: version of ONNX's operator set.
        operators: its operators, each once, sorted.
        float_error: largest difference between onnxruntime's outputs and PyTorch's, over PyTorch's largest output.
        images: how many random images that was measured on.
        runtime: the runtime and its version.
    """

    path: str
    flash_bytes: int
    opset: int
    operators: tuple[str, ...]
    float_error: float
    images: int
    runtime: str


def export_onnx(model: nn.Module, input_size: InputSize, path: str | Path) -> OnnxRecord:
    """Write ``model`` as float32 ``.onnx`` (N, C, H, W) -> its output, any N, and prove it in onnxruntime.

    Args:
        model: network with one tensor as output; it is not changed.
        input_size: an int (square, 3 channels) or (C, H, W); fixed in the file.
        path: where to write; replaced as a whole if it exists.

    Returns:
        What was written, with the error measured on random images.

    Raises:
        ExportError: the exporter refuses the network, or onnxruntime computes something else.
        ValueError: an input size that is none.
        ImportError: the ``onnx`` extra is not installed.
    """
    if not isinstance(model, nn.Module):
        raise ValueError(f"model must be a torch.nn.Module, got {type(model).__name__}")
    size = as_input_size(input_size)
    if refusal := why_not_finite(model):
        raise ExportError(refusal)
    images = torch.rand(_CHECKED_BATCH, *size, generator=torch.Generator().manual_seed(0))
    network = copy.deepcopy(model).to("cpu", torch.float32).eval()
    with evaluating(network):
        expected = run_model(network, images)
        data = _convert(network, images[:2])
    got, runtime = _run_onnx(data, images)
    error = relative_error(expected, got)
    if not error <= ERROR_LIMIT:  # NaN is an error too
        raise ExportError(
            f"{runtime} does not compute what PyTorch computes of {type(model).__name__}: "
            f"relative error {error:.1e}, at most {ERROR_LIMIT:.0e} is rounding"
        )
    write_bytes_atomically(Path(path), data)
    graph = require("onnx", "onnx", _PURPOSE).load_model_from_string(data)
    return OnnxRecord(
        path=str(path),
        flash_bytes=len(data),
        opset=next(int(entry.version) for entry in graph.opset_import if entry.domain in ("", "ai.onnx")),
        operators=tuple(sorted({node.op_type for node in graph.graph.node})),
        float_error=error,
        images=len(images),
        runtime=runtime,
    )


def run_model(model: nn.Module, images: Tensor) -> Tensor:
    """Return what ``model`` makes of images (N, C, H, W).

    Raises:
        ExportError: it fails on them, or makes something else than one tensor.
    """
    try:
        made = model(images)
    except (RuntimeError, TypeError, ValueError) as error:
        size = tuple(images.shape[1:])
        raise ExportError(
            f"{type(model).__name__} can't take images of {size} (C, H, W): {first_line(error)}"
        ) from error
    if not isinstance(made, Tensor):
        raise ExportError(f"{type(model).__name__} must make one tensor, it makes a {type(made).__name__}")
    return made


def relative_error(expected: Tensor, got: Tensor) -> float:
    """Return the largest difference over the largest expected value; NaN if either holds one."""
    scale = float(expected.abs().max())
    return float((got - expected).abs().max()) / (scale or 1.0)


def _convert(model: nn.Module, images: Tensor) -> bytes:
    """Return the ``.onnx`` of a network in eval mode, its weights inside."""
    require("onnx", "onnx", _PURPOSE)
    require("onnxscript", "onnx", _PURPOSE)
    # Two images as an example: of a batch of one, torch.export makes a constant.
    dynamic = ({0: torch.export.Dim.DYNAMIC},)
    with tempfile.TemporaryDirectory() as folder, captured_output(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        path = Path(folder) / "model.onnx"
        try:
            torch.onnx.export(
                model,
                (images,),
                path,
                input_names=["images"],
                output_names=["scores"],
                dynamo=True,
                dynamic_shapes=dynamic,
                external_data=False,
                verbose=False,
            )
        except Exception as error:  # the exporter wraps torch's and its own exceptions
            cause: BaseException = error
            while cause.__cause__ is not None:
                cause = cause.__cause__
            reason = explain_refusal(model, images, cause, "ONNX") or first_line(cause)
            raise ExportError(f"the ONNX exporter refuses {type(model).__name__}: {reason}") from error
        return path.read_bytes()


def _run_onnx(data: bytes, images: Tensor) -> tuple[Tensor, str]:
    """Check the file and return what onnxruntime makes of the images, and the runtime's name."""
    onnx = require("onnx", "onnx", _PURPOSE)
    onnxruntime = require("onnxruntime", "onnx", _PURPOSE)
    runtime = f"onnxruntime {onnxruntime.__version__}"
    try:
        onnx.checker.check_model(onnx.load_model_from_string(data), full_check=True)
        session: Any = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
        (made,) = session.run(None, {session.get_inputs()[0].name: images.numpy()})
    except Exception as error:  # checker and runtime raise many kinds; each means the same to the caller
        raise ExportError(f"{runtime} can't run the exported network: {first_line(error)}") from error
    return torch.from_numpy(np.asarray(made)), runtime
