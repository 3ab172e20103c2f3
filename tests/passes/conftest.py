from __future__ import annotations

from pathlib import Path

import pytest

from sapool.export import PASSES, export_int8
from tests.conftest import images, pooled_net


@pytest.fixture(scope="session")
def untidy(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A self-attentive pool with two heads and 256 tokens, as the converter writes it: 65,536 scores a head."""
    path: Path = tmp_path_factory.mktemp("passes") / "untidy.tflite"
    export_int8(pooled_net(patch_size=1), [images()], path, passes=[*PASSES, "adjy_matmul"])
    return path.read_bytes()


@pytest.fixture(scope="session")
def many_heads(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The same with eight heads of one channel and 64 tokens."""
    path: Path = tmp_path_factory.mktemp("passes") / "many_heads.tflite"
    export_int8(pooled_net(patch_size=2, num_heads=8), [images()], path, passes=[*PASSES, "adjy_matmul"])
    return path.read_bytes()
