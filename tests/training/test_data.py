from __future__ import annotations

import pytest
import torch

from sapool.training import TrainConfig, gather, load_data
from sapool.training.data import EpochSampler, train_loader


def test_splits_come_with_their_sizes() -> None:
    data = load_data("scattered-digits", 32, epochs=3)
    assert (data.num_classes, data.images_per_epoch) == (10, 1000)
    images, labels = gather(data.val, 5)
    assert images.shape == (5, 3, 32, 32)
    assert torch.equal(labels, torch.tensor([data.val[i][1] for i in range(5)]))
    (calibration,) = data.calibration(7)
    assert torch.equal(calibration[3], data.train[3][0])


def test_every_epoch_sees_every_digit_once_on_new_canvases() -> None:
    data = load_data("scattered-digits", 32, epochs=2)
    sampler = EpochSampler(data.images_per_epoch, 2000, seed=0)
    first = list(sampler)
    sampler.set_epoch(1)
    second = list(sampler)
    assert sorted(first) == list(range(1000))
    assert sorted(second) == list(range(1000, 2000))
    assert [i % 1000 for i in second] != [i % 1000 for i in first]
    again = EpochSampler(data.images_per_epoch, 2000, seed=0)
    again.set_epoch(1)
    assert list(again) == second


def test_a_batch_larger_than_the_split_still_trains() -> None:
    assert len(train_loader(load_data("scattered-digits", 24), 5000, 0)) == 1


def test_unknown_data_gets_the_nearest() -> None:
    with pytest.raises(ValueError, match=r"unknown data set 'scatered-digits': did you mean scattered-digits\?"):
        load_data("scatered-digits", 32)
    with pytest.raises(ValueError, match="choose from scattered-digits"):
        load_data("zzz", 32)


@pytest.mark.parametrize(
    ("kwargs", "said"),
    [
        ({"epochs": 0}, "epochs must be at least 1, got 0"),
        ({"batch_size": 1}, "batch_size must be at least 2"),
        ({"learning_rate": 0.0}, "learning_rate must be positive"),
        ({"learning_rate": float("nan")}, "learning_rate must be positive"),
        ({"label_smoothing": 1.0}, "label_smoothing in"),
        ({"seed": -1}, "seed must be 0 to"),
    ],
)
def test_recipes_are_checked(kwargs: dict[str, float], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        TrainConfig(**kwargs)  # type: ignore[arg-type]
