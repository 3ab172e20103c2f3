from __future__ import annotations

import copy
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from sapool.export import export_int8, measure_arena, randomize_norms
from sapool.layers import POOLS
from sapool.networks.tiny import TinyNet
from sapool.planning.plan import make_plan
from sapool.planning.surgery import apply_plan
from sapool.predict.profile import profile_memory
from sapool.pruning import PruneRecord, prune_channels
from tests.pruning.networks import DEFORMED, SIZE, check, network


@pytest.mark.parametrize("pool", [None, *POOLS])
def test_every_pool_in_a_network(pool: str | None) -> None:
    model = network(pool=pool)
    before = copy.deepcopy(model.state_dict())
    pruned = prune_channels(model, SIZE, ratio=0.5, passes="none")
    check(model, pruned)
    assert all(torch.equal(a, b) for a, b in zip(before.values(), model.state_dict().values(), strict=True))
    if pool not in DEFORMED:
        record = pruned.record
        predicted = profile_memory(pruned.model, SIZE, passes="none")
        assert record.after.total_bytes == predicted.total_bytes
        assert record.before.total_bytes is not None
        assert predicted.total_bytes < record.before.total_bytes
    widths = {change.name: change.out_after for change in pruned.record.layers if change.kind == "Conv2d"}
    assert all(width % 8 == 0 for name, width in widths.items() if "pool" not in name)
    assert PruneRecord.from_json(pruned.record.to_json()) == pruned.record


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "size"),
    [
        ("timm:mobilenetv2_035", 32),
        ("timm:mobilenetv3_small_050", 32),
        ("torchvision:resnet18", 32),
        ("timm:resnet18", 32),
        ("timm:efficientnet_lite0", 32),
        ("timm:resnext50_32x4d", 32),
        ("authors:mobilenet_v2-nlp_headfix2_nowin-1222121", 64),
    ],
)
def test_families(name: str, size: int) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = network(name)
    pruned = prune_channels(model, size, ratio=0.4, passes="none")
    check(model, pruned, size)


@pytest.mark.slow
def test_a_detection_backbone_keeps_its_maps() -> None:
    timm = pytest.importorskip("timm")
    torch.manual_seed(0)
    model = randomize_norms(timm.create_model("mobilenetv2_035", features_only=True, out_indices=(2, 3, 4))).eval()
    model = apply_plan(model, make_plan(model, 64, "self_attentive", (4, 2, 2, 2, 1))).model.eval()
    pruned = prune_channels(model, 64, ratio=0.5, passes="none")
    check(model, pruned, 64)


def test_steps_call_back_and_frozen_weights_stay_frozen() -> None:
    model = network().train()
    model.get_submodule("stem").requires_grad_(False)
    seen: list[tuple[int, int]] = []

    def train(pruned: nn.Module, step: int) -> None:
        seen.append((step, pruned.get_submodule("head.0").out_channels))  # type: ignore[arg-type]
        with torch.no_grad():
            pruned.get_parameter("classifier.bias").add_(1)

    pruned = prune_channels(model, SIZE, ratio=0.5, passes="none", iterative_steps=4, after_step=train)
    assert seen == [(1, 112), (2, 96), (3, 80)]
    assert pruned.model.training
    frozen = [n for n, p in pruned.model.named_parameters() if not p.requires_grad]
    assert frozen == [n for n, p in model.named_parameters() if not p.requires_grad] != []
    before, after = (m.get_parameter("classifier.bias") for m in (model, pruned.model))
    torch.testing.assert_close(after, before + 3)


@pytest.mark.parametrize(
    ("kwargs", "said"),
    [
        ({}, "exactly one of ratio, ram_bytes and macs, got none"),
        ({"ratio": 0.5, "macs": 3}, "got ratio and macs"),
        ({"ratio": 0.0}, "ratio must be over 0 and under 1, got 0.0"),
        ({"ratio": 1.0}, "got 1.0"),
        ({"ratio": float("nan")}, "got nan"),
        ({"ram_bytes": 0}, "ram_bytes must be a whole number of at least 1, got 0"),
        ({"macs": 1.5}, "macs must be a whole number"),
        ({"ratio": 0.5, "round_to": 0}, "round_to must be"),
        ({"ratio": 0.5, "iterative_steps": 0}, "iterative_steps must be"),
        ({"ratio": 0.5, "exclude": ["stm"]}, "TinyNet has no layer 'stm': did you mean stem"),
        ({"ratio": 0.5, "exclude": "stem"}, "exclude must be a list of names"),
        ({"ratio": 0.5, "importance": "magic"}, "unknown importance 'magic': did you mean magnitude"),
        ({"ratio": 0.5, "importance": "taylor"}, "needs data"),
        ({"ratio": 0.5, "importance": "taylor", "data": []}, "at least one batch"),
        ({"ratio": 0.5, "data": []}, "data goes with importance='taylor'"),
        ({"macs": 10**6, "global_pruning": True}, "global_pruning goes with ratio"),
        ({"ratio": 0.5, "exclude": ["stem", "blocks", "head"]}, "no channels to remove"),
        ({"macs": 100}, "macs must be at least"),
        ({"ram_bytes": 1000}, "ram_bytes must be at least"),
    ],
)
def test_mistakes(kwargs: dict[str, Any], said: str) -> None:
    model = TinyNet()
    state = copy.deepcopy(model.state_dict())
    with pytest.raises(ValueError, match=said) as caught:
        prune_channels(model, SIZE, passes="none", **kwargs)
    assert "\n" not in str(caught.value)
    assert all(torch.equal(a, b) for a, b in zip(state.values(), model.state_dict().values(), strict=True))
    assert model.training
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())


def test_the_example_must_be_images() -> None:
    with pytest.raises(ValueError, match=r"example must be images .* got a tensor \(3, 32\)"):
        prune_channels(TinyNet(), torch.rand(3, 32), ratio=0.5)
    with pytest.raises(ValueError, match=r"model must be a torch.nn.Module, got str"):
        prune_channels("sapool:tiny", 32, ratio=0.5)  # type: ignore[arg-type]


@pytest.mark.slow
@pytest.mark.parametrize("pool", ["self_attentive", "lip", "space_to_depth"])
def test_a_pruned_network_is_exported(pool: str, tmp_path: Path) -> None:
    pruned = prune_channels(network(pool=pool), SIZE, ratio=0.5, passes="none")
    images = [torch.rand(4, 3, SIZE, SIZE)]
    export_int8(pruned.model, images, tmp_path / "pruned.tflite")
    measured = measure_arena(tmp_path / "pruned.tflite")
    assert measured.head_bytes == profile_memory(pruned.model, SIZE).head_bytes
