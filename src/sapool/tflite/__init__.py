"""TensorFlow Lite files: reading, one typed graph, edits, a verifier, writing."""

from sapool.tflite.graph import Constant, Graph, Operator, Quantization, Signature, Tensor
from sapool.tflite.options import Options, WindowOptions, window_options
from sapool.tflite.read import read_graph
from sapool.tflite.write import write_graph

__all__ = [
    "Constant",
    "Graph",
    "Operator",
    "Options",
    "Quantization",
    "Signature",
    "Tensor",
    "WindowOptions",
    "read_graph",
    "window_options",
    "write_graph",
]
