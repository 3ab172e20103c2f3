from __future__ import annotations

from pathlib import Path

import pytest

from sapool.training.data import load_data
from tests.training.data.written import write_cifar10, write_classes, write_mnist


def test_bare_folders_are_recognised(tmp_path: Path) -> None:
    write_mnist(tmp_path / "m" / "KMNIST" / "raw")
    write_cifar10(tmp_path / "c" / "cifar-10-batches-bin")
    write_classes(tmp_path / "f", {"x": 8, "y": 8})
    assert [load_data(str(tmp_path / name), 8).num_classes for name in "mcf"] == [4, 10, 2]


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("scatered-digits", r"unknown data set 'scatered-digits': did you mean scattered-digits\?"),
        ("zzz", "unknown data set 'zzz': choose from scattered-digits, digits"),
        ("cifar:data", r"unknown data set 'cifar': did you mean cifar10"),
        ("cifar10", "cifar10 needs a folder: write cifar10:DIR"),
        ("cifar10:/no/where", "no such folder: /no/where"),
        ("stl10:", "no such folder: none is named"),
        ("/no/where", "data '/no/where': no such folder"),
        ("./where", "no such folder"),
        ("digits:/tmp", "digits come with scikit-learn: no folder is read"),
    ],
)
def test_wrong_sources(source: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        load_data(source, 32)


def test_a_coco_folder_is_no_folder_of_classes(tmp_path: Path) -> None:
    (tmp_path / "train").mkdir()
    (tmp_path / "annotations").mkdir()
    (tmp_path / "annotations" / "instances_train.json").write_text("{}")
    with pytest.raises(ValueError, match="boxes in COCO's format, no classes: sapool detect train --data"):
        load_data(str(tmp_path), 32)
