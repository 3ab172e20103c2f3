"""What is wrong with a ``.tflite``."""


class TfliteError(ValueError):
    """A file is no usable ``.tflite``; the message says which file and why."""
