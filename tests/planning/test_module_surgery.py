from __future__ import annotations

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import sapool
from sapool.base.records import DownsamplingSite
from sapool.networks.traced import FallbackWarning
from tests.networks.on_values import WHOLE, OnValues, Unpadded, by_hand


@pytest.mark.parametrize("kind", WHOLE)
def test_a_forward_that_looks_at_values_is_planned_by_its_modules(kind: type[nn.Module]) -> None:
    torch.manual_seed(0)
    model = kind().eval()
    with pytest.warns(FallbackWarning, match=rf"can't trace {kind.__name__}: .*on_values.py:\d+ .*in-place"):
        found = sapool.find_downsampling(model, 32)
    assert [
        (s.name, s.operators, s.before, s.after, s.reduction) for s in found if isinstance(s, DownsamplingSite)
    ] == [
        ("stem", ("stem",), (32, 32), (16, 16), 2),
        ("pool", ("pool",), (16, 16), (8, 8), 2),
        ("block", ("block.conv1", "block.shortcut"), (8, 8), (4, 4), 2),
    ]
    with pytest.warns(FallbackWarning):
        plan = sapool.make_plan(model, 32, "avg", [2, 2, 4])
    assert {entry.placement for entry in plan.sites} == {"in-place"}
    x = torch.rand(3, 3, 32, 32)
    before = model(x)
    with pytest.warns(FallbackWarning):
        done = sapool.apply_plan(model, plan)
    assert type(done.model) is kind
    assert not done.model.training
    assert torch.equal(model(x), before)
    assert all(torch.equal(value, done.model.state_dict()[key]) for key, value in model.state_dict().items())
    expected = by_hand(model)
    assert torch.equal(done.model(x), expected(x))
    assert torch.equal(copy.deepcopy(done.model)(x), expected(x))
    assert [len(change.pools) for change in done.replaced] == [1, 1, 2]


@pytest.mark.filterwarnings("ignore::sapool.networks.traced.FallbackWarning")
def test_in_place_is_undone_and_a_refused_plan_changes_nothing() -> None:
    model = OnValues().eval()
    x = torch.rand(2, 3, 32, 32)
    before, keys = model(x), list(model.state_dict())
    done = sapool.apply_plan(model, sapool.make_plan(model, 32), inplace=True)
    assert done.model is model
    assert len(model.state_dict()) > len(keys)
    assert not torch.equal(model(x), before)
    assert done.undo() is model
    assert torch.equal(model(x), before)
    assert list(model.state_dict()) == keys
    for placement in ("stage", "group-start"):
        with pytest.raises(ValueError, match=r"needs a network that torch.fx can trace, and OnValues is none"):
            sapool.make_plan(model, 32, "avg", placement=placement)
    with pytest.raises(ValueError, match="changes nothing"):
        sapool.apply_plan(model, sapool.make_plan(model, 32, "strided"), inplace=True)
    assert torch.equal(model(x), before)


@pytest.mark.filterwarnings("ignore::sapool.networks.traced.FallbackWarning")
@pytest.mark.parametrize("pool", ["max", "self_attentive", "strided"])
def test_a_network_planned_by_its_modules_trains(pool: str) -> None:
    torch.manual_seed(0)
    model = OnValues().double()
    model.block.requires_grad_(False)
    done = sapool.apply_plan(model, sapool.make_plan(model, 32, pool, [4, 2, 2]))
    done.model(torch.rand(2, 3, 32, 32, dtype=torch.float64)).sum().backward()
    pools = [p for change in done.replaced for p in change.pools]
    assert all(q.dtype == torch.float64 and q.grad is not None for p in pools for q in p.parameters())
    assert not done.model.get_parameter("block.conv1.weight").requires_grad
    assert done.model.training
    assert all(p.training for p in pools)


@pytest.mark.filterwarnings("ignore::sapool.networks.traced.FallbackWarning")
def test_a_convolution_at_stride_one_holds_what_its_stride_kept() -> None:
    model = Unpadded().double().eval()
    plan = sapool.make_plan(model, 32, "max", [(1, 4), (2, 1)])
    done = sapool.apply_plan(model, plan)
    seen: list[Tensor] = []
    done.model.get_submodule("conv.planned_pool").register_forward_pre_hook(lambda m, args: seen.append(args[0]))
    x = torch.rand(2, 3, 32, 32, dtype=torch.float64)
    done.model(x)
    torch.testing.assert_close(seen[0][:, :, ::4, ::4], model.conv(x))
    assert done.model.pool is not model.pool
    own = sapool.apply_plan(model, sapool.make_plan(model, 32, "avg", [(4, 1), (4, 2)])).model
    assert torch.equal(own(x), F.avg_pool2d(F.max_pool2d(model.conv(x), 4), 2))
