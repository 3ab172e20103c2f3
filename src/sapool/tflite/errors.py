"""What is wrong with a ``.tflite``."""

from sapool.base.errors import SapoolError


class TfliteError(SapoolError, ValueError):
    """A file is no usable ``.tflite``; the message says which file and why."""
