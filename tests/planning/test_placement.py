from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn

import sapool


class Detour(nn.Module):
    """A site whose entry goes elsewhere too, with a branch that shrinks and grows again in the next stage."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.norm, self.down = nn.Conv2d(3, 4, 3, 1, 1), nn.BatchNorm2d(4), nn.Conv2d(4, 4, 3, 2, 1)
        self.inner, self.last = nn.Conv2d(4, 4, 3, 1, 1), nn.Conv2d(4, 4, 3, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        entry = self.norm(self.stem(x))
        x = self.down(F.relu(entry)) + F.avg_pool2d(entry, 2)
        gate = F.interpolate(self.inner(F.avg_pool2d(x, 2)), scale_factor=2.0)
        return self.last(x * gate).mean((2, 3)) + entry.mean((2, 3))


@pytest.mark.parametrize("placement", ["block", "stage", "group-start", "in-place"])
def test_every_placement_fits_where_paths_leave_and_grow_again(placement: str) -> None:
    net = sapool.apply_plan(Detour(), sapool.make_plan(Detour(), 32, "avg", placement=placement)).model
    assert net(torch.rand(2, 3, 32, 32)).shape == (2, 4)


def test_group_start_stands_before_the_operators_where_the_entry_is_used_elsewhere() -> None:
    net = sapool.apply_plan(Detour(), sapool.make_plan(Detour(), 32, "max", placement="group-start")).model
    assert isinstance(net, fx.GraphModule)
    sources = {str(n.target): str(n.args[0]) for n in net.graph.nodes if str(n.target).startswith("pools.")}
    assert sources == {
        "pools.down": "relu",
        "pools.down_1": "norm",
        "pools.avg_pool2d_1": "add",
        "pools.last": "mul",
    }


@pytest.mark.slow
def test_a_shortcut_that_shrinks_apart_takes_the_pool_too() -> None:
    model = sapool.load_model("timm:xception41", 10)
    done = sapool.apply_plan(model, sapool.make_plan(model, 64, "avg", placement="group-start"))
    assert [len(change.pools) for change in done.replaced] == [1, 2, 2, 2, 2]
