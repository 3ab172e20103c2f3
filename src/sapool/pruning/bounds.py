"""A bound on the groups that torch-pruning looks for: behind some operations it goes round without end."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from torch import nn

from sapool.base.extras import require


@contextmanager
def bounded_groups(model: nn.Module, name_of: Callable[[nn.Module], str]) -> Iterator[None]:
    """Let torch-pruning give up where a group has more channels than any layer of ``model``.

    Raises:
        ValueError: it does; the message names the last layer it passed.
    """
    graphs = require("torch_pruning.dependency.graph", "prune", "prune_channels")
    known, most = graphs.Group, max(_width(module) for module in model.modules())

    class BoundedGroup(known):  # type: ignore[misc, valid-type]
        def add_dep(self, dep: Any, idxs: Sequence[Any]) -> None:
            if len(idxs) > most or max((int(index.idx) for index in idxs), default=0) >= most:
                passed = [self[place].dep.target.module for place in reversed(range(len(self)))]
                names = (name_of(module) for module in passed if isinstance(module, nn.Module))
                last = next(filter(None, names), "its input")
                raise ValueError(
                    f"torch-pruning can't follow {type(model).__name__} behind {last}: it finds more channels "
                    "there than any layer has (maps laid out as rows, as in global-context blocks); prune the network "
                    "without that block, or write it with layers of torch.nn"
                )
            super().add_dep(dep, idxs)

    graphs.Group = BoundedGroup
    try:
        yield
    finally:
        graphs.Group = known


def _width(module: nn.Module) -> int:
    sides = ("in_channels", "out_channels", "in_features", "out_features", "num_features", "embed_dim")
    shape = getattr(module, "normalized_shape", ())
    return max(1, *(int(getattr(module, side, 0) or 0) for side in sides), *shape)
