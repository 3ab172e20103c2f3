"""A program's folder: what is written, what is refused, and the self-test with every compiler's warnings on."""

from __future__ import annotations

import subprocess
from pathlib import Path

import numpy as np
import pytest

from sapool.export import build_c
from sapool.firmware.program import BuildError, read_program
from sapool.tflite.write import write_graph
from tests.firmware.random_networks import random_network

STRICT = ("-Wall", "-Wextra", "-Wconversion", "-Wshadow", "-Wpedantic", "-Werror", "-fsanitize=address,undefined")


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("program") / "net.tflite"
    path.write_bytes(write_graph(random_network(2)))
    return path


@pytest.mark.parametrize(("compiler", "flags"), [("gcc", ("-std=c99",)), ("g++", ("-x", "c++", "-std=c++11"))])
def test_the_self_test_passes(network: Path, tmp_path: Path, compiler: str, flags: tuple[str, ...]) -> None:
    program = build_c(network, tmp_path / "made", name="net")
    files = [str(path) for path in program.paths] + [str(tmp_path / "made" / f) for f in ("net_selftest.c", "main.c")]
    command = [compiler, *STRICT, *flags, *files, "-o", str(tmp_path / "run")]
    subprocess.run(command, check=True)
    assert subprocess.run([str(tmp_path / "run")], check=False).returncode == 0


def test_two_networks_link_together(network: Path, tmp_path: Path) -> None:
    files = [str(path) for name in ("one", "NAME") for path in build_c(network, tmp_path / name, name=name).paths]
    (tmp_path / "main.c").write_text("int main(void) { return 0; }")
    subprocess.run(["gcc", *files, str(tmp_path / "main.c"), "-o", str(tmp_path / "run")], check=True)


def test_the_same_input_gives_the_same_files(network: Path, tmp_path: Path) -> None:
    build_c(network, tmp_path / "one")
    build_c(network, tmp_path / "two")
    names = sorted(path.name for path in (tmp_path / "one").iterdir())
    assert names == sorted(path.name for path in (tmp_path / "two").iterdir())
    assert all((tmp_path / "one" / n).read_bytes() == (tmp_path / "two" / n).read_bytes() for n in names)


def test_a_program_replaces_an_older_one_and_reads_back(network: Path, tmp_path: Path) -> None:
    build_c(network, tmp_path / "made", name="old")
    program = build_c(network, tmp_path / "made", name="fresh", stream_input=False)
    assert not (tmp_path / "made" / "old.c").exists()
    assert read_program(tmp_path / "made") == program


def test_rows_of_pixels_are_scaled_and_quantised(tmp_path: Path) -> None:
    graph = random_network(7)
    taken = graph.tensors[graph.inputs[0]]
    assert taken.shape[3] in (1, 3)
    (tmp_path / "net.tflite").write_bytes(write_graph(graph))
    build_c(tmp_path / "net.tflite", tmp_path / "made", mean=(0.5,), std=(0.25,))
    line = (tmp_path / "made" / "model_pixels.c").read_text().split("{\n  {")[1].split("}")[0]
    pixels = (np.arange(256) / 255 - 0.5) / 0.25 / taken.scale
    expected = np.clip(np.round(pixels) + taken.zero_point, -128, 127)
    assert np.abs(np.array([int(n) for n in line.split(",")]) - expected).max() <= 1


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"name": "3d"}, "C identifier"),
        ({"name": "int"}, "C identifier"),
        ({"name": "uint8"}, "a type that C has"),
        ({"labels": ('a"b',)}, "without quotes"),
        ({"labels": ("a\nb",)}, "without quotes"),
        ({"labels": ("a",)}, "one a class"),
        ({"core": "z80"}, "z80"),
        ({"project": "make"}, "choose from cmake"),
        ({"recompute": 0.1}, "recompute"),
    ],
)
def test_mistakes_are_one_line_and_write_nothing(
    network: Path, tmp_path: Path, wrong: dict[str, object], said: str
) -> None:
    with pytest.raises(ValueError, match=said) as raised:
        build_c(network, tmp_path / "made", **wrong)  # type: ignore[arg-type]
    assert "\n" not in str(raised.value)
    assert not (tmp_path / "made").exists()


def test_a_folder_that_holds_something_else_is_left_alone(network: Path, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(BuildError, match="something else"):
        build_c(network, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]
