from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from sapool.detection import FeatureMaps, plan_backbone, planned_features, probe_features
from sapool.networks.load import load_model
from sapool.planning.plan import make_plan


class Thirds(nn.Module):
    """Maps of stride 3 and 6, whose border adds a row: sides are ceil(H / 3) + 1."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 4, 3, 3, 2), nn.Conv2d(4, 5, 2, 2)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        fine = self.first(x)
        return {"fine": fine, "coarse": self.second(fine)}


def test_strides_that_are_no_powers_of_two_are_found_under_borders() -> None:
    assert [(level.channels, level.stride) for level in probe_features(Thirds())] == [(4, 3), (5, 6)]


def test_a_map_without_a_stride_is_refused() -> None:
    class Fixed(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return nn.functional.adaptive_avg_pool2d(x, 7)

    with pytest.raises(ValueError, match=r"map 0 of the backbone has no stride.*7"):
        probe_features(Fixed())


def test_something_else_than_maps_is_refused() -> None:
    class Words(nn.Module):
        def forward(self, x: Tensor) -> list[object]:
            return [x, "a word"]

    with pytest.raises(ValueError, match="must return maps"):
        probe_features(Words())


@pytest.mark.parametrize("strides", [(2, 2, 2, 2), (2, 4, 2, 2), (4, 4, 1, 2)])
def test_real_maps_have_the_probed_strides(strides: tuple[int, ...]) -> None:
    backbone = load_model("sapool:tiny", 3)
    plan = plan_backbone(backbone, 128, "max", strides)
    maps = FeatureMaps(planned_features(backbone, 128, plan))
    for height, width in ((128, 128), (64, 192)):
        found = maps(torch.rand(1, 3, height, width))
        assert [tuple(x.shape[1:]) for x in found.values()] == [
            (level.channels, height // level.stride, width // level.stride) for level in maps.levels
        ]
    assert maps.levels[-1].stride == strides[0] * strides[1] * strides[2] * strides[3]


def test_the_levels_that_are_kept_are_the_coarsest() -> None:
    features = planned_features(load_model("sapool:tiny", 3), 64)
    assert [level.stride for level in FeatureMaps(features, 2).levels] == [8, 16]
    with pytest.raises(ValueError, match=r"levels must be 1 to 4 .*stride 2, 4, 8, 16.*got 5"):
        FeatureMaps(features, 5)


def test_a_cut_classifier_gives_what_its_own_layers_gave() -> None:
    model = load_model("sapool:tiny", 3).eval()
    kept: dict[str, Tensor] = {}
    for name in ("blocks.1", "head_act"):
        model.get_submodule(name).register_forward_hook(lambda m, i, out, name=name: kept.update({name: out.clone()}))
    x = torch.rand(1, 3, 64, 64)
    model(x)
    features = planned_features(model, 64).eval()
    maps = features(x)
    assert "classifier" not in dict(features.named_children())
    torch.testing.assert_close(maps[-1], kept["head_act"])
    assert any(m.shape == kept["head_act"].shape for m in maps)
    assert {m.shape[2] for m in maps} == {32, 16, 8, 4}


def test_one_map_and_no_list_is_a_backbone_too() -> None:
    maps = FeatureMaps(nn.Conv2d(3, 6, 2, 2))
    assert list(maps(torch.rand(1, 3, 8, 8))) == ["0"]
    assert maps.levels[0].stride == 2


def test_a_plan_that_keeps_every_stride_is_the_network_itself() -> None:
    model = load_model("sapool:tiny", 3).eval()
    x = torch.rand(1, 3, 64, 64)
    plain, strided = planned_features(model, 64), planned_features(model, 64, make_plan(model, 64, "strided"))
    for a, b in zip(plain.eval()(x), strided.eval()(x), strict=True):
        torch.testing.assert_close(a, b)


def test_a_plan_for_large_images_keeps_the_stem_strided_and_patches_as_large_as_strides() -> None:
    model = load_model("sapool:tiny", 3)
    plan = plan_backbone(model, (3, 256, 384), "self_attentive", (2, 4, 2, 2))
    assert [(site.conv_stride, site.pool_stride) for site in plan.sites] == [(2, 1), (2, 2), (1, 2), (1, 2)]
    assert [site.kwargs.get("patch_size") for site in plan.sites] == [None, 2, 2, 2]
    given = plan_backbone(model, 64, "self_attentive", patch_size=4)
    assert [site.kwargs.get("patch_size") for site in given.sites] == [None, 4, 4, 4]
