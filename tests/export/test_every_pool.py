"""Every pooling on the micro-controller runtime: it runs there and agrees with LiteRT, or says why it can't."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from sapool.export import ExportError, check_parity, export_int8, measure_arena, randomize_norms
from sapool.layers import create_pool, list_pools
from sapool.tflite import read_graph
from tests.conftest import PooledNet, images

CANNOT = {
    "lp": "the runtime has no POW",
    "deformable_self_attentive": "no operator that samples a map at computed positions",
    "mixed_self_attentive": "no operator that samples a map at computed positions",
}
CASES: list[tuple[str, tuple[int, ...], dict[str, Any]]] = [(n, (2,), {}) for n in list_pools() if n not in CANNOT] + [
    ("lip", (3, 2, 1), {}),
    ("soft", (3, 2, 1), {}),
    ("space_to_depth", (4,), {}),
    ("haar", (4,), {}),
    ("self_attentive", (4,), {"window_norm": True, "patch_size": 2, "gain": 12.0}),
    ("self_attentive", (4,), {"window_norm": True, "patch_size": 2, "gate": "exp"}),
    ("self_attentive", (2,), {"window_norm": True, "restoration": "bilinear"}),
    ("self_attentive", (2,), {"restoration": "pixel_shuffle"}),
    ("self_attentive", (2,), {"embedding": "separable", "restore_norm": False}),
    ("self_attentive", (2,), {"gain": 4.0}),
    ("self_attentive", (2,), {"combine": "context"}),
    ("self_attentive", (2,), {"combine": "context", "patch_size": 4, "num_heads": 8}),
    ("self_attentive", (4,), {"combine": "both", "patch_size": 2, "window_norm": True}),
    ("self_attentive", (3, 2, 1), {"combine": "both", "patch_size": 2}),
]


def network(name: str, window: tuple[int, ...], kwargs: dict[str, Any]) -> PooledNet:
    torch.manual_seed(0)
    net = PooledNet(create_pool(name, 8, *window, **kwargs))
    randomize_norms(net)
    for key, parameter in net.named_parameters():
        if "logit" in key or "omega" in key:  # zero at first: the converter would fold them away
            torch.nn.init.normal_(parameter, std=0.3)
    return net.eval()


@pytest.mark.slow
@pytest.mark.parametrize(("name", "window", "kwargs"), CASES)
def test_it_runs_there_and_both_interpreters_agree(
    name: str, window: tuple[int, ...], kwargs: dict[str, Any], tmp_path: Path
) -> None:
    path = tmp_path / "model.tflite"
    record = export_int8(network(name, window, kwargs), [images(16)], path)
    assert record.float_error < 1e-4
    assert record.int8_snr_db is not None
    assert record.int8_snr_db > 25
    assert measure_arena(path).total_bytes > 0
    assert check_parity(path, images(8)).max_steps <= 1
    graph = read_graph(path)
    turns = [op for _, op in graph.of_kind("TRANSPOSE")]
    assert not any(graph.inputs[0] in op.inputs for op in turns)  # channel-last as it comes
    assert graph.operators[-1] not in turns


@pytest.mark.parametrize("name", list(CANNOT))
def test_it_says_why_it_cannot(name: str, tmp_path: Path) -> None:
    with pytest.raises(ExportError, match=rf"'pool' has no int8 form .*{CANNOT[name]}"):
        export_int8(network(name, (2,), {}), [images(4)], tmp_path / "model.tflite")
