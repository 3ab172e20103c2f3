from __future__ import annotations

import torch

from sapool.pruning.groups import ChannelGroups, KeptChannels
from tests.pruning.networks import SIZE, network


def test_kept_places_are_those_of_the_original_channels() -> None:
    kept = KeptChannels()
    kept.keep("a", "out", [0, 2, 3], 4)
    before = kept.copy()
    kept.keep("a", "out", [1, 2], 3)
    assert kept.places == {"a": {"out": [2, 3]}}
    assert before.places == {"a": {"out": [0, 2, 3]}}


def test_a_residual_couples_what_it_adds() -> None:
    groups = ChannelGroups(network(), torch.rand(1, 3, SIZE, SIZE), exclude=("head",))
    members = {group.name: group.members for group in groups.groups}
    assert not any("head" in name or name == "classifier" for name in members)  # excluded, and the outputs
    added = {"blocks.0.project.0", "blocks.0.project.1", "blocks.1.project.0", "blocks.1.expand.0", "blocks.2.expand.0"}
    assert [added <= set(names) for names in members.values()].count(True) == 1
    assert all(added <= set(names) for names in members.values() if "blocks.0.project.1" in names)
    depthwise = {name for names in members.values() for name in names if name.endswith("depthwise.0")}
    assert len(depthwise) == 5


def test_a_trial_is_taken_back() -> None:
    model = network(pool="avg")
    x = torch.rand(2, 3, SIZE, SIZE)
    expected = model(x)
    groups = ChannelGroups(model, x[:1])
    group = groups.groups[0]
    count = groups.positions(group)
    with groups.trial():
        groups.remove(group, range(0, count, 2))
        assert groups.positions(group) == count // 2
        assert model(x).shape == expected.shape
        assert groups.kept.places
    assert groups.positions(group) == count
    assert groups.kept.places == {}
    assert torch.equal(model(x), expected)
