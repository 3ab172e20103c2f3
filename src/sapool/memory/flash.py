"""How large the ``.tflite`` of a graph is."""

from __future__ import annotations

from sapool.tflite import Graph

_ALIGNMENT = 16
# A channel of a constant has a scale (float32) and a zero point (int64).
_PER_CHANNEL = 12
# Tables, shape, name and buffer of a tensor, and its share of the operators: the mean over 19 exported files of 20 to
# 560 operators, which it gives the sizes of within 0.4 %.
_PER_TENSOR = 144


def flash_bytes_of(graph: Graph) -> int:
    """Estimate the size of the file that holds ``graph``, with short names and every constant inline."""
    constants = [tensor for tensor in graph.tensors if tensor.constant]
    data = sum(-(-tensor.bytes // _ALIGNMENT) * _ALIGNMENT for tensor in constants)
    channels = sum(tensor.channels for tensor in graph.tensors if tensor.channels > 1)
    return data + _PER_CHANNEL * channels + _PER_TENSOR * len(graph.tensors)
