"""A pruned network is exported, runs on the real interpreters, and its arena is the predicted one."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from sapool.export import export_int8, measure_arena
from sapool.predict.profile import profile_memory
from sapool.pruning import prune_channels
from tests.pruning.test_prune import SIZE, network


@pytest.mark.slow
@pytest.mark.parametrize("pool", ["self_attentive", "lip", "space_to_depth"])
def test_a_pruned_network_is_exported(pool: str, tmp_path: Path) -> None:
    pruned = prune_channels(network(pool=pool), SIZE, ratio=0.5, passes="none")
    images = [torch.rand(4, 3, SIZE, SIZE)]
    export_int8(pruned.model, images, tmp_path / "pruned.tflite")
    measured = measure_arena(tmp_path / "pruned.tflite")
    assert measured.head_bytes == profile_memory(pruned.model, SIZE).head_bytes
