from __future__ import annotations

import copy
import io
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import sapool
from sapool.networks.containers import HeldSequential


class Blocks(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 4, 3, 2, 1), nn.Sequential(nn.ReLU(), nn.Conv2d(4, 4, 1)))
        self.blocks = nn.ModuleList(nn.Conv2d(4, 4, 3, 2, 1) for _ in range(3))
        self.heads = nn.ModuleDict({"b": nn.Linear(4, 2), "a": nn.Linear(4, 3)})
        self.partly = nn.ModuleList([nn.Linear(3, 3), nn.Linear(3, 3)])
        self.num_classes, self.config = 3, {"sizes": [1, (2, 3)], "act": "relu"}
        self.own_forward, self.table = self.forward, [torch.zeros(1)]

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        for block in self.blocks:
            x = block(x)
        x[:, 0] = 0
        x = x.mean((2, 3)) if x.shape[1] > 2 else x
        return torch.cat([self.heads["b"](x), self.partly[1](self.heads["a"](x))], 1)


def planned(model: nn.Module) -> Any:
    return sapool.apply_plan(model, sapool.make_plan(model, 64, "avg")).model


def test_containers_index_and_names_stay() -> None:
    model = Blocks().eval()
    net = planned(model)
    both: list[Any] = [copy.deepcopy(net), sapool.apply_plan(net, sapool.make_plan(net, 64, "max")).model]
    for again in (net, *both):
        assert isinstance(again.stem[1][1], nn.Conv2d)
        assert [type(m) for m in again.stem] == [nn.Conv2d, HeldSequential]
        assert len(again.blocks) == 3
        assert again.blocks[-1] is again.get_submodule("blocks.2")
        assert list(again.heads) == ["b", "a"]
        assert not again.stem.training
        assert (again.num_classes, again.config) == (3, {"sizes": [1, (2, 3)], "act": "relu"})
    assert not hasattr(net, "table")
    assert type(net.partly) is nn.Module  # one of its two is never called
    unused = {"partly.0.weight", "partly.0.bias"}
    assert set(net.state_dict()) == set(model.state_dict()) - unused
    net.load_state_dict({key: value for key, value in model.state_dict().items() if key not in unused})


def test_a_part_does_not_run_on_its_own() -> None:
    with pytest.raises(RuntimeError, match="a part of a re-planned network can't run on its own"):
        planned(Blocks()).stem(torch.rand(1, 3, 8, 8))


def test_a_saved_network_still_indexes() -> None:
    net = planned(Blocks()).eval()
    file = io.BytesIO()
    torch.save(net, file)
    file.seek(0)
    again = torch.load(file, weights_only=False)
    x = torch.rand(1, 3, 64, 64)
    assert torch.equal(again(x), net(x))
    assert len(again.blocks) == 3


def test_blocks_of_known_networks_index() -> None:
    net: Any = sapool.load_model("torchvision:resnet18", 10)
    new = planned(net)
    assert new.layer1[0].conv1.weight.shape == net.layer1[0].conv1.weight.shape
    assert torch.equal(new.layer2[0].downsample[0].weight, net.layer2[0].downsample[0].weight)
    timm: Any = planned(sapool.load_model("timm:mobilenetv2_035", 10))
    assert len(timm.blocks) == 7
    assert timm.num_classes == 10


def test_hooks_of_containers_run_where_nothing_shrinks_inside() -> None:
    model: Any = sapool.load_model("torchvision:resnet18", 10)
    plan = sapool.make_plan(model, 64, "avg")
    plain = sapool.apply_plan(model, plan).model.eval()
    seen: list[str] = []
    model.register_forward_pre_hook(lambda m, i: seen.append("whole"))
    model.layer1.register_forward_hook(lambda m, i, o: seen.append("layer1"))
    model.layer1[1].register_forward_hook(lambda m, i, o: seen.append("layer1.1"))
    model.layer3[1].register_forward_hook(lambda m, i, o: seen.append("layer3.1"))
    net: Any = sapool.apply_plan(model, plan).model.eval()
    seen.clear()
    x = torch.rand(1, 3, 64, 64)
    assert torch.equal(net(x), plain(x))
    assert seen == ["whole", "layer1.1", "layer1", "layer3.1"]
    assert set(net.state_dict()) == set(plain.state_dict())
    model.layer2.register_forward_hook(lambda m, i, o: None)
    with pytest.warns(UserWarning, match=r"hooks on layer2 do not run"):
        sapool.apply_plan(model, plan)


def test_a_container_with_hooks_that_would_move_a_pool_is_traced_through() -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 3, 2, 1), nn.Sequential(nn.BatchNorm2d(4), nn.ReLU()), nn.Conv2d(4, 4, 1))
    plan = sapool.make_plan(model, 16, "avg")
    expected = sapool.apply_plan(model, plan).model.eval()
    model[1].register_forward_hook(lambda m, i, o: None)
    with pytest.warns(UserWarning, match="hooks on 1 do not run"):
        net = sapool.apply_plan(model, plan).model.eval()
    x = torch.rand(1, 3, 16, 16)
    assert torch.equal(net(x), expected(x))


def test_parametrized_layers_stay_layers() -> None:
    model = nn.Sequential(
        nn.utils.parametrizations.spectral_norm(nn.Conv2d(3, 4, 3, 2, 1)),
        nn.utils.parametrizations.weight_norm(nn.Conv2d(4, 4, 3, 2, 1)),
    ).eval()
    net = planned(model)
    assert set(net.state_dict()) == set(model.state_dict())
    x = torch.rand(1, 3, 64, 64)
    by_hand = copy.deepcopy(model)
    y = x
    for conv in by_hand:
        conv.stride = (1, 1)  # type: ignore[assignment]
        y = nn.functional.avg_pool2d(conv(y), 2)
    assert torch.equal(net(x), y)
