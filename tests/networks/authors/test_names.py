from __future__ import annotations

import pytest

from sapool.networks.authors import Architecture, Reduction, parse_name
from sapool.networks.authors.pools import TOKENS


def plain(*strides: int) -> tuple[Reduction, ...]:
    heads = (4, 8, 16, 32) if len(strides) == 4 else (2, 4, 8, 16, 32, 64, 128)
    return tuple(Reduction("skip", stride, count) for stride, count in zip(strides, heads, strict=True))


def test_a_name_without_pools() -> None:
    assert parse_name("resnet18-skip-1222") == Architecture("resnet18", plain(1, 2, 2, 2))
    assert parse_name("mobilenet-skip-4222121") == Architecture("mobilenet", plain(4, 2, 2, 2, 1, 2, 1))


@pytest.mark.parametrize(
    ("name", "heads"),
    [
        ("resnet50-nlp-1222", (4, 8, 16, 32)),
        ("resnext18-nlp-1222", (4, 8, 16, 32)),
        ("mobilenet_v2-nlp-1222121", (2, 4, 8, 16, 32, 64, 128)),
        ("mobilenetv3_small-nlp-22121111211", (2, 4, 8, 16, 32, 64, *[128] * 5)),
        ("mobilenetv3_large-nlp-121211211111211", (2, 4, 8, 16, 32, 64, *[128] * 9)),
        ("resnet18-nlp_headfix2-1222", (2, 2, 2, 2)),
        ("mobilenet-nlp_nowin_headfix2-1222121", (2,) * 7),
        ("resnet18-attnpool-1222", (2, 2, 2, 2)),
    ],
)
def test_heads_double_stage_by_stage_unless_fixed(name: str, heads: tuple[int, ...]) -> None:
    assert tuple(stage.num_heads for stage in parse_name(name).stages) == heads


@pytest.mark.parametrize(
    ("name", "patches"),
    [
        ("resnet18-nlp-2222", (1, 1, 1, 1)),
        ("resnet18-nlp_reduced-2222", (4, 2, 1, 1)),
        ("mobilenet-nlp_headfix2_nowin_reduced-1222121", (4, 4, 4, 2, 2, 1, 1)),
        ("resnet18-nlp_reduced0211-1222", (0, 2, 1, 1)),
        ("resnext18-dfmnlp_reduced0842-1222", (0, 8, 4, 2)),
    ],
)
def test_reduced_names_set_the_patches_and_keep_the_ratio(name: str, patches: tuple[int, ...]) -> None:
    stages = parse_name(name).stages
    assert tuple(stage.patch_size for stage in stages) == patches
    assert {stage.embed_ratio for stage in stages} == {1.0}


def test_nowin_reaches_the_stages_only() -> None:
    architecture = parse_name("prepool-nlp_headfix2_nowin-2-mobilenet_v2-nlp_nowin-1222121")
    assert {stage.window_norm for stage in architecture.stages} == {False}
    assert architecture.prepool == Reduction("nlp", 2, 2, patch_size=2, window_norm=True)
    assert {stage.window_norm for stage in parse_name("resnet18-nlp-1222").stages} == {True}


@pytest.mark.parametrize(
    ("token", "expected"),
    [
        ("nlp", Reduction("nlp", 4, 8, patch_size=2)),
        ("nlp_headfix2", Reduction("nlp", 4, 2, patch_size=2)),
        ("nlp_reduced", Reduction("nlp", 4, 8, patch_size=4, embed_ratio=0.25)),
        ("lip", Reduction("lip", 4, 8, patch_size=2)),
        ("skip", Reduction("skip", 4, 8, patch_size=2)),
    ],
)
def test_prepools_have_settings_of_their_own(token: str, expected: Reduction) -> None:
    architecture = parse_name(f"prepool-{token}-4-resnet18-skip-1222")
    assert architecture.prepool == expected
    assert architecture.stages == plain(1, 2, 2, 2)


@pytest.mark.parametrize("token", TOKENS)
def test_every_pooling_has_a_name(token: str) -> None:
    architecture = parse_name(f"prepool-{token}-4-resnet50_v2-{token}-1222")
    assert architecture.prepool is not None
    assert {architecture.prepool.pool, *(stage.pool for stage in architecture.stages)} == {token}
    assert [stage.is_pool for stage in architecture.stages] == [False, True, True, True]
    assert [stage.conv_stride for stage in architecture.stages] == [1, 1, 1, 1]


@pytest.mark.parametrize("word", ["noexp", "nosigmoid", "nope", "nobn1", "nobn2"])
def test_variants_may_be_spelled_apart(word: str) -> None:
    expected = parse_name(f"resnet18-nlp{word}_headfix2_nowin-1222")
    assert parse_name(f"resnet18-nlp_headfix2_nowin_{word}-1222") == expected
    assert expected.stages[1] == Reduction(f"nlp{word}", 2, 2, window_norm=False)


def test_strides_and_aliases() -> None:
    assert parse_name("resnet18-skip-4221").strides == (4, 2, 2, 1)
    assert parse_name("resnext-lip-1222") == parse_name("resnext18-lip-1222")
    prepool = parse_name("prepool-maxp-16-resnet18-skip-1222").prepool
    assert prepool is not None
    assert prepool.stride == 16
    skipped = parse_name("prepool-skip-1-mobilenet-skip-1222121").prepool
    assert skipped is not None
    assert not skipped.is_pool


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("resnet18", r"write \[prepool-POOL-STRIDE-\]BACKBONE-POOL-STRIDES, as in resnet18-nlp_headfix2-1222"),
        ("resnet18-nlp-2-skip-1222", "write "),
        ("postpool-nlp-2-resnet18-skip-1222", "write "),
        ("", "write "),
        ("resnet19-nlp-1222", "unknown backbone 'resnet19': did you mean resnet18"),
        ("vgg-nlp-1222", "unknown backbone 'vgg': choose from resnet18, resnet50"),
        ("resnet34-nlp-1222", "can't build resnet34: write resnet18 or resnet50"),
        ("resnext_v2-nlp-1222", "can't build resnext_v2: write resnext18"),
        ("mobilenetv3_small_v2-nlp-22121111211", "can't build mobilenetv3_small_v2: write mobilenetv3_small"),
        ("dyresnet18-skip-1222", r"dynamic convolution \('dyresnet18'\) is not built"),
        ("resnet18-dynlp-1222", r"dynamic convolution \('dynlp'\) is not built"),
        ("resnet18-nlq-1222", r"unknown pool 'nlq': did you mean nlp"),
        ("resnet18--1222", "unknown pool ''"),
        ("resnet18-nlp_headfix4-1222", "unknown modifier 'headfix4' of nlp: did you mean headfix2"),
        ("resnet18-nlp_-1222", "unknown modifier '' of nlp: choose from headfix2, nowin"),
        ("resnet18-dfmnlp_noexp-1222", "unknown modifier 'noexp' of dfmnlp"),
        ("resnet18-nlp_noexp_nope-1222", "unknown modifier 'nope' of nlpnoexp"),
        ("resnet18-lip_nowin-1222", "lip takes no nowin: leave it out"),
        ("resnet18-skip_headfix2-1222", "skip takes no headfix2: leave it out"),
        ("resnet18-nlp_nowin_nowin-1222", "nlp takes each modifier once"),
        ("resnet18-nlp_reduced_reduced0842-1222", "one of reduced, reduced0211, reduced0842, got"),
        ("resnet18-nlp-122", r"resnet18 takes 4 stride digits, one a stage, got '122' \(3\)"),
        ("resnet18-nlp-12x2", "takes 4 stride digits"),
        ("resnet18-nlp-12²2", "takes 4 stride digits"),
        ("mobilenet-nlp-2121", r"mobilenet takes 7 stride digits, one a stage, got '2121' \(4\)"),
        ("mobilenetv3_small-nlp-1222121", "mobilenetv3_small takes 11 stride digits"),
        ("mobilenetv3_large-nlp-1222121", "mobilenetv3_large takes 15 stride digits"),
        ("resnet18-nlp-1022", r"a stride must be 1 to 9 \(1 keeps the map's size\), got 0 in '1022'"),
        ("resnet18-nlp_reduced0211-2222", "reduced0211 has no patch for stage 1: its stride must be 1, got 2"),
        (
            "mobilenet-nlp_reduced0842-1222121",
            "reduced0842 has patches for 4 stages, this backbone has 7: leave it out",
        ),
        ("mobilenetv3_small-nlp_reduced-22121111211", "reduced has patches for 4 or 7 stages, this backbone has 11"),
        ("prepool-lip-1-resnet18-skip-1222", "prepool's stride must be a whole number, at least 2, got '1'"),
        ("prepool-skip-0-resnet18-skip-1222", "prepool's stride must be a whole number, at least 1, got '0'"),
        ("prepool-lip-two-resnet18-skip-1222", "at least 2, got 'two'"),
    ],
)
def test_names_outside_the_grammar_say_what_to_write(name: str, said: str) -> None:
    with pytest.raises(ValueError, match=said) as caught:
        parse_name(name)
    assert str(caught.value).startswith(f"authors' network {name!r}: ")
    assert "\n" not in str(caught.value)
