from __future__ import annotations

import gzip
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import torch

from sapool.training.data import DataError, load_data, read_source
from sapool.training.data.binary_files import DEBIAN_FASHION, read_idx
from sapool.training.data.source_images import ArrayImages, SourceImages
from tests.training.data.written import Bytes, pixels, write_cifar10, write_idx, write_mnist, write_stl10


def arrays(images: SourceImages) -> Bytes:
    assert isinstance(images, ArrayImages)
    return images.images


@pytest.mark.parametrize("ending", ["", ".gz"])
@pytest.mark.parametrize("place", [".", "raw", "MNIST/raw"])
def test_idx_in_every_layout(tmp_path: Path, ending: str, place: str) -> None:
    made = write_mnist(tmp_path / place, ending)
    _, source = read_source(f"idx:{tmp_path}")
    assert source.classes == ("0", "1", "2", "3")
    for split, images in made.items():
        np.testing.assert_array_equal(arrays(source.splits[split])[:, 0], images)
        assert source.splits[split].labels.tolist() == [i % 4 for i in range(len(images))]


def test_what_an_item_shows_is_what_was_written(tmp_path: Path) -> None:
    write_mnist(tmp_path, train=40)
    for path in tmp_path.glob("*images*"):
        write_idx(path, pixels(40 if "train" in path.name else 8, 6, 6))
    data = load_data(str(tmp_path), 6)
    assert (data.num_classes, data.images_per_epoch, len(data.val), len(data.test)) == (4, 36, 4, 8)  # type: ignore[arg-type]
    written = {image.tobytes() for image in pixels(40, 6, 6)}
    for image, _ in (data.train[0], data.val[3]):
        assert image.dtype == torch.float32
        assert torch.equal(image[0], image[2])
        assert (image[0] * 255).round().to(torch.uint8).numpy().tobytes() in written


def test_damaged_idx_says_what_was_expected(tmp_path: Path) -> None:
    path = tmp_path / "x-idx3-ubyte"
    write_idx(path, pixels(4, 5, 6))
    path.write_bytes(path.read_bytes()[:-7])
    with pytest.raises(DataError, match=r"x-idx3-ubyte: 136 bytes expected for 4 x 5 x 6, found 129"):
        read_idx(path)
    path.write_bytes(b"GIF89a")
    with pytest.raises(DataError, match="not an IDX file of unsigned bytes: it starts with 47 49 46 38"):
        read_idx(path)
    zipped = tmp_path / "y.gz"
    zipped.write_bytes(gzip.compress(b"\0\0\x08\x01" + (896).to_bytes(4, "big") + bytes(896))[:-9])
    with pytest.raises(DataError, match=r"y\.gz: damaged gzip file"):
        read_idx(zipped)


def test_a_small_file_does_not_become_a_large_one(tmp_path: Path) -> None:
    path = tmp_path / "x-idx3-ubyte.gz"
    zeros = bytes(1 << 20)
    tracemalloc.start()
    try:
        for shape, said in {
            (4, 5, 6): "136 bytes expected for 4 x 5 x 6, found more",
            (60_000, 320, 320): r"6,144,000,016 bytes expected .* at most 1,073,741,824 are read",
            (1 << 31, 1 << 31, 1 << 31): "at most 1,073,741,824 are read",
        }.items():
            with gzip.open(path, "wb") as file:
                file.write(bytes([0, 0, 8, 3]) + b"".join(n.to_bytes(4, "big") for n in shape))
                for _ in range(60):
                    file.write(zeros)
            assert path.stat().st_size < 1 << 20
            with pytest.raises(DataError, match=said):
                read_idx(path)
        assert tracemalloc.get_traced_memory()[1] < 20 << 20
    finally:
        tracemalloc.stop()


def test_idx_files_at_odds(tmp_path: Path) -> None:
    write_mnist(tmp_path)
    write_idx(tmp_path / "t10k-labels-idx1-ubyte", np.zeros(8, np.uint8))
    with pytest.raises(DataError, match="classes differ between splits: train has '1', '2', '3', test has not"):
        load_data(f"idx:{tmp_path}", 8)
    write_idx(tmp_path / "t10k-labels-idx1-ubyte", np.zeros(7, np.uint8))
    with pytest.raises(DataError, match="8 images and 7 labels of t10k"):
        load_data(f"idx:{tmp_path}", 8)
    (tmp_path / "t10k-labels-idx1-ubyte").unlink()
    with pytest.raises(DataError, match=r"t10k-labels-idx1-ubyte \(or t10k-labels-idx1-ubyte.gz\) is missing"):
        load_data(f"idx:{tmp_path}", 8)


def test_two_data_sets_in_a_folder_need_a_choice(tmp_path: Path) -> None:
    write_mnist(tmp_path / "KMNIST" / "raw")
    write_mnist(tmp_path / "QMNIST" / "raw")
    with pytest.raises(DataError, match=r"more than one data set: .*KMNIST/raw, .*QMNIST/raw"):
        load_data(f"idx:{tmp_path}", 8)


@pytest.mark.slow
@pytest.mark.skipif(not DEBIAN_FASHION.is_dir(), reason="Debian's dataset-fashion-mnist is not installed")
def test_debians_fashion_mnist() -> None:
    data = load_data("fashion-mnist", 28)
    assert (len(data.train), len(data.val), len(data.test)) == (54_000, 6_000, 10_000)  # type: ignore[arg-type]
    assert data.classes[9] == "Ankle boot"
    _, source = read_source("fashion-mnist")
    first = arrays(source.splits["train"])[0, 0]
    raw = gzip.decompress((DEBIAN_FASHION / "train-images-idx3-ubyte.gz").read_bytes())
    assert first.tobytes() == raw[16 : 16 + 784]
    scattered = load_data("scattered-fashion-mnist", 48, train_images=100, fragments=0)
    image, _ = scattered.train[0]
    assert scattered.images_per_epoch == 100
    shown = (image[0] * 255).round().to(torch.uint8).numpy()
    whole = {picture.tobytes() for picture in arrays(source.splits["train"])[:, 0]}
    assert any(shown[r : r + 28, c : c + 28].tobytes() in whole for r in range(21) for c in range(21))


def test_cifar10_binary(tmp_path: Path) -> None:
    made = write_cifar10(tmp_path / "cifar-10-batches-bin")
    for named in (f"cifar10:{tmp_path}", str(tmp_path), f"cifar10:{tmp_path}/cifar-10-batches-bin"):
        _, source = read_source(named)
        assert source.classes[3] == "thing3"
        for split, images in made.items():
            np.testing.assert_array_equal(arrays(source.splits[split]), images)
        assert source.splits["train"].labels.tolist() == [i % 20 % 10 for i in range(100)]


def test_cifar100_binary_has_a_coarse_label_first(tmp_path: Path) -> None:
    images = pixels(200, 3, 32, 32)
    for name in ("train.bin", "test.bin"):
        raw = b"".join(bytes([7, i % 100]) + image.tobytes() for i, image in enumerate(images))
        (tmp_path / name).write_bytes(raw)
    _, source = read_source(f"cifar100:{tmp_path}")
    np.testing.assert_array_equal(arrays(source.splits["test"]), images)
    assert source.splits["test"].labels.tolist() == [i % 100 for i in range(200)]
    (tmp_path / "train.bin").unlink()
    with pytest.raises(DataError, match=r"train\.bin: no such file"):
        read_source(f"cifar100:{tmp_path}")


def test_bad_labels_are_refused_or_counted(tmp_path: Path) -> None:
    folder = tmp_path / "cifar-10-batches-bin"
    write_cifar10(folder)
    path = folder / "data_batch_2.bin"
    raw = bytearray(path.read_bytes())
    raw[3073 * 4] = 77
    path.write_bytes(raw)
    with pytest.raises(DataError, match="record 24 has label 77, labels are 0 to 9"):
        load_data(f"cifar10:{tmp_path}", 32)
    data = load_data(f"cifar10:{tmp_path}", 32, skip_bad=True)
    assert data.skipped == {"train": 1, "val": 0, "test": 0}
    assert data.images_per_epoch == 99 - 10


def test_truncated_cifar_and_stl10(tmp_path: Path) -> None:
    write_cifar10(tmp_path / "cifar-10-batches-bin")
    path = tmp_path / "cifar-10-batches-bin" / "test_batch.bin"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(DataError, match=r"test_batch.bin: a whole number of records of 3,073 bytes .* 61,459 bytes"):
        load_data(str(tmp_path), 32)
    (tmp_path / "cifar-10-batches-bin" / "data_batch_3.bin").unlink()
    with pytest.raises(DataError, match=r"data_batch_3\.bin: no such file"):
        load_data(str(tmp_path), 32)


def test_stl10_is_stored_column_by_column(tmp_path: Path) -> None:
    made = write_stl10(tmp_path / "stl10_binary")
    (tmp_path / "stl10_binary" / "class_names.txt").write_text("\n".join(f"animal{i}" for i in range(10)))
    for named in (f"stl10:{tmp_path}", str(tmp_path), f"stl10:{tmp_path}/stl10_binary"):
        _, source = read_source(named)
        for split, images in made.items():
            np.testing.assert_array_equal(arrays(source.splits[split]), images)
        assert source.classes[0] == "animal0"
        assert source.splits["test"].labels.tolist() == list(range(10))
    (tmp_path / "stl10_binary" / "test_y.bin").write_bytes(bytes(9 * [1] + [0]))
    with pytest.raises(DataError, match="record 9 has label 0, labels are 1 to 10"):
        load_data(f"stl10:{tmp_path}", 96)
    (tmp_path / "stl10_binary" / "test_y.bin").write_bytes(bytes(9 * [1]))
    with pytest.raises(DataError, match="10 images and 9 labels of test"):
        load_data(f"stl10:{tmp_path}", 96)
