"""What a model runs on: the core, whose kernels, and what its memory leaves for a model."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any, Literal, get_args

from sapool.base.suggest import suggest

Kernels = Literal["cmsis-nn", "esp-nn", "reference", "none"]
Simd = Literal["none", "dsp", "mve"]


@dataclass(frozen=True)
class Target:
    """A kind of micro-controller. Its memory is that of one usual chip of the kind; a board has its own.

    Attributes:
        name: ``cortex-m4``.
        core: in words.
        kernels: whose kernels the interpreter runs; ``"none"``: TensorFlow Lite Micro does not run there.
        simd: instructions that CMSIS-NN's kernels use: none, Armv7E-M's DSP ones, Helium (MVE).
        ram_bytes: RAM of the chip.
        flash_bytes: flash of the chip or module.
        reserved_ram_bytes: what a usual firmware takes of it: stack, HAL, RTOS, radio.
        reserved_flash_bytes: code of interpreter and kernels. Application and RTOS are not in it.
        scratch_counted: whether :mod:`sapool.memory.verdict` knows what the kernels ask the arena for.
        sources: field -> where the figure is from; ``core`` also speaks for kernels and simd.
    """

    name: str
    core: str
    kernels: Kernels
    simd: Simd
    ram_bytes: int
    flash_bytes: int
    reserved_ram_bytes: int
    reserved_flash_bytes: int
    scratch_counted: bool
    sources: Mapping[str, str]

    def __post_init__(self) -> None:
        """Check the data file.

        Raises:
            ValueError: unknown kernels or instructions, or no memory left.
        """
        if self.kernels not in get_args(Kernels) or self.simd not in get_args(Simd):
            raise ValueError(f"target {self.name}: unknown kernels {self.kernels!r} or instructions {self.simd!r}")
        check_memory(f"target {self.name}", self.ram_bytes, self.flash_bytes, self.reserved_ram_bytes)


def check_memory(what: str, ram_bytes: int, flash_bytes: int, reserved_ram_bytes: int) -> None:
    """Raise a ValueError if a chip's memory makes no sense."""
    if not 0 <= reserved_ram_bytes < ram_bytes or flash_bytes <= 0:
        raise ValueError(
            f"{what}: RAM must exceed what is reserved of it and flash must be positive, got "
            f"{ram_bytes}, {reserved_ram_bytes} and {flash_bytes} bytes"
        )


@cache
def read_data() -> Mapping[str, Any]:
    """Return the tables of the package's ``boards.toml``: sources, targets, boards."""
    return tomllib.loads(files("sapool.memory").joinpath("boards.toml").read_text(encoding="utf-8"))


def _target(name: str, row: Mapping[str, Any]) -> Target:
    sources = read_data()["sources"]
    return Target(
        name=name,
        core=row["core"],
        kernels=row["kernels"],
        simd=row["simd"],
        ram_bytes=row["ram"],
        flash_bytes=row["flash"],
        reserved_ram_bytes=row["reserved_ram"],
        reserved_flash_bytes=row["reserved_flash"],
        scratch_counted=row.get("scratch", True),
        sources={field: sources[key] for field, key in row["sources"].items()},
    )


TARGETS: Mapping[str, Target] = {name: _target(name, row) for name, row in read_data()["targets"].items()}
"""Every target by name."""


def get_target(name: str) -> Target:
    """Return a target by name, in any case.

    Raises:
        ValueError: there is none of that name; the message says which are near.

    >>> get_target("cortex-m4").simd
    'dsp'
    """
    key = name.strip().lower()
    if key not in TARGETS:
        raise ValueError(f"unknown target {name!r}: {suggest(key, TARGETS)}")
    return TARGETS[key]
