from __future__ import annotations

import pytest
import torch

from sapool.training import Hardware, eval_loader, gather, load_data, train_loader
from sapool.training.config import Processes
from sapool.training.loading import EpochSampler
from tests.training.tiny import blobs


def test_every_epoch_sees_every_image_once_in_another_order() -> None:
    sampler = EpochSampler(100, 200, seed=0)
    first = list(sampler)
    sampler.set_epoch(1)
    second = list(sampler)
    assert sorted(first) == list(range(100))
    assert sorted(second) == list(range(100, 200))
    assert [i % 100 for i in second] != first
    again = EpochSampler(100, 200, seed=0)
    again.set_epoch(1)
    assert list(again) == second


@pytest.mark.parametrize(("count", "batch", "world_size"), [(50, 8, 2), (51, 8, 4), (23, 6, 3), (9, 4, 2)])
def test_the_shares_of_a_batch_together_are_the_batch(count: int, batch: int, world_size: int) -> None:
    data = blobs(train=count)
    whole = [labels.tolist() for _, labels in train_loader(data, batch, 3)]
    shares = [
        [labels.tolist() for _, labels in train_loader(data, batch, 3, process=Processes(rank, world_size, 1))]
        for rank in range(world_size)
    ]
    assert len(whole) == max(count // batch + (2 * (count % batch) >= batch), 1)
    assert all(len(share) == len(whole) for share in shares)
    for step, batch_labels in enumerate(whole):
        # The last takes the rest, but for what can't be shared out evenly.
        shared = sorted(label for share in shares for label in share[step])
        left_out = len(batch_labels) % world_size if step + 1 == len(whole) else 0
        assert len(shared) == len(batch_labels) - left_out
        assert set(shared) <= set(batch_labels)


@pytest.mark.parametrize("count", [2, 63, 64, 95, 96, 126, 127, 128, 200])
def test_an_epoch_leaves_no_image_out(count: int) -> None:
    sizes = [len(labels) for _, labels in train_loader(blobs(train=count), 64, 0)]
    assert sum(sizes) == count
    assert all(size >= min(count, 32) for size in sizes)
    assert max(sizes) < 96


def test_every_item_is_evaluated_by_exactly_one_process() -> None:
    data = blobs(held_out=37)
    seen = [images for rank in range(3) for images, _ in eval_loader(data.val, 5, process=Processes(rank, 3, 3))]
    together = torch.cat(seen)
    expected, _ = gather(data.val)
    assert together.shape == expected.shape
    assert {float(image.sum()) for image in together} == {float(image.sum()) for image in expected}


def test_a_batch_that_can_not_be_shared_out_is_refused() -> None:
    with pytest.raises(ValueError, match="8 images can't be shared out among 3; choose a multiple of 3"):
        train_loader(blobs(), 8, 0, process=Processes(0, 3, 3))


def test_a_process_without_an_image_to_evaluate_is_refused() -> None:
    data = blobs(held_out=2)
    assert len(eval_loader(data.val, process=Processes(1, 2, 2))) == 1
    with pytest.raises(ValueError, match="2 images to evaluate can't be shared among 3 processes"):
        eval_loader(data.val, process=Processes(0, 3, 3))


def test_a_batch_larger_than_the_split_still_trains() -> None:
    assert len(train_loader(blobs(), 5000, 0)) == 1


@pytest.mark.slow
# JAX, which the converter loads into the same process, warns of every fork.
@pytest.mark.filterwarnings("ignore:os.fork")
def test_workers_change_nothing() -> None:
    data = load_data("scattered-digits", 32, epochs=2, augment=("crop_pad4", "random_erasing"), train_images=100)
    alone, helped = (list(train_loader(data, 20, 1, Hardware(workers=workers))) for workers in (0, 2))
    assert len(alone) == len(helped)
    for (images, labels), (others, theirs) in zip(alone, helped, strict=True):
        assert torch.equal(images, others)
        assert torch.equal(labels, theirs)
