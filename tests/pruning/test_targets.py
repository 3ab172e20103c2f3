from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from sapool.predict.profile import profile_memory
from sapool.pruning import prune_channels
from sapool.pruning.costs import count_macs
from tests.pruning.networks import SIZE, Hourglass, check, network


def widths(pruned: Any) -> dict[str, tuple[int, int]]:
    return {change.name: (change.out_before, change.out_after) for change in pruned.record.layers}


def test_an_arena_is_met_at_the_peak_and_not_in_the_parameters() -> None:
    torch.manual_seed(0)
    model = Hourglass()
    before = profile_memory(model, 64, passes="none")
    limit = before.total_bytes - 8 * 1024
    pruned = prune_channels(model, 64, ram_bytes=limit, passes="none")
    check(model, pruned, 64)
    assert profile_memory(pruned.model, 64, passes="none").total_bytes <= limit
    changed = widths(pruned)
    assert changed["wide"] == (32, 24)  # 32 x 32 pixels: eight channels are the 8 KiB
    assert set(changed) == {"wide", "narrow"}  # the latter reads fewer
    assert pruned.record.after.parameters > 0.99 * pruned.record.before.parameters


def test_pruning_by_parameters_would_not_have_met_it() -> None:
    torch.manual_seed(0)
    model = Hourglass()
    before = profile_memory(model, 64, passes="none").total_bytes
    spared = prune_channels(model, 64, ratio=0.75, passes="none", exclude=["wide"])
    assert profile_memory(spared.model, 64, passes="none").total_bytes > before - 8 * 1024
    assert spared.record.after.parameters < 0.2 * spared.record.before.parameters


def test_the_least_possible_is_named_and_possible() -> None:
    model = network()
    with pytest.raises(ValueError, match="ram_bytes must be at least") as caught:
        prune_channels(model, SIZE, ram_bytes=1000, passes="none")
    least = int(str(caught.value).split("at least ")[1].split(", what")[0].replace(",", ""))
    pruned = prune_channels(model, SIZE, ram_bytes=least, passes="none")
    assert pruned.record.after.total_bytes == least
    assert pruned.record.before.total_bytes is not None
    with pytest.raises(ValueError, match="ram_bytes must be at least"):
        prune_channels(model, SIZE, ram_bytes=least - 1, passes="none")


def test_what_fits_already_stays() -> None:
    model = network()
    pruned = prune_channels(model, SIZE, ram_bytes=10**7, passes="none")
    assert pruned.record.layers == ()
    assert pruned.record.after == pruned.record.before
    assert count_macs(pruned.model, (3, SIZE, SIZE)) == count_macs(model, (3, SIZE, SIZE))


@pytest.mark.parametrize("steps", [1, 3])
def test_macs(steps: int) -> None:
    model, seen = network(), list[int]()

    def note(pruned: nn.Module, step: int) -> None:
        seen.append(count_macs(pruned, (3, SIZE, SIZE)))

    limit = 500_000
    pruned = prune_channels(model, SIZE, macs=limit, iterative_steps=steps, after_step=note, passes="none")
    after = pruned.record.after.macs
    assert after is not None
    assert 0.8 * limit < after <= limit  # not far more than asked for
    assert seen == sorted(seen, reverse=True)
    assert len(seen) == steps - 1
    assert all(macs > after for macs in seen)


@pytest.mark.slow
def test_an_arena_with_pools_and_with_tiles() -> None:
    for model, passes in ((network(pool="self_attentive"), "none"), (network(), "all")):
        start = profile_memory(model, SIZE, passes=passes).total_bytes
        pruned = prune_channels(model, SIZE, ram_bytes=int(0.85 * start), passes=passes)
        check(model, pruned)
        assert profile_memory(pruned.model, SIZE, passes=passes).total_bytes <= 0.85 * start
        assert pruned.record.settings["passes"] == passes
