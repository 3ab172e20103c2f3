from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

import sapool
from sapool.base.records import DownsamplingSite, UnsupportedSite
from sapool.networks.recorded import read_model
from sapool.networks.traced import FallbackWarning, InputSizeError


class Block(nn.Module):
    """A residual block whose shortcut shrinks too."""

    def __init__(self, inner: int, outer: int) -> None:
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(inner, outer, 3, 2, 1), nn.Conv2d(outer, outer, 3, 1, 1)
        self.shortcut = nn.Conv2d(inner, outer, 1, 2)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.conv2(F.relu(self.conv1(x))) + self.shortcut(x))


class OnValues(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem, self.pool = nn.Conv2d(3, 8, 3, 2, 1), nn.MaxPool2d(2)
        self.block, self.head = Block(8, 16), nn.Linear(16, 4)

    def forward(self, x: Tensor) -> Tensor:
        if x.mean() > 100:
            return x.new_zeros(len(x), 4)
        return self.head(self.block(self.pool(self.stem(x))).mean((2, 3)))


class OverTheBatch(OnValues):
    def forward(self, x: Tensor) -> Tensor:
        rows = [self.block(self.pool(self.stem(x[i : i + 1]))) for i in range(x.shape[0])]
        return self.head(torch.cat(rows).mean((2, 3)))


class ByItem(OnValues):
    def forward(self, x: Tensor) -> Tensor:
        keep = int(x.abs().max().clamp(1, 3).item())
        return self.head(self.block(self.pool(self.stem(x)))[:, :, :keep].mean((2, 3)))


class ThroughNumpy(OnValues):
    def forward(self, x: Tensor) -> Tensor:
        scale = float(x.detach().numpy().max())
        return self.head(self.block(self.pool(self.stem(x / scale))).mean((2, 3)))


WHOLE = [OnValues, OverTheBatch, ByItem, ThroughNumpy]


@pytest.mark.parametrize("kind", WHOLE)
def test_a_forward_that_looks_at_values_is_planned_by_its_modules(kind: type[nn.Module]) -> None:
    torch.manual_seed(0)
    model = kind().eval()
    with pytest.warns(FallbackWarning, match=rf"can't trace {kind.__name__}: .*test_recorded.py:\d+ .*in-place"):
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


def by_hand(model: Any) -> nn.Module:
    """The network with average pooling in place of its strides at 2, 2, 4, written out."""

    class Pooled(nn.Module):
        def __init__(self, conv: nn.Conv2d, by: int) -> None:
            super().__init__()
            self.conv, self.by = conv, by

        def forward(self, x: Tensor) -> Tensor:
            return F.avg_pool2d(self.conv(x), self.by)

    net: Any = copy.deepcopy(model)
    net.stem.stride = (1, 1)
    net.stem, net.pool = Pooled(net.stem, 2), nn.AvgPool2d(2)
    net.block.conv1, net.block.shortcut = Pooled(net.block.conv1, 2), Pooled(net.block.shortcut, 2)
    return net


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


class Unpadded(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 4, 4)
        self.pool = nn.MaxPool2d(3, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.pool(self.conv(input=x)) if x.sum() > -1 else x


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


class Hidden(nn.Module):
    """Shrinks in code between modules, in a module called twice, and in one that does not run."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 3, 3, 1, 1), nn.Conv2d(3, 3, 3, 1, 1)
        self.twice, self.other, self.last = nn.MaxPool2d(2), nn.Conv2d(3, 3, 3, 2, 1), nn.Conv2d(3, 3, 3, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.second(F.max_pool2d(self.first(x), 2))
        if x.isnan().any():
            return self.other(x)
        return self.last(self.twice(self.twice(x)))


@pytest.mark.filterwarnings("ignore::sapool.networks.traced.FallbackWarning")
def test_what_modules_do_not_show_is_listed() -> None:
    found = sapool.find_downsampling(Hidden(), 64)
    assert [(s.name, isinstance(s, DownsamplingSite)) for s in found] == [
        ("before second", False),
        ("twice", False),
        ("twice", False),
        ("last", True),
        ("other", False),
    ]
    reasons = [s.reason for s in found if isinstance(s, UnsupportedSite)]
    assert "shrinks the map to 32 x 32" in reasons[0]
    assert "called 2 times" in reasons[1]
    assert "did not run" in reasons[3]


class Attention(nn.Module):
    def __init__(self, stride: int = 1) -> None:
        super().__init__()
        self.mix = nn.Conv2d(8, 8, 3, stride, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.mix(x) * (2 if x.max() > 0.5 else 1)


class Round(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x.round()

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        return gradients[0]


class Levels(nn.Module):
    """Returns a mapping of maps, from a module that can't be traced."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = Attention()

    def forward(self, x: Tensor, *, scale: float) -> dict[str, Any]:
        low = self.inner(x) * scale if x.max() > -9 else x
        return {"high": x, "low": (low, low.mean((2, 3)))}


def scripted() -> nn.Module:
    return torch.jit.script(nn.Sequential(nn.Conv2d(8, 8, 3, 1, 1), nn.ReLU()))


class Partly(nn.Module):
    """Traced, but for one part; what that part does is given."""

    def __init__(self, middle: Callable[..., nn.Module], how: str = "") -> None:
        super().__init__()
        self.stem, self.middle, self.down = nn.Conv2d(3, 8, 3, 2, 1), middle(), nn.Conv2d(8, 8, 3, 2, 1)
        self.block, self.how = Block(8, 16), how

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        if self.how == "mapping":
            levels = self.middle(x, scale=0.5)
            low, _ = levels["low"]
            x = low + levels["high"]
        elif self.how == "checkpoint":
            x = checkpoint(self.middle, x, use_reentrant=False)
        elif self.how == "function":
            x = Round.apply(self.middle(x) * 8)
        else:
            x = self.middle(x)
        return self.block(self.down(x)).mean((2, 3))


PARTS = [
    (Attention, "", "middle: "),
    (Attention, "checkpoint", "middle: "),
    (Levels, "mapping", "middle"),
    (scripted, "", None),
    (nn.Identity, "function", None),
    (nn.Identity, "checkpoint", None),
]


@pytest.mark.filterwarnings("ignore:.*torch.jit.*:FutureWarning")
@pytest.mark.parametrize(("middle", "how", "said"), PARTS)
def test_a_part_that_cannot_be_traced_stays_one_piece(middle: Any, how: str, said: str | None) -> None:
    torch.manual_seed(0)
    model = Partly(middle, how)
    with pytest.warns(FallbackWarning, match=said) if said else no_warning():
        found = sapool.find_downsampling(model, 32)
    assert [s.name for s in found if isinstance(s, DownsamplingSite)] == ["stem", "down", "block"]
    with pytest.warns(FallbackWarning, match=said) if said else no_warning():
        done = sapool.apply_plan(model, sapool.make_plan(model, 32, "avg", placement="in-place"))
    x = torch.rand(2, 3, 32, 32)
    assert torch.equal(done.model(x), partly_by_hand(model)(x))
    done.model(x).sum().backward()
    gradient = done.model.get_parameter("stem.weight").grad
    assert gradient is not None
    assert gradient.abs().sum() > 0  # the rounding's own backward is kept


def partly_by_hand(model: Any) -> nn.Module:
    net: Any = copy.deepcopy(model)
    for owner, name in ((net, "stem"), (net, "down"), (net.block, "conv1"), (net.block, "shortcut")):
        conv = getattr(owner, name)
        conv.stride = (1, 1)
        setattr(owner, name, nn.Sequential(conv, nn.AvgPool2d(2)))
    return net


class no_warning:  # noqa: N801
    """pytest turns warnings into errors."""

    def __enter__(self) -> None: ...

    def __exit__(self, *_: object) -> None: ...


@pytest.mark.filterwarnings("ignore::sapool.networks.traced.FallbackWarning")
def test_what_shrinks_inside_such_a_part_is_listed() -> None:
    found = sapool.find_downsampling(Partly(lambda: Attention(2)), 32)
    assert [s.name for s in found] == ["stem", "middle.mix", "down", "block"]
    assert isinstance(found[1], UnsupportedSite)
    assert "it is inside middle (Attention), whose code can't be changed: " in found[1].reason
    again = sapool.apply_plan(Partly(lambda: Attention(2)), sapool.make_plan(Partly(lambda: Attention(2)), 32, "avg"))
    assert [s.name for s in sapool.find_downsampling(again.model, 32)][1] == "middle.mix"


@pytest.mark.filterwarnings("ignore::sapool.networks.traced.FallbackWarning")
def test_where_the_part_is_nearly_everything_its_modules_are_planned() -> None:
    model = nn.Sequential(OnValues(), nn.Linear(4, 2))
    assert read_model(model, 32).untraceable
    found = sapool.find_downsampling(model, 32)
    assert [s.name for s in found] == ["0.stem", "0.pool", "0.block"]


class TakesMapping(nn.Module):
    def forward(self, batch: dict[str, Tensor]) -> Tensor:
        return batch["image"] * 2


class TakesTwo(nn.Module):
    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        return x + y


@pytest.mark.parametrize(("model", "said"), [(TakesMapping(), "a mapping with 'image'"), (TakesTwo(), "x and y")])
def test_other_inputs_than_one_tensor_are_refused(model: nn.Module, said: str) -> None:
    with pytest.raises(ValueError, match=f"takes {said}, and only networks of one tensor"):
        sapool.find_downsampling(model, 32)


@pytest.mark.filterwarnings("ignore::sapool.networks.traced.FallbackWarning")
def test_a_size_that_does_not_run_is_named() -> None:
    class Fails(OnValues):
        def forward(self, x: Tensor) -> Tensor:
            return self.stem(x[:, :2]) if x.max() > 0 else x

    with pytest.raises(InputSizeError, match=r"can't take an input of \(3, 32, 32\)"):
        sapool.find_downsampling(Fails(), 32)
