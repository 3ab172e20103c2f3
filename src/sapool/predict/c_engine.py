"""What a network needs as C files, predicted from a ``.tflite`` or from PyTorch without exporting."""

from __future__ import annotations

from pathlib import Path

from torch import nn

from sapool.firmware.program import CProfile, profile_program
from sapool.networks.traced import InputSize
from sapool.passes import FLAT_PASSES, PASSES, flattened
from sapool.predict.profile import predict_graphs
from sapool.tflite.graph import Graph, Quantization
from sapool.tflite.read import read_graph

# A range from 0 to 6, which trained activations mostly have, and small weights: kernels take their short forms then.
_ANY, _SOFTMAX = Quantization((6 / 255,), (-128,)), Quantization((1 / 256,), (-128,))
_WEIGHTS = Quantization((0.02,), (0,))


def profile_c(
    model: nn.Module | Graph | str | Path,
    input_size: InputSize | None = None,
    *,
    core: str = "cortex-m4",
    stream_input: bool = True,
) -> CProfile:
    """Return what a network needs as C files: RAM, stack, flash, instructions; nothing is compiled or written.

    Args:
        model: a network, predicted as :func:`sapool.build_c` would write it; or an int8 ``.tflite``, as its
            path or its graph.
        input_size: of a network: an int (square, 3 channels) or (C, H, W).
        core: what the program is for.
        stream_input: take the image a row at a time; otherwise it is kept whole.

    Raises:
        UnsupportedError: an operator that the C engine does not have.
        ValueError: a network without a size, or one that torch.fx can't trace.
        TfliteError: no ``.tflite``.
    """
    if not isinstance(model, nn.Module):
        if input_size is not None:
            raise ValueError("input_size goes with a network; a file has its own")
        graph = model if isinstance(model, Graph) else read_graph(model)
        return profile_program(flattened(graph), core, stream_input)
    if input_size is None:
        raise ValueError("profile_c of a network needs input_size: an int or (channels, height, width)")
    graph = predict_graphs(model, input_size, passes=(*PASSES, *FLAT_PASSES)).exported
    return profile_program(_quantised(graph), core, stream_input)


def _quantised(graph: Graph) -> Graph:
    """Return a predicted graph with scales, whatever they will be: sizes don't depend on them."""
    filled = graph.copy()
    for place, tensor in enumerate(graph.tensors):
        if tensor.dtype == "int8":
            maker = graph.maker(place)
            made = _SOFTMAX if maker is not None and maker.kind == "SOFTMAX" else _ANY
            filled.change_tensor(place, quantization=made if tensor.constant is None else _WEIGHTS)
    return filled
