"""TensorFlow Lite files: reading, one typed graph, edits, a verifier, writing."""

from sapool.tflite.errors import TfliteError
from sapool.tflite.graph import CALLED, OFFLINE, Graph, Operator, Signature
from sapool.tflite.macs import count_macs, macs_of
from sapool.tflite.options import Options, WindowOptions, window_options
from sapool.tflite.read import read_graph
from sapool.tflite.tensor import BYTES_OF, Constant, Quantization, Tensor
from sapool.tflite.verify import verify
from sapool.tflite.write import write_graph

__all__ = [
    "BYTES_OF",
    "CALLED",
    "OFFLINE",
    "Constant",
    "Graph",
    "Operator",
    "Options",
    "Quantization",
    "Signature",
    "Tensor",
    "TfliteError",
    "WindowOptions",
    "count_macs",
    "macs_of",
    "read_graph",
    "verify",
    "window_options",
    "write_graph",
]
