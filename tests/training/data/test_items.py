from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch.utils.data import DataLoader, default_collate

from sapool.training import gather
from sapool.training.data import Batch, collate, load_data
from tests.training.data.written import write_cifar10


def test_canvases_can_be_augmented_and_normalised() -> None:
    plain = load_data("scattered-digits", 32)
    half = ((0.5,) * 3, (0.5,) * 3)
    normalised = load_data("scattered-digits", 32, mean=half[0], std=half[1])
    torch.testing.assert_close(normalised.val[3][0], plain.val[3][0] * 2 - 1)
    flipped = load_data("scattered-digits", 32, augment=("flip",))
    kinds = set()
    for i in range(12):
        image, same = flipped.train[i][0], plain.train[i][0]
        near = [torch.allclose(image, form, atol=0.5 / 255 + 1e-6) for form in (same, same.flip(2))]
        assert any(near)
        kinds.add(near.index(True))
    assert kinds == {0, 1}
    (calibration,) = flipped.calibration(12)
    assert torch.equal(calibration, gather(plain.train, 12)[0])


def test_a_batch_is_its_items(tmp_path: Path) -> None:
    write_cifar10(tmp_path / "c")
    for size in (32, 20, 48):
        data = load_data(f"cifar10:{tmp_path}/c", size, epochs=2, mean=(0.1, 0.2, 0.3), std=(1.0, 2.0, 3.0))
        indices = [3, 100, 179, 3]
        batch = data.train.__getitems__(indices)  # type: ignore[attr-defined]
        assert isinstance(batch, Batch)
        images, labels = collate(batch)
        same, same_labels = default_collate(list(batch))
        assert torch.equal(images, same)
        assert torch.equal(labels, same_labels)
        for row, index in enumerate(indices):
            torch.testing.assert_close(images[row], data.train[index][0], atol=1e-6, rtol=0)
            assert labels[row] == data.train[index][1]
    total = sum(len(labels) for _, labels in DataLoader(data.val, 3, collate_fn=collate))
    assert total == len(data.val)  # type: ignore[arg-type]
    with pytest.raises(IndexError, match="index must be under 180, got 180"):
        data.train[180]
