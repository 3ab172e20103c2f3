"""Networks to prune, and the check that pruning equals setting channels to zero."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn

from sapool.export import randomize_norms
from sapool.networks.load import load_model
from sapool.networks.traced import evaluating
from sapool.planning.plan import make_plan
from sapool.planning.surgery import apply_plan
from sapool.pruning import Pruned

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


class Hourglass(nn.Module):
    """Its peak is where it is wide and shallow; its parameters are where it is small and deep."""

    def __init__(self) -> None:
        super().__init__()
        self.wide = nn.Conv2d(3, 32, 3, 2, 1)
        self.narrow = nn.Conv2d(32, 32, 3, 4, 1)
        self.deep = nn.Conv2d(32, 256, 3, 2, 1)
        self.deeper = nn.Conv2d(256, 256, 3, 1, 1)
        self.classifier = nn.Linear(256, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.narrow(torch.relu(self.wide(x))))
        x = torch.relu(self.deeper(torch.relu(self.deep(x))))
        return self.classifier(x.mean((2, 3)))
