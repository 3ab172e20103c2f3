from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest
import torch
from torch import nn

from sapool import apply_plan, load_model, make_plan
from sapool.export import FILE_PASSES, PASSES
from sapool.memory import profile_tflite
from sapool.predict.profile import profile_memory, profile_passes


def test_a_file_is_profiled_by_what_it_holds(exported: Path) -> None:
    assert profile_memory(exported) == profile_tflite(exported)
    assert profile_memory(str(exported)) == profile_tflite(exported)


def test_a_network_is_profiled_without_being_changed() -> None:
    net = load_model("sapool:tiny", 10).train()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    small, large = profile_memory(net, 32, passes="none"), profile_memory(net, (3, 64, 64), passes="none")
    assert large.head_bytes == pytest.approx(4 * small.head_bytes, rel=0.1)
    assert large.tail_bytes == small.tail_bytes
    assert net.training
    assert all(torch.equal(before[name], value) for name, value in net.state_dict().items())
    assert small.by_operator[0].module == "stem.0"


def test_mobilenet_v2_has_the_figures_that_papers_quote() -> None:
    profile = profile_memory(load_model("torchvision:mobilenet_v2", 1000), 224)
    kib = {label: round(count / 1024) for label, count in profile.conventions.items()}
    assert kib["block in+out"] == 588
    assert kib["operator in+out, depthwise in place"] == 1372
    assert kib["operator in+out"] == 1470


class Branching(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x if x.mean() > 0 else -x


@pytest.mark.parametrize(
    ("model", "size", "said"),
    [
        (nn.Conv2d(3, 4, 1), None, "needs input_size"),
        (nn.Conv2d(3, 4, 1), 0, "at least 1"),
        (Branching(), 8, "torch.fx can't trace Branching"),
        ("nothing.tflite", None, "nothing.tflite: no such file"),
        ("nothing.tflite", 32, "has its own"),
        (3, 32, "torch.nn.Module or the path of a .tflite, got int"),
    ],
)
def test_mistakes_are_one_line(model: object, size: int | None, said: str) -> None:
    with pytest.raises(ValueError, match=said) as error:
        profile_memory(model, size)  # type: ignore[arg-type]
    assert "\n" not in str(error.value)


def test_what_each_pass_saves_adds_up_to_the_whole() -> None:
    net = load_model("sapool:tiny", 10)
    net = apply_plan(net, make_plan(net, 64, strides=[4, 2, 2, 1])).model
    steps = profile_passes(net, 64)
    assert [step.name for step in steps] == ["", *PASSES, *FILE_PASSES]
    assert steps[0].total_bytes == profile_memory(net, 64, passes="none").total_bytes
    assert steps[-1].total_bytes == profile_memory(net, 64).total_bytes
    saved = {step.name: before.total_bytes - step.total_bytes for before, step in pairwise(steps)}
    assert saved["merged_attention"] > 0
    assert saved["tile_prefix"] > 0
    assert min(saved[name] for name in FILE_PASSES) >= 0
