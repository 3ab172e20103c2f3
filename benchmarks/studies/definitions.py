"""What is compared: every study a question, every question a ``CompareConfig``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from sapool.training import TrainConfig
from sapool.workflows.compare import CompareConfig

Variants = Mapping[str, tuple[str, Mapping[str, Any]]]

KIB = 1024
POOLS = ("self_attentive", "avg", "max", "strided", "lip")
# The form of WACV 2023 (see SelfAttentivePool2d.paper) with its keys capped, and the one with the fewest operators.
PAPER = {
    "patch_size": 1, "window_norm": True, "max_keys": 256, "position_size": 256, "border": "stretch", "init": "random",
}  # fmt: skip
LEAN = {"num_heads": 1, "position": None}
FORMS: Variants = {
    "self_attentive, both": ("self_attentive", {"combine": "both"}),
    "self_attentive, paper": ("self_attentive", PAPER),
}

# Networks and epochs are sized to two cores: a run takes about half a minute on one.
BASE = CompareConfig(
    model="sapool:tiny_025",
    data="scattered-digits",
    input_size=64,
    pools=POOLS,
    variants=FORMS,
    ram_bytes=36 * KIB,
    flash_bytes=None,
    recipe=TrainConfig(epochs=20),
    tables=("budget",),
    eval_images=750,
    fragments=8,
    # The ladder of ever earlier down-sampling; the first rung that fits is taken.
    stride_choices=((2, 2, 2, 2), (4, 2, 2, 1), (4, 4, 1, 1), (8, 2, 1, 1)),
    int8_images=750,
)
DATA = {
    "digits": BASE,
    "fashion": replace(
        BASE, data="fashion-mnist", input_size=32, train_images=2000, fragments=None, ram_bytes=16 * KIB
    ),
    "scattered-fashion": replace(BASE, data="scattered-fashion-mnist", train_images=1000),
}
DATA |= {f"{name}-128px": replace(DATA[name], input_size=128) for name in ("digits", "scattered-fashion")}
# KiB. At 128 px maps outweigh the operators of a pool: 76 is too little for average pooling's latest strides and enough
# for the next ones with self-attentive pools, so that both have to shrink their maps as early.
BUDGETS = (
    ("digits", 48),
    ("fashion", 24),
    ("scattered-fashion", 48),
    ("digits", 36),
    ("fashion", 16),
    ("scattered-fashion", 36),
    ("digits-128px", 76),
    ("scattered-fashion-128px", 76),
)


@dataclass(frozen=True)
class Study:
    """One comparison: where its runs lie (two that differ in what is compared alone share a folder), and its place."""

    folder: str
    place: str
    config: CompareConfig


def _winners() -> dict[str, Study]:
    """Which pooling wins at equal measured RAM."""
    return {
        f"winner-{data}-{kib}k": Study(f"{data}-{kib}k", f"{data}, {kib} KiB", replace(DATA[data], ram_bytes=kib * KIB))
        for data, kib in BUDGETS
    }


EQUAL = replace(
    BASE,
    pools=("self_attentive", "avg", "max"),
    variants={},
    strides=(2, 2, 2, 2),
    stride_choices=None,
    ram_bytes=4096 * KIB,
)


EARLY = replace(EQUAL, strides=(8, 2, 1, 1))
EARLY_LONG = replace(EARLY, recipe=TrainConfig(epochs=60))

# One thing changed at a time, from EQUAL or from EARLY.
AXES: dict[str, dict[str, CompareConfig]] = {
    "epochs": {
        "10": replace(EQUAL, recipe=TrainConfig(epochs=10)),
        "20": EQUAL,
        "60": replace(EQUAL, recipe=TrainConfig(epochs=60)),
    },
    "training images": {"250": replace(EQUAL, train_images=250), "1000": EQUAL},
    "fragments": {"0": replace(EQUAL, fragments=0), "8": EQUAL, "24": replace(EQUAL, fragments=24)},
    "strides": {
        "2,2,2,2": EQUAL,
        "4,2,2,1": replace(EQUAL, strides=(4, 2, 2, 1)),
        "4,4,1,1": replace(EQUAL, strides=(4, 4, 1, 1)),
        "8,2,1,1": EARLY,
    },
    "epochs, strides 8,2,1,1": {"20": EARLY, "60": EARLY_LONG},
    "width": {"0.25": EQUAL, "0.5": replace(EQUAL, model="sapool:tiny_050")},
}


def _when() -> dict[str, Study]:
    """Same strides for all, one thing changed at a time; where axes meet there is one study."""
    found = {"when-equal": Study("equal", "", EQUAL)}
    for axis, places in AXES.items():
        for place, config in places.items():
            if all(study.config != config for study in found.values()):
                folder = f"{axis} {place}".replace(" ", "-").replace(",", "")
                found[f"when-{folder}"] = Study(folder, f"{axis}: {place}", config)
    return found


WHEN = _when()


def when_of(config: CompareConfig) -> str:
    """Return the name of the study that has a place of an axis."""
    return next(name for name, study in WHEN.items() if study.config == config)


# What each choice of the layer is worth: one changed at a time from the layer's defaults, but for the last three.
CHOICES: Variants = {
    label: ("self_attentive", kwargs)
    for label, kwargs in {
        "random start": {"init": "random"},
        "bilinear": {"restoration": "bilinear"},
        "pixel_shuffle": {"restoration": "pixel_shuffle"},
        "gain 4": {"gain": 4.0},
        "16 keys": {"max_keys": 16},
        "no position": {"position": None},
        "1 head": {"num_heads": 1},
        "separable": {"embedding": "separable"},
        "context": {"combine": "context"},
        "both": {"combine": "both"},
        "normalised": {"window_norm": True},
        "normalised, gain 4": {"window_norm": True, "gain": 4.0},
        "lean": LEAN,
    }.items()
}


def _choices() -> dict[str, Study]:
    """Choices show where much is thrown away at once; placements are tried at the strides that have a pool in each."""
    early = replace(EARLY, pools=("self_attentive", "avg"), recipe=TrainConfig(epochs=30))
    late = replace(EQUAL, pools=("self_attentive", "avg"))
    both = {"both": CHOICES["both"]}
    return {
        "choices": Study("early", "strides 8,2,1,1, 30 epochs", replace(early, variants=CHOICES)),
        "choices-long": Study(
            WHEN[when_of(EARLY_LONG)].folder,
            "strides 8,2,1,1, 60 epochs",
            replace(
                EARLY_LONG,
                pools=early.pools,
                variants={label: CHOICES[label] for label in ("gain 4", "context", "both")},
            ),
        ),
        "choices-paper": Study(
            "early",
            "strides 8,2,1,1, 30 epochs, the paper's form",
            replace(early, variants={"paper": ("self_attentive", PAPER)}),
        ),
        "choices-late": Study("equal", "strides 2,2,2,2, 20 epochs", replace(late, variants=both)),
        "choices-stage": Study("stage", "the same, behind the stage", replace(late, placement="stage", variants=both)),
        "choices-in-place": Study(
            "in-place", "the same, in the block", replace(late, placement="in-place", variants=both)
        ),
        "choices-one-site": Study(
            "one-site", "the same, at the second site only", replace(late, sites=("blocks.0",), variants=both)
        ),
    }


STUDIES: dict[str, Study] = {**_winners(), **_choices(), **WHEN}


def larger_budgets(study: Study) -> list[Study]:
    """Return the studies that differ from this one in a larger budget alone: what fits here is the same run there."""
    base = study.config.base()
    return [
        other
        for other in STUDIES.values()
        if other.config.ram_bytes > study.config.ram_bytes
        and other.config.base() | {"ram_bytes": study.config.ram_bytes} == base
    ]
