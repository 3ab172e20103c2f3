"""From a graph to texts: the same each time, with the facts counted again."""

from __future__ import annotations

import re

import pytest

from sapool.firmware.generate import KERNEL_FOLDER, kernel_files, plan_program, write_source
from tests.firmware.random_networks import random_network


def test_the_same_network_gives_the_same_files() -> None:
    one, other = (write_source(plan_program(random_network(4), "net", "m7")) for _ in range(2))
    assert one == other
    assert {"net.h", "net.c", "net_weights.h", "net_weights.c", "sapool_base.h"} <= set(one.files)


def test_only_the_prefix_tells_two_names_apart() -> None:
    one, other = (write_source(plan_program(random_network(4), name, "m7")).files for name in ("net", "ten"))
    renamed = {
        name.replace("net", "ten"): text.replace("net_", "ten_").replace("NET_", "TEN_").replace('"net.h', '"ten.h')
        for name, text in one.items()
    }
    assert renamed == other


@pytest.mark.parametrize("seed", range(5))
def test_facts(seed: int) -> None:
    made = plan_program(random_network(seed), "net", "cortex-m4")
    macs = [sum(made.program.steps[n].macs for n in push) for push in made.schedule.pushes]
    assert made.facts.worst_push_macs == max(macs)
    assert sum(macs) == made.program.macs
    assert made.facts.pushes == made.program.stores[made.program.source].rows
    assert made.facts.steps == len(made.program.steps)
    assert made.facts.arena_bytes == made.plan.bytes < made.facts.ram_bytes
    assert not plan_program(random_network(seed), "net", "m0plus").facts.dsp


@pytest.mark.parametrize("seed", range(5))
def test_files_are_all_that_they_include(seed: int) -> None:
    made = plan_program(random_network(seed), "net", "cortex-m4")
    source = write_source(made)
    included = {name for text in source.files.values() for name in re.findall(r'#include "(.+?)"', text)}
    assert included == {name for name in source.files if name.endswith(".h")}
    assert len(source.steps) == made.facts.steps


def test_kernels_come_with_what_they_include() -> None:
    every = {path.name for path in KERNEL_FOLDER.glob("sapool_*.h")}
    for name in sorted(every):
        found = set(kernel_files({name.removeprefix("sapool_").removesuffix(".h")}))
        assert {name, "sapool_base.h"} <= found <= every
        for file in found:
            assert set(re.findall(r'#include "(.+?)"', (KERNEL_FOLDER / file).read_text())) <= found
