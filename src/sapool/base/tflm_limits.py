"""What TensorFlow Lite Micro's int8 kernels can take, and so what networks and files are made for."""

from __future__ import annotations

# Inputs of one CONCATENATION.
MOST_JOINED = 10
# Keys of one soft-max row: its int8 output has steps of 1/256, so of more equal keys each may round to zero.
MOST_KEYS = 256
