from __future__ import annotations

import json
from pathlib import Path

import pytest

from sapool.firmware.program import read_program
from sapool.tflite import write_graph
from tests.cli.commands import run
from tests.firmware.random_networks import random_network


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with net.tflite, no model.tflite, and labels of the wrong number."""
    made = tmp_path_factory.mktemp("build")
    (made / "net.tflite").write_bytes(write_graph(random_network(2)))
    (made / "bad.tflite").write_text("no model")
    (made / "labels.txt").write_text("only one\n")
    return made


def test_the_table_shows_the_programs_figures(folder: Path) -> None:
    done = run("build", "net.tflite", "--out", "shown", "--name", "net", cwd=folder)
    assert done.returncode == 0, done.stderr
    program = read_program(folder / "shown")
    assert "net for cortex-m4" in done.stdout
    for figure in (program.ram_bytes, program.stack_bytes, program.flash_bytes, program.macs):
        assert f"{figure:,}" in done.stdout
    assert {"net.c", "net.h"} <= {path.name for path in (folder / "shown").iterdir()}


def test_json_is_the_program_alone_and_the_image_costs_its_bytes(folder: Path) -> None:
    rows, image = (
        json.loads(run("build", "net.tflite", "--out", kind, "--input", kind, "--json", cwd=folder).stdout)["program"]
        for kind in ("rows", "image")
    )
    assert rows["macs"] == image["macs"]
    assert rows["input_shape"] == image["input_shape"]
    assert rows["ram_bytes"] <= image["ram_bytes"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("none.tflite",), "none.tflite: no such file"),
        (("bad.tflite",), "bad.tflite"),
        (("net.tflite", "--input", "lines"), "--input must be rows or image, got 'lines'"),
        (("net.tflite", "--recompute", "much"), "--recompute must be a share, such as 4% or 0.04, got 'much'"),
        (("net.tflite", "--recompute", "4%"), "recompute must be 0"),
        (("net.tflite", "--core", "z80"), "z80"),
        (("net.tflite", "--name", "3d"), "C identifier"),
        (("net.tflite", "--labels", "labels.txt"), "one a class"),
        (("net.tflite", "--core", "host", "--emulate", "1"), "--emulate needs a core that can be emulated"),
        (("sapool:tiney",), "sapool:tiny"),
    ],
)
def test_mistakes_are_one_line_exit_2_and_write_nothing(folder: Path, arguments: tuple[str, ...], said: str) -> None:
    done = run("build", *arguments, "--out", "wrong", cwd=folder)
    assert done.returncode == 2, done.stdout
    assert said in done.stderr
    assert done.stderr.strip().count("\n") == 0
    assert done.stdout == ""
    assert not (folder / "wrong").exists()
