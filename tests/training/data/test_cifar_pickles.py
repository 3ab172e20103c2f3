from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest

from sapool.training.data import DataError, read_source
from sapool.training.data.source_images import ArrayImages
from tests.training.data.written import pixels


class Harmful:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return (print, ("run",))


def write(folder: Path, protocol: int = 2) -> np.ndarray:
    """Write the Python version; protocol 2 with keys in bytes is what Python 2 left behind."""
    folder.mkdir()
    images = pixels(120, 3, 32, 32)
    for i, name in enumerate([*(f"data_batch_{k}" for k in range(1, 6)), "test_batch"]):
        part = images[20 * i : 20 * (i + 1)].reshape(20, 3072)
        batch = {b"data": part, b"labels": [k % 10 for k in range(20)]}
        (folder / name).write_bytes(pickle.dumps(batch, protocol=protocol))
    meta = {b"label_names": [f"thing{i}".encode() for i in range(10)]}
    (folder / "batches.meta").write_bytes(pickle.dumps(meta, protocol=protocol))
    return images


@pytest.mark.parametrize("protocol", [0, 2, 3, 4, 5])
def test_the_python_version(tmp_path: Path, protocol: int) -> None:
    images = write(tmp_path / "cifar-10-batches-py", protocol)
    for named in (f"cifar10:{tmp_path}", str(tmp_path)):
        _, source = read_source(named)
        train, test = source.splits["train"], source.splits["test"]
        assert isinstance(train, ArrayImages)
        assert isinstance(test, ArrayImages)
        np.testing.assert_array_equal(train.images, images[:100])
        np.testing.assert_array_equal(test.images, images[100:])
        assert test.labels.tolist() == [k % 10 for k in range(20)]
        assert source.classes[4] == "thing4"


def test_a_pickle_that_would_run_something_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "cifar-10-batches-py"
    write(folder)
    (folder / "data_batch_3").write_bytes(pickle.dumps({b"data": Harmful()}))
    with pytest.raises(DataError, match=r"data_batch_3: .* it asks for builtins.print, which is no array"):
        read_source(f"cifar10:{tmp_path}")
    assert capsys.readouterr().out == ""


def test_damaged_batches_are_named(tmp_path: Path) -> None:
    folder = tmp_path / "cifar-10-batches-py"
    write(folder)
    path = folder / "data_batch_1"
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(DataError, match="data_batch_1: not CIFAR's Python version"):
        read_source(f"cifar10:{tmp_path}")
    path.write_bytes(pickle.dumps({b"data": np.zeros((2, 5), np.uint8), b"labels": [1, 2]}))
    with pytest.raises(DataError, match=r"n x 3,072 bytes expected, found \(2, 5\)"):
        read_source(f"cifar10:{tmp_path}")
    path.write_bytes(b"\x80\x05\x96" + (1 << 60).to_bytes(8, "little"))  # a bytearray of 2^60 bytes
    with pytest.raises(DataError, match="data_batch_1: not CIFAR's Python version: cut off: 1,152,921,504"):
        read_source(f"cifar10:{tmp_path}")
    path.write_bytes(pickle.dumps({b"labels": [1]}))
    with pytest.raises(DataError, match="it has no 'data'"):
        read_source(f"cifar10:{tmp_path}")
    with pytest.raises(DataError, match="CIFAR-100 not found"):
        read_source(f"cifar100:{tmp_path}")
