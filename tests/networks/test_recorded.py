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
from tests.networks.on_values import Block, OnValues


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
