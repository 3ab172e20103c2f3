"""Names of the WACV 2023 authors' networks: ``[prepool-POOL-STRIDE-]BACKBONE-POOL-STRIDES``."""

from __future__ import annotations

import re
from dataclasses import dataclass

from sapool.base.suggest import suggest
from sapool.networks.authors.pools import DEFORMED, SELF_ATTENTIVE, TOKENS

BACKBONES = {
    "resnet18": 4,
    "resnet50": 4,
    "resnet18_v2": 4,
    "resnet50_v2": 4,
    "resnext18": 4,
    "mobilenet": 7,
    "mobilenet_v2": 7,
    "mobilenetv3_small": 11,
    "mobilenetv3_large": 15,
}
"""Stride digits that each backbone takes, one a stage."""

_ALIASES = {"resnext": "resnext18"}

_NOT_BUILDABLE = {
    "resnet34": "the authors' code can't build resnet34: write resnet18 or resnet50",
    "resnext_v2": "the authors' code can't build resnext_v2: write resnext18, which pools where resnet18_v2 does",
    "resnext18_v2": "the authors' code can't build resnext18_v2: write resnext18, which pools where resnet18_v2 does",
    "mobilenetv3_small_v2": "the authors' code can't build mobilenetv3_small_v2: write mobilenetv3_small",
    "mobilenetv3_large_v2": "the authors' code can't build mobilenetv3_large_v2: write mobilenetv3_large",
}

SKIP = "skip"
"""The token of a strided convolution: no pooling layer."""

_ATTENTIVE = (*SELF_ATTENTIVE, *DEFORMED)
_VARIANTS = tuple(token.removeprefix("nlp") for token in SELF_ATTENTIVE if token != "nlp")

_PATCHES: dict[str, dict[int, tuple[int, ...]]] = {
    "reduced": {4: (4, 2, 1, 1), 7: (4, 4, 4, 2, 2, 1, 1)},
    "reduced0211": {4: (0, 2, 1, 1)},
    "reduced0842": {4: (0, 8, 4, 2)},
}
_MODIFIERS = ("headfix2", "nowin", *_PATCHES)

_RULE = "write [prepool-POOL-STRIDE-]BACKBONE-POOL-STRIDES, as in resnet18-nlp_headfix2-1222"


@dataclass(frozen=True)
class Reduction:
    """One place where a network may reduce its map.

    ``stride`` is the reduction; 1 leaves the map alone. ``pool`` is one of ``pools.TOKENS`` or :data:`SKIP`. What
    follows are that pool's settings, most pools ignore some; a ``patch_size`` of 0 stands where there is no pool.
    """

    pool: str
    stride: int
    num_heads: int = 2
    patch_size: int = 1
    embed_ratio: float = 1.0
    window_norm: bool = True

    @property
    def conv_stride(self) -> int:
        """Stride of the convolution there."""
        return self.stride if self.pool == SKIP else 1

    @property
    def is_pool(self) -> bool:
        """Whether a pooling layer stands there."""
        return self.pool != SKIP and self.stride > 1


@dataclass(frozen=True)
class Architecture:
    """One of the authors' networks: a backbone, what reduces the map in each of its stages, and in its stem.

    ``prepool`` is ``None`` for the backbone's usual stem.
    """

    backbone: str
    stages: tuple[Reduction, ...]
    prepool: Reduction | None = None

    @property
    def strides(self) -> tuple[int, ...]:
        """Reduction of each stage, the stem not counted."""
        return tuple(stage.stride for stage in self.stages)


@dataclass(frozen=True)
class _PoolName:
    kind: str
    modifiers: tuple[str, ...]

    @property
    def patches(self) -> str | None:
        """The modifier that sets the patches, if any."""
        return next((word for word in self.modifiers if word in _PATCHES), None)


def parse_name(name: str) -> Architecture:
    """Read a network's name.

    Args:
        name: ``[prepool-POOL-STRIDE-]BACKBONE-POOL-STRIDES``, as in ``mobilenet_v2-nlp_headfix2_nowin-1222121``.

    Raises:
        ValueError: the name breaks the grammar, or names a network that can't be built; the message says which part,
            the rule and what to write instead.
    """
    parts = name.split("-")
    try:
        if len(parts) == 6 and parts[0] == "prepool":
            return Architecture(*_parse_stages(*parts[3:]), _parse_prepool(parts[1], parts[2]))
        if len(parts) == 3:
            return Architecture(*_parse_stages(*parts))
        raise ValueError(_RULE)
    except ValueError as error:
        raise ValueError(f"authors' network {name!r}: {error}") from None


def _parse_stages(backbone: str, pool: str, digits: str) -> tuple[str, tuple[Reduction, ...]]:
    backbone, pooling = _check_backbone(backbone), _parse_pool(pool)
    strides = _parse_strides(backbone, digits)
    patches = _patch_sizes(pooling.patches, strides)
    steps = zip(strides, _head_counts(pooling, len(strides)), patches, strict=True)
    window_norm = "nowin" not in pooling.modifiers
    stages = tuple(
        Reduction(pooling.kind, stride, heads, patch, window_norm=window_norm) for stride, heads, patch in steps
    )
    return backbone, stages


def _parse_prepool(pool: str, digits: str) -> Reduction:
    pooling = _parse_pool(pool)
    least = 1 if pooling.kind == SKIP else 2
    stride = int(digits) if re.fullmatch("[0-9]+", digits) else 0
    if stride < least:
        raise ValueError(f"the prepool's stride must be a whole number, at least {least}, got {digits!r}")
    heads = 2 if "headfix2" in pooling.modifiers or pooling.kind == "attnpool" else 8
    # The authors' code reads nowin from the stages' pool alone, so a prepool is normalised whatever its name says.
    if pooling.patches:
        return Reduction(pooling.kind, stride, heads, patch_size=stride, embed_ratio=0.25)
    return Reduction(pooling.kind, stride, heads, patch_size=2)


def _check_backbone(backbone: str) -> str:
    _refuse_dynamic(backbone)
    if backbone in _NOT_BUILDABLE:
        raise ValueError(_NOT_BUILDABLE[backbone])
    if backbone not in BACKBONES and backbone not in _ALIASES:
        raise ValueError(f"unknown backbone {backbone!r}: {suggest(backbone, BACKBONES)}")
    return _ALIASES.get(backbone, backbone)


def _parse_pool(text: str) -> _PoolName:
    _refuse_dynamic(text)
    kinds = [kind for kind in (SKIP, *TOKENS) if f"{text}_".startswith(f"{kind}_")]
    if not kinds:
        raise ValueError(f"unknown pool {text!r}: {suggest(text, (SKIP, *TOKENS))}")
    kind = kinds[0]
    words = tuple(text[len(kind) + 1 :].split("_")) if text != kind else ()
    variant = next((word for word in words if word in _VARIANTS), None)
    if variant and kind == "nlp":
        kind, words = f"nlp{variant}", tuple(word for word in words if word != variant)
    _check_modifiers(kind, words)
    return _PoolName(kind, words)


def _check_modifiers(kind: str, words: tuple[str, ...]) -> None:
    for word in words:
        if word not in _MODIFIERS:
            raise ValueError(f"unknown modifier {word!r} of {kind}: {suggest(word, _MODIFIERS)}")
        if kind not in _ATTENTIVE:
            raise ValueError(f"{kind} takes no {word}: leave it out")
    if len(set(words)) < len(words) or sum(word in _PATCHES for word in words) > 1:
        raise ValueError(f"{kind} takes each modifier once and one of {', '.join(_PATCHES)}, got {'_'.join(words)!r}")


def _parse_strides(backbone: str, digits: str) -> tuple[int, ...]:
    count = BACKBONES[backbone]
    if not re.fullmatch("[0-9]+", digits) or len(digits) != count:
        raise ValueError(f"{backbone} takes {count} stride digits, one a stage, got {digits!r} ({len(digits)})")
    if "0" in digits:
        raise ValueError(f"a stride must be 1 to 9 (1 keeps the map's size), got 0 in {digits!r}")
    return tuple(int(digit) for digit in digits)


def _head_counts(pooling: _PoolName, stages: int) -> tuple[int, ...]:
    if "headfix2" in pooling.modifiers or pooling.kind == "attnpool":
        return (2,) * stages
    first = 4 if stages == 4 else 2
    return tuple(min(first * 2**stage, 128) for stage in range(stages))


def _patch_sizes(modifier: str | None, strides: tuple[int, ...]) -> tuple[int, ...]:
    if modifier is None:
        return (1,) * len(strides)
    by_stages = _PATCHES[modifier]
    if len(strides) not in by_stages:
        counts = " or ".join(map(str, by_stages))
        raise ValueError(f"{modifier} has patches for {counts} stages, this backbone has {len(strides)}: leave it out")
    for stage, (patch, stride) in enumerate(zip(by_stages[len(strides)], strides, strict=True), start=1):
        if patch == 0 and stride > 1:
            raise ValueError(f"{modifier} has no patch for stage {stage}: its stride must be 1, got {stride}")
    return by_stages[len(strides)]


def _refuse_dynamic(text: str) -> None:
    if text.startswith("dy"):
        raise ValueError(f"dynamic convolution ({text!r}) is not built, as its layout isn't known: leave out the 'dy'")
