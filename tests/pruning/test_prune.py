from __future__ import annotations

import copy
import warnings
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from sapool.export import randomize_norms
from sapool.layers import POOLS
from sapool.networks.load import load_model
from sapool.networks.tiny import TinyNet
from sapool.networks.traced import evaluating
from sapool.planning.plan import make_plan
from sapool.planning.surgery import apply_plan
from sapool.predict.profile import profile_memory
from sapool.pruning import Pruned, PruneRecord, prune_channels

SIZE = 32
DEFORMED = ("deformable_self_attentive", "mixed_self_attentive")  # their arena can't be predicted


def network(name: str = "sapool:tiny", pool: str | None = None, size: int = SIZE) -> nn.Module:
    torch.manual_seed(0)
    model = load_model(name, 10)
    if pool is not None:
        model = apply_plan(model, make_plan(model, size, pool, (4, 2, 2, 2))).model
    for parameter in model.parameters():
        if not parameter.any():  # what starts at zero would hide a mistake
            nn.init.normal_(parameter, std=0.2)
    return randomize_norms(model).eval()


def masked(model: nn.Module, pruned: Pruned, x: Tensor) -> Any:
    """Run the unpruned network with the channels that went at zero, wherever a layer makes or reads them."""
    model = copy.deepcopy(model)

    def zero(tensor: Tensor, keep: tuple[int, ...] | None, dim: int) -> Tensor:
        if keep is None:
            return tensor
        there = torch.zeros(tensor.shape[dim])
        there[list(keep)] = 1
        return tensor * there.view([-1 if d == dim % tensor.dim() else 1 for d in range(tensor.dim())])

    for change in pruned.record.layers:
        layer = model.get_submodule(change.name)
        if isinstance(layer, nn.BatchNorm2d):  # what it makes of a zero is read as zero
            continue
        dim = -1 if isinstance(layer, nn.Linear) else 1
        layer.register_forward_pre_hook(lambda _, a, c=change, d=dim: (zero(a[0], c.kept_in, d), *a[1:]))
        layer.register_forward_hook(lambda _m, _a, y, c=change, d=dim: zero(y, c.kept_out, d))
    with torch.no_grad():
        return model.eval()(x)


def check(model: nn.Module, pruned: Pruned, size: int = SIZE) -> None:
    """It equals the masked network, is smaller, and trains."""
    x = torch.rand(2, 3, size, size)
    with evaluating(pruned.model):
        ours, theirs = pruned.model(x), masked(model, pruned, x)
    if isinstance(ours, Tensor):
        ours, theirs = [ours], [theirs]
    for a, b in zip(ours, theirs, strict=True):
        assert float(b.std()) > 1e-3
        torch.testing.assert_close(a, b, atol=1e-5 * float(b.abs().max().clamp(min=1)), rtol=1e-5)
    assert pruned.record.after.parameters < pruned.record.before.parameters
    assert pruned.record.after.parameters == sum(p.numel() for p in pruned.model.parameters())
    out = pruned.model.train()(x)
    torch.stack([y.square().sum() for y in ([out] if isinstance(out, Tensor) else out)]).sum().backward()
    assert all(p.grad is not None for p in pruned.model.parameters() if p.requires_grad and p.numel() > 1)


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


def test_exclude_and_rounding() -> None:
    model = network()
    pruned = prune_channels(model, torch.rand(2, 3, SIZE, SIZE), ratio=0.5, round_to=4, exclude=["stem", "head.0"])
    sized: Any = pruned.model
    assert sized.stem[0].out_channels == 16
    assert sized.head[0].out_channels == 128
    assert sized.blocks[0].expand[0].out_channels == 24
    assert sized.blocks[0].project[0].out_channels == 12
    assert sized.classifier.out_features == 10


def test_the_least_important_go() -> None:
    model = network()
    head: Any = model.get_submodule("head.0")
    norm: Any = model.get_submodule("head.1")
    with torch.no_grad():
        head.weight[::2] *= 1e-3
        norm.weight[::2] *= 1e-3
        model.get_submodule("classifier").weight[:, ::2] *= 1e-3  # type: ignore[index,operator]
    for importance in ("magnitude", "group_norm"):
        pruned = prune_channels(model, SIZE, ratio=0.5, passes="none", importance=importance)
        kept = next(change.kept_out for change in pruned.record.layers if change.name == "head.0")
        assert kept == tuple(range(1, 128, 2))
    with torch.no_grad():
        norm.weight[:] = 1
        norm.weight[64:] = 0.01
    pruned = prune_channels(model, SIZE, ratio=0.5, passes="none", importance="bn_scale")
    assert next(change.kept_out for change in pruned.record.layers if change.name == "head.0") == tuple(range(64))


def test_taylor_looks_at_the_loss() -> None:
    model = network()
    classifier: Any = model.get_submodule("classifier")
    with torch.no_grad():  # large weights that no gradient reaches
        classifier.weight[:, :64] = 0
        model.get_submodule("head.0").weight[:64] *= 100  # type: ignore[index,operator]
    data = [(torch.rand(4, 3, SIZE, SIZE), torch.arange(4))]
    pruned = prune_channels(model, SIZE, ratio=0.5, passes="none", importance="taylor", data=data)
    assert next(c.kept_out for c in pruned.record.layers if c.name == "head.0") == tuple(range(64, 128))
    assert all(p.grad is None for p in pruned.model.parameters())
    assert all(p.grad is None for p in model.parameters())


def test_global_pruning_takes_from_the_layers_that_matter_least() -> None:
    model = network()
    local = prune_channels(model, SIZE, ratio=0.3, passes="none", round_to=4)
    ranked = prune_channels(model, SIZE, ratio=0.3, passes="none", round_to=4, global_pruning=True)
    check(model, ranked)
    kept = {c.name: c.out_after for c in ranked.record.layers}
    assert kept != {c.name: c.out_after for c in local.record.layers}


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


class _Misread(nn.Module):
    """Its code mixes channels by a product that a dependency graph takes for element by element."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 16, 3)
        self.turn = _Turn()
        self.last = nn.Conv2d(16, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.turn(self.first(x)))


class _Turn(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.flip(1)


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


def test_a_network_that_is_misread_is_refused() -> None:
    with pytest.raises(ValueError, match=r"can't follow _Misread.*differs by"):
        prune_channels(_Misread(), 16, ratio=0.5, passes="none")


def test_a_network_that_cannot_be_followed_says_where() -> None:
    shuffle = load_model("torchvision:shufflenet_v2_x0_5", 10)
    with pytest.raises(ValueError, match="can't follow ShuffleNetV2 behind stage"):
        prune_channels(shuffle, SIZE, ratio=0.5, passes="none")


def test_the_example_must_be_images() -> None:
    with pytest.raises(ValueError, match=r"example must be images .* got a tensor \(3, 32\)"):
        prune_channels(TinyNet(), torch.rand(3, 32), ratio=0.5)
    with pytest.raises(ValueError, match=r"model must be a torch.nn.Module, got str"):
        prune_channels("sapool:tiny", 32, ratio=0.5)  # type: ignore[arg-type]
