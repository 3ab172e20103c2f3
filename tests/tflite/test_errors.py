from __future__ import annotations

from sapool.base.errors import SapoolError
from sapool.tflite.errors import TfliteError


def test_a_bad_file_is_one_of_the_librarys_errors_and_a_bad_value() -> None:
    error = TfliteError("net.tflite: no flatbuffer")
    assert isinstance(error, SapoolError)
    assert isinstance(error, ValueError)
    assert str(error) == "net.tflite: no flatbuffer"
