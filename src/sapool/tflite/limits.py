"""What TensorFlow Lite Micro's kernels can't exceed."""

MOST_JOINED = 10
"""Inputs of a CONCATENATION."""
