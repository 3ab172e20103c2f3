from __future__ import annotations

from pathlib import Path

import pytest

from sapool.export import PASSES, export_int8
from tests import shared
from tests.conftest import images, pooled_net


def converted(path: Path, **kwargs: int) -> None:
    export_int8(pooled_net(**kwargs), [images()], path, passes=[*PASSES, "adjy_matmul"])


@pytest.fixture(scope="session")
def untidy() -> bytes:
    """A self-attentive pool with two heads and 256 tokens, as the converter writes it: 65,536 scores a head."""
    return shared.made_once("untidy.tflite", lambda path: converted(path, patch_size=1)).read_bytes()


@pytest.fixture(scope="session")
def many_heads() -> bytes:
    """The same with eight heads of one channel and 64 tokens."""
    return shared.made_once("many_heads.tflite", lambda path: converted(path, patch_size=2, num_heads=8)).read_bytes()
