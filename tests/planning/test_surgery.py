from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn

import sapool
from sapool.base.records import PoolingPlan, SitePlan
from sapool.export import randomize_norms
from sapool.layers import SelfAttentivePool2d
from sapool.networks.traced import trace
from sapool.planning.plan import supported_sites

NETWORKS = [("sapool:tiny", 64, 4), ("timm:mobilenetv2_035", 96, 5), ("torchvision:mobilenet_v2", 64, 5)]


CASES = [(*network, pool) for network in NETWORKS for pool in ("self_attentive", "avg", "max", "strided")]
CASES += [("sapool:tiny", 64, 4, pool) for pool in sapool.list_pools() if (*NETWORKS[0], pool) not in CASES]


@pytest.mark.parametrize(("name", "size", "count", "pool"), CASES)
def test_a_plan_goes_in_and_trains(name: str, size: int, count: int, pool: str) -> None:
    torch.manual_seed(0)
    model = sapool.load_model(name, 10)
    strides = [4, *[2] * (count - 2), 1]
    done = sapool.apply_plan(model, sapool.make_plan(model, size, pool, strides))
    old, new = model.state_dict(), done.model.state_dict()
    assert all(torch.equal(value, new[key]) for key, value in old.items())
    scores = done.model(torch.rand(4, 3, size, size))
    assert scores.shape == (4, 10)
    F.cross_entropy(scores, torch.arange(4)).backward()
    pools = [change.pool for change in done.replaced if change.pool is not None]
    assert len(pools) == (0 if pool == "strided" else count - 1)
    for parameter in (p for module in pools for p in module.parameters()):
        assert parameter.grad is not None


def by_hand(model: Any, x: Tensor) -> Tensor:
    """sapool:tiny with average pooling at 4,2,2,1, written out."""
    x = F.avg_pool2d(model.act(model.stem(x)), 2)
    for index, block in enumerate(model.blocks):
        block = copy.deepcopy(block)
        block.depthwise[0].stride = (1, 1)
        x = block(x)
        if index in (0, 2):
            x = F.avg_pool2d(x, 2)
    return model.classifier(model.pool(model.head_act(model.head(x))).flatten(1))


def test_average_pools_stand_where_the_plan_says() -> None:
    torch.manual_seed(0)
    model = sapool.load_model("sapool:tiny", 10).eval()
    done = sapool.apply_plan(model, sapool.make_plan(model, 64, "avg", [4, 2, 2, 1]))
    x = torch.rand(2, 3, 64, 64)
    assert torch.equal(done.model(x), by_hand(model, x))


def test_max_pooling_for_max_pooling_is_bit_identical() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(3, 4, 3, padding=1), nn.MaxPool2d(2), nn.Conv2d(4, 4, 3, padding=1), nn.MaxPool2d(2)
    )
    done = sapool.apply_plan(model, sapool.make_plan(model, 16, "max"))
    x = torch.rand(2, 3, 16, 16)
    assert torch.equal(done.model(x), model(x))
    assert "pools.1" in dict(done.model.named_modules())


def test_the_original_is_untouched_and_undo_gives_it_back() -> None:
    model = sapool.load_model("sapool:tiny", 10).eval()
    x = torch.rand(1, 3, 64, 64)
    expected = model(x)
    done = sapool.apply_plan(model, sapool.make_plan(model, 64, "avg"))
    assert torch.equal(model(x), expected)
    assert done.undo() is model
    shared = sapool.apply_plan(model, sapool.make_plan(model, 64, "avg"), inplace=True)
    assert next(shared.model.parameters()) is next(model.parameters())
    assert not torch.equal(shared.model(x), expected)
    assert shared.undo() is model
    assert torch.equal(model(x), expected)


def test_mode_dtype_and_frozen_weights_are_kept() -> None:
    model = sapool.load_model("sapool:tiny", 10).double().eval()
    model.requires_grad_(False)
    done = sapool.apply_plan(model, sapool.make_plan(model, 64))
    assert not done.model.training
    assert not done.model.get_parameter("stem.0.weight").requires_grad
    pools = [m for m in done.model.modules() if isinstance(m, SelfAttentivePool2d)]
    assert len(pools) == 4
    assert all(p.dtype == torch.float64 for pool in pools for p in pool.parameters())
    assert done.model(torch.rand(1, 3, 64, 64, dtype=torch.float64)).dtype == torch.float64
    assert all(not pool.training for pool in pools)


def test_batch_norm_and_dropout_still_follow_the_mode() -> None:
    torch.manual_seed(0)
    model = sapool.load_model("torchvision:mobilenet_v2", 10)
    net = sapool.apply_plan(model, sapool.make_plan(model, 64, "avg")).model
    x = torch.rand(2, 3, 64, 64)
    assert not torch.equal(net.train()(x), net.train()(x))
    assert torch.equal(net.eval()(x), net.eval()(x))


def test_changing_nothing_is_an_error() -> None:
    model = sapool.load_model("sapool:tiny", 10)
    with pytest.raises(ValueError, match="the plan changes nothing"):
        sapool.apply_plan(model, sapool.make_plan(model, 64, "strided"))


def test_a_plan_for_another_model_is_an_error() -> None:
    plan = sapool.make_plan(sapool.load_model("sapool:tiny", 10), 64, "avg")
    other = sapool.load_model("timm:mobilenetv2_035", 10)
    with pytest.raises(
        ValueError, match=r"for another model: .* has no down-sampling site 'stem.0' \(it has conv_stem"
    ):
        sapool.apply_plan(other, plan)


def test_a_replanned_network_can_be_planned_copied_and_saved_again() -> None:
    torch.manual_seed(0)
    model = sapool.load_model("sapool:tiny", 10).eval()
    net = sapool.apply_plan(model, sapool.make_plan(model, 64, "avg", [4, 2, 2, 1])).model
    x = torch.rand(1, 3, 64, 64)
    assert torch.equal(copy.deepcopy(net)(x), net(x))
    assert [s.reduction for s in sapool.find_downsampling(net, 64) if hasattr(s, "reduction")] == [2, 2, 2, 2]


class FunctionalDropout(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv, self.classifier = nn.Conv2d(3, 8, 3, 2, 1), nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = F.dropout(self.conv(x).mean((2, 3)), p=0.5, training=self.training)
        return self.classifier(x)


def test_functional_dropout_still_follows_the_mode() -> None:
    model = FunctionalDropout()
    net = sapool.apply_plan(model, sapool.make_plan(model, 16, "avg")).model
    x = torch.rand(2, 3, 16, 16)
    assert not torch.equal(net.train()(x), net.train()(x))
    assert torch.equal(net.eval()(x), net.eval()(x))
    (dropout,) = [m for m in net.modules() if isinstance(m, nn.Dropout)]
    assert dropout.p == 0.5


def test_a_plan_that_fails_in_place_leaves_the_model_as_it_was() -> None:
    model = sapool.load_model("sapool:tiny", 10).eval()
    plan = sapool.make_plan(model, 64, "avg")
    broken = replace(plan.sites[2], pool="self_attentive", kwargs={"window_norm": True})
    x = torch.rand(1, 3, 64, 64)
    expected = model(x)
    with pytest.raises(ValueError, match="average pooling"):
        sapool.apply_plan(model, replace(plan, sites=(*plan.sites[:2], broken, plan.sites[3])), inplace=True)
    assert torch.equal(model(x), expected)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"pool": "agv"}, "unknown pooling 'agv'"),
        ({"placement": "x"}, "unknown placement"),
        ({"kwargs": {"a": 1}}, "keyword 'a'"),
    ],
)
def test_a_plan_of_unknown_names_is_refused(change: dict[str, Any], said: str) -> None:
    model = sapool.load_model("sapool:tiny", 10)
    plan = sapool.make_plan(model, 64, "avg")
    with pytest.raises(ValueError, match=said):
        sapool.apply_plan(model, replace(plan, sites=(replace(plan.sites[0], **change), *plan.sites[1:])))


class Keep(nn.Module):
    """Every s-th pixel, from ``first`` on: what a strided convolution keeps of the one at stride 1."""

    def __init__(self, stride: int, first: int) -> None:
        super().__init__()
        self.stride, self.first = stride, first

    def forward(self, x: Tensor) -> Tensor:
        return x[:, :, self.first :: self.stride, self.first :: self.stride]


class Functional(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 4, 3, 2, 1), nn.Conv2d(4, 6, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        x = F.max_pool2d(F.relu(self.first(x)), 3, 2, padding=1)
        x = F.avg_pool2d(self.second(x), 2)
        return x[..., ::2, ::2].mean((2, 3))


@pytest.mark.parametrize(
    ("name", "size", "first"),
    [
        ("torchvision:resnet18", 64, 0),
        ("timm:mobilenetv3_small_050", 65, 0),
        ("timm:tf_efficientnet_b0", 64, 1),
        ("timm:convnext_atto", 64, 0),
        ("timm:regnetx_002", 64, 0),
        ("timm:resnetv2_50", 64, 0),
    ],
)
def test_a_convolution_at_stride_one_holds_what_the_stride_kept(name: str, size: int, first: int) -> None:
    model = randomize_norms(sapool.load_model(name, 10)).double().eval()
    plan = sapool.make_plan(model, size, "avg", placement="in-place")
    # A pool of the network's own stays as it is.
    own = {s.name for s in supported_sites(model, size) if "pool" in s.operators[0]}
    sites = tuple(replace(e, conv_stride=2, pool_stride=1) if e.site in own else e for e in plan.sites)
    done = sapool.apply_plan(model, replace(plan, sites=sites))
    pools = done.model.get_submodule("pools")
    for key in dict(pools.named_children()):
        pools.add_module(key, Keep(2 if "stem_0" not in key else plan.sites[0].pool_stride, first))
    x = torch.rand(2, 3, size, size, dtype=torch.float64)
    torch.testing.assert_close(done.model(x), model(x), atol=1e-9, rtol=1e-9)


@pytest.mark.parametrize("placement", ["block", "in-place"])
def test_pools_for_the_networks_own_are_bit_identical(placement: str) -> None:
    model = Functional().eval()
    sites = {site.operators[0]: site for site in supported_sites(model, 32)}
    window = {"kernel_size": 3, "padding": 1}
    plan = PoolingPlan(
        (3, 32, 32),
        (
            SitePlan(sites["max_pool2d"].name, "max", 1, 2, placement, window),
            SitePlan(sites["avg_pool2d"].name, "avg", 1, 2, placement),
        ),
    )
    done = sapool.apply_plan(model, plan)
    x = torch.rand(2, 3, 32, 32)
    assert torch.equal(done.model(x), model(x))
    assert PoolingPlan.from_json(plan.to_json()) == plan


def test_functional_operators_take_other_strides() -> None:
    model = Functional()
    done = sapool.apply_plan(model, sapool.make_plan(model, 64, "avg", [(4, 1), (4, 1), (1, 4), (4, 1)]))
    traced = trace(done.model, 64)
    sides = [shape[2] for shape in traced.shapes.values() if len(shape) == 4]
    assert sorted(set(sides), reverse=True) == [64, 16, 4, 1]
    assert done.model(torch.rand(2, 3, 64, 64)).shape == (2, 6)


@pytest.mark.parametrize("placement", ["block", "stage", "group-start", "in-place"])
@pytest.mark.parametrize(
    ("name", "size"), [("torchvision:resnet18", 64), ("timm:mobilenetv2_035", 64), ("timm:densenet121", 64)]
)
def test_every_placement_trains(name: str, size: int, placement: str) -> None:
    torch.manual_seed(0)
    model = sapool.load_model(name, 10)
    done = sapool.apply_plan(model, sapool.make_plan(model, size, placement=placement))
    done.model(torch.rand(4, 3, size, size)).square().sum().backward()
    pools = [pool for change in done.replaced for pool in change.pools]
    assert all(p.grad is not None for pool in pools for p in pool.parameters())
    assert len(pools) >= len(done.replaced)


def test_placements_stand_where_they_say() -> None:
    model = sapool.load_model("torchvision:resnet18", 10)
    before = {}
    for placement in ("block", "stage", "group-start", "in-place"):
        done = sapool.apply_plan(model, sapool.make_plan(model, 64, "avg", placement=placement))
        assert isinstance(done.model, fx.GraphModule)
        node = next(n for n in done.model.graph.nodes if n.target == "pools.layer2_0")
        before[placement] = str(node.args[0])
    assert before == {
        "block": "layer2_0_relu_1",
        "stage": "layer2_1_relu_1",
        "group-start": "layer1_1_relu_1",
        "in-place": "layer2_0_conv1",
    }


def test_paths_that_would_meet_with_other_sizes_are_refused() -> None:
    model = sapool.load_model("timm:hrnet_w18_small", 10)
    plan = sapool.make_plan(model, 128, "avg")
    wrong = (*plan.sites[:3], replace(plan.sites[3], pool_stride=4), *plan.sites[4:])
    with pytest.raises(ValueError, match=r"the plan does not fit HighResolutionNet: .* fails with"):
        sapool.apply_plan(model, replace(plan, sites=wrong))


def test_an_optimizer_follows_the_parameters() -> None:
    model = sapool.load_model("sapool:tiny", 10)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    model(torch.rand(4, 3, 32, 32)).sum().backward()
    optimizer.step()
    done = sapool.apply_plan(model, sapool.make_plan(model, 32, init="random"))
    old = optimizer.state[model.get_parameter("stem.0.weight")]["momentum_buffer"]
    done.update_optimizer(optimizer)
    new = done.model.get_parameter("stem.0.weight")
    assert optimizer.state[new]["momentum_buffer"] is old
    assert {id(p) for g in optimizer.param_groups for p in g["params"]} == {id(p) for p in done.model.parameters()}
    optimizer.zero_grad()
    before = {k: v.clone() for k, v in done.model.named_parameters()}
    done.model(torch.rand(4, 3, 32, 32)).square().sum().backward()
    optimizer.step()
    assert sum(not torch.equal(before[k], v) for k, v in done.model.named_parameters() if "pools." in k) > 20
    with pytest.raises(ValueError, match="holds none of its parameters"):
        done.update_optimizer(torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=0.1))


def test_a_dry_run_changes_nothing() -> None:
    model = sapool.load_model("sapool:tiny", 10)
    done = sapool.apply_plan(model, sapool.make_plan(model, 32), inplace=True, dry_run=True)
    assert done.model is model
    assert [change.site for change in done.replaced] == ["stem.0", "blocks.0", "blocks.2", "blocks.4"]
    assert model.get_submodule("stem.0").stride == (2, 2)


def test_hooks_of_layers_are_kept_and_others_named() -> None:
    model = sapool.load_model("sapool:tiny", 10)
    seen: list[str] = []
    model.get_submodule("blocks.0.depthwise.0").register_forward_hook(lambda m, i, o: seen.append("layer"))
    sapool.apply_plan(model, sapool.make_plan(model, 32)).model.eval()(torch.rand(1, 3, 32, 32))
    assert seen.count("layer") >= 1
    model.get_submodule("blocks.0").register_forward_hook(lambda m, i, o: None)
    with pytest.warns(UserWarning, match=r"hooks on blocks\.0 do not run"):
        sapool.apply_plan(model, sapool.make_plan(model, 32))


def test_pools_that_would_stand_on_each_other_are_refused() -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 3, 2, 1), nn.Conv2d(4, 4, 3, 2, 1))
    sites = (SitePlan("0", "avg", 1, 2, "block"), SitePlan("1", "avg", 1, 2, "group-start"))
    with pytest.raises(ValueError, match=r"the pool at 1 \(group-start\) would stand where another"):
        sapool.apply_plan(model, PoolingPlan((3, 16, 16), sites))


def test_a_pool_may_stand_behind_an_operator_that_goes() -> None:
    model = sapool.load_model("torchvision:shufflenet_v2_x0_5", 10)
    done = sapool.apply_plan(model, sapool.make_plan(model, 64, "avg", placement="group-start"))
    assert done.model(torch.rand(2, 3, 64, 64)).shape == (2, 10)
