"""Groups of channels that can only go together, found by torch-pruning's dependency graph (Fang et al., CVPR 2023)."""

from __future__ import annotations

import contextlib
import math
import warnings
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from sapool.base.extras import require
from sapool.planning.module_surgery import POOL_NAME
from sapool.pruning.bounds import bounded_groups
from sapool.pruning.pools import channel_repeats, pool_channels, trim_pool
from sapool.pruning.snapshot import Snapshot
from sapool.pruning.stand_ins import PoolStandIn, StandIns
from sapool.pruning.trimming import Trimmer

Scorer = Callable[[Any], Tensor | None]


@dataclass
class KeptChannels:
    """Which channels of every layer's original ones are left: layer name -> side -> places."""

    places: dict[str, dict[str, list[int]]] = field(default_factory=dict)

    def keep(self, name: str, side: str, keep: Sequence[int], count: int) -> None:
        """Keep the ``keep`` of the ``count`` present channels of a layer."""
        present = self.places.setdefault(name, {}).setdefault(side, list(range(count)))
        self.places[name][side] = [present[place] for place in keep]

    def copy(self) -> KeptChannels:
        """Return an independent copy."""
        return KeptChannels({name: {s: list(p) for s, p in sides.items()} for name, sides in self.places.items()})


@dataclass(frozen=True)
class ChannelGroup:
    """Channels of several layers that go together.

    Attributes:
        name: the layer that makes them (one of several).
        root: that layer.
        repeats: into how many equal runs its channels fall of which the same places must stay (grouped convolutions).
        members: names of all layers that lose channels.
    """

    name: str
    root: nn.Module
    repeats: int
    members: tuple[str, ...]


class ChannelGroups:
    """The channel groups of a network, and their removal, in place.

    Args:
        model: the network; it is changed.
        example: images (1, C, H, W).
        exclude: names of modules whose outputs keep their channels.

    Raises:
        ValueError: torch-pruning can't follow the network.
        ImportError: torch-pruning is not installed.
    """

    def __init__(self, model: nn.Module, example: Tensor, exclude: Collection[str] = ()) -> None:
        self.model, self.kept = model, KeptChannels()
        self._tp = require("torch_pruning", "prune", "prune_channels")
        self._names = {module: name for name, module in model.named_modules()}
        self._stand_ins = StandIns(model)
        with self._stand_ins.placed():
            self._graph = _build(self._tp, model, example, Trimmer(self.note_inside))
            self.groups = self._find(exclude)

    def _find(self, exclude: Collection[str]) -> tuple[ChannelGroup, ...]:
        excluded = [
            self._stand_ins.of(module) for name in exclude for module in self.model.get_submodule(name).modules()
        ]
        roots = (nn.modules.conv._ConvNd, nn.Linear)
        with bounded_groups(self.model, self.name_of):
            found = list(self._graph.get_all_groups(ignored_layers=excluded, root_module_types=roots))
        groups = [self._describe(group) for group in found if not self._reaches_output(group)]
        return tuple(group for group in groups if self.positions(group) > 1)

    def _reaches_output(self, group: Any) -> bool:
        return any(isinstance(dep.target.module, self._tp.ops._OutputOp) for dep, _ in group)

    def _describe(self, group: Any) -> ChannelGroup:
        root = group[0].dep.target.module
        layers = [dep.target.module for dep, _ in group if isinstance(dep.target.module, nn.Module)]
        names = (self.name_of(layer) for layer in layers)
        repeats = math.lcm(*(_repeats(layer) for layer in layers))
        return ChannelGroup(self._names[root], root, repeats, tuple(dict.fromkeys(name for name in names if name)))

    def name_of(self, layer: nn.Module) -> str:
        """Return a layer's name; a stand-in has its pool's, and what is no layer of the network none."""
        return self._names.get(layer.pool if isinstance(layer, PoolStandIn) else layer, "")

    def positions(self, group: ChannelGroup) -> int:
        """Return how many channels can be removed independently: all, over the group's repeats."""
        return int(self._graph.get_out_channels(group.root)) // group.repeats

    def scores(self, group: ChannelGroup, scorer: Scorer, fallback: Scorer) -> Tensor:
        """Return the importance of every position, relative to their mean: (positions,)."""
        whole = self._slice(group, range(self.positions(group)))
        found = scorer(whole)
        found = fallback(whole) if found is None else found
        if found is None:
            return torch.ones(self.positions(group))
        scores = found.detach().float().cpu().view(group.repeats, -1).sum(0)
        mean = scores.mean()
        return scores / mean if mean > 0 else torch.ones_like(scores)

    def _slice(self, group: ChannelGroup, positions: Sequence[int]) -> Any:
        count = self.positions(group)
        places = [repeat * count + place for repeat in range(group.repeats) for place in positions]
        pruner = self._graph.get_pruner_of_module(group.root)
        with bounded_groups(self.model, self.name_of):
            return self._graph.get_pruning_group(group.root, pruner.prune_out_channels, places)

    def remove(self, group: ChannelGroup, positions: Sequence[int]) -> None:
        """Remove ``positions`` of a group from every layer that has them."""
        if not len(positions):
            return
        with self._stand_ins.placed():
            coupled = self._slice(group, sorted(positions))
            for dep, places in coupled:
                self._note(dep, places)
            coupled.prune(record_history=False)
        self._trim_hooked_pools(coupled)

    def _note(self, dep: Any, places: Sequence[int]) -> None:
        layer = dep.target.module
        if not isinstance(layer, nn.Module) or isinstance(layer, PoolStandIn) or layer not in self._names:
            return
        sides = (
            ("in", self._graph.is_in_channel_pruning_fn, self._graph.get_in_channels),
            ("out", self._graph.is_out_channel_pruning_fn, self._graph.get_out_channels),
        )
        for side, touches, width in sides:
            if touches(dep.handler):
                count, gone = width(layer), set(places)
                self.kept.keep(self._names[layer], side, [i for i in range(count) if i not in gone], count)

    def note_inside(self, layer: nn.Module, side: str, keep: Sequence[int], count: int) -> None:
        """Note what stays of a layer inside a pool."""
        self.kept.keep(self._names[layer], side, keep, count)

    def _trim_hooked_pools(self, coupled: Any) -> None:
        """Trim the pools that hang on a convolution as its child, which the graph sees as part of it."""
        for dep, places in coupled:
            pool = getattr(dep.target.module, POOL_NAME, None)
            if pool is not None and self._graph.is_out_channel_pruning_fn(dep.handler):
                gone = set(places)
                keep = [i for i in range(pool_channels(pool)) if i not in gone]
                trim_pool(Trimmer(self.note_inside), pool, keep)

    @contextlib.contextmanager
    def trial(self) -> Iterator[None]:
        """Take back at the end whatever is removed inside."""
        nodes = [module for module in self._graph.module2node if isinstance(module, nn.Module)]
        snapshot, kept = Snapshot(dict.fromkeys([*self.model.modules(), *nodes])), self.kept.copy()
        parameters, node_of = dict(self._graph._param_to_name), dict(self._graph.module2node)
        try:
            yield
        finally:
            snapshot.restore()
            self.kept, self._graph._param_to_name, self._graph.module2node = kept, parameters, node_of
            for module, node in node_of.items():
                node.module = module


def _repeats(layer: nn.Module) -> int:
    if isinstance(layer, PoolStandIn):
        return channel_repeats(layer.pool)
    if isinstance(layer, nn.modules.conv._ConvNd):
        return layer.groups if layer.groups != layer.out_channels else 1
    if isinstance(layer, nn.GroupNorm):
        return layer.num_groups
    return 1


def _build(tp: Any, model: nn.Module, example: Tensor, trim: Trimmer) -> Any:
    """Follow the channels of ``model``, every parameter of which has a gradient for as long."""
    frozen = [parameter for parameter in model.parameters() if not parameter.requires_grad]
    modes = {module: module.training for module in model.modules()}
    pruners = {PoolStandIn: _stand_in_pruner(tp, trim)}
    try:
        with torch.enable_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of parameters outside layers: what is pruned is checked at the end
            for parameter in frozen:
                parameter.requires_grad_(True)
            # Every output gets an operation of its own, so that none is taken for a layer inside.
            return tp.DependencyGraph().build_dependency(
                model, example, output_transform=_mark_outputs, customized_pruners=pruners, verbose=False
            )
    except Exception as error:  # torch-pruning and the model's own code run here and may raise anything
        said = str(error).strip().split("\n")[0] or type(error).__name__
        where = _behind(error, model)
        raise ValueError(f"torch-pruning can't follow {type(model).__name__}{where}: {said}") from error
    finally:
        for parameter in frozen:
            parameter.requires_grad_(False)
        for module, training in modes.items():
            module.training = training


def _behind(error: BaseException, model: nn.Module) -> str:
    """Say behind which layer torch-pruning stood when it failed: its innermost frame that looks at a node has it."""
    traceback, node = error.__traceback__, cast(Any, None)
    while traceback is not None:
        node = traceback.tb_frame.f_locals.get("node", node)
        traceback = traceback.tb_next
    names = {module: name for name, module in model.named_modules()}
    layers: list[Any] = [node] if hasattr(node, "inputs") else []
    seen = set[int]()
    for one in layers:
        if names.get(one.module):
            return f" behind {names[one.module]}"
        new = [source for source in one.inputs if id(source) not in seen]
        seen.update(map(id, new))
        layers.extend(new)
    return ""


def _mark_outputs(output: Any) -> list[Tensor]:
    return [leaf * 1 for leaf in tree_leaves(output) if isinstance(leaf, Tensor) and leaf.grad_fn is not None]


def _stand_in_pruner(tp: Any, trim: Trimmer) -> Any:
    """Return how torch-pruning prunes a stand-in: by trimming its pool."""

    class StandInPruner(tp.pruner.BasePruningFunc):
        def prune_out_channels(self, layer: PoolStandIn, idxs: Sequence[int]) -> nn.Module:
            gone = set(idxs)
            keep = [place for place in range(pool_channels(layer.pool)) if place not in gone]
            trim_pool(trim, layer.pool, keep)
            return layer

        prune_in_channels = prune_out_channels

        def get_out_channels(self, layer: PoolStandIn) -> int:
            return pool_channels(layer.pool)

        get_in_channels = get_out_channels

    return StandInPruner()
