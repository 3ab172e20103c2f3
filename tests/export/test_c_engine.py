from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from sapool.export import run_images
from sapool.export.c_engine import _right_outputs, as_identifier, build_beside, build_c
from sapool.firmware.program import BuildError, read_program
from sapool.tflite import TfliteError, read_graph, write_graph
from tests.conftest import images
from tests.firmware.random_networks import random_network
from tests.memory.handmade import Tensor, build, single


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("c_engine") / "net.tflite"
    path.write_bytes(write_graph(random_network(2)))
    return path


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("mobilenet", "mobilenet"),
        ("timm:resnet-18", "timm_resnet_18"),
        ("3d", "net_3d"),
        ("_x", "net__x"),
        ("sapool:tiny", "net_sapool_tiny"),
        ("", "net_"),
        ("zwölf", "zw_lf"),
    ],
)
def test_any_text_becomes_a_name_that_c_takes(text: str, name: str) -> None:
    assert as_identifier(text) == name
    assert re.fullmatch(r"[A-Za-z][A-Za-z0-9_]*", as_identifier(text))


def test_the_judge_is_the_interpreter(exported: Path) -> None:
    taken = read_graph(exported).tensors[read_graph(exported).inputs[0]]
    shown = images(3)
    given = np.clip(np.round(shown.permute(0, 2, 3, 1).numpy() / taken.scale) + taken.zero_point, -128, 127)
    (right,) = _right_outputs(exported, given.astype(np.int8))
    assert right.shape == (3, 4)
    np.testing.assert_array_equal(right.view(np.int8), run_images(exported, shown, "tflm"))


def test_beside_an_export_labels_that_c_cannot_hold_are_left_out(network: Path, tmp_path: Path) -> None:
    classes = read_graph(network).tensors[read_graph(network).outputs[0]].elements
    good = [f"class {place}" for place in range(classes)]
    kept = build_beside(network, tmp_path / "kept", labels=good)
    left = build_beside(network, tmp_path / "left", labels=[*good[:-1], 'a"b'])
    assert not isinstance(kept, str)
    assert not isinstance(left, str)
    assert "class 0" in "".join(path.read_text() for path in kept.paths)
    assert "class 0" not in "".join(path.read_text() for path in left.paths)
    assert read_program(tmp_path / "left") == left


def test_beside_an_export_an_operator_without_a_kernel_is_named(tmp_path: Path) -> None:
    (tmp_path / "net.tflite").write_bytes(build(single("COS", [Tensor((1, 4))], [Tensor((1, 4))])))
    said = build_beside(tmp_path / "net.tflite", tmp_path / "made")
    assert isinstance(said, str)
    assert "COS" in said
    assert not (tmp_path / "made").exists()


def test_mistakes_write_nothing(network: Path, tmp_path: Path) -> None:
    with pytest.raises(BuildError, match=r"recompute must be 0: nothing is computed twice yet, got 0\.5"):
        build_c(network, tmp_path / "made", recompute=0.5)
    (tmp_path / "bad.tflite").write_text("no model")
    with pytest.raises(TfliteError, match=r"bad\.tflite"):
        build_c(tmp_path / "bad.tflite", tmp_path / "made")
    assert not (tmp_path / "made").exists()
