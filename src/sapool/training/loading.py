"""From a data set to batches: which images come in which order, and to which process."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from sapool.training.config import Hardware, Processes
from sapool.training.data import Images, collate

Batches = DataLoader[tuple[Tensor, int]]


class EpochSampler(Sampler[int]):
    """Epoch e gets the items e n ... (e + 1) n - 1, shuffled by (seed, e): the same after a restart.

    Under several processes each takes every ``world_size``-th item, so that their k-th batches together are the k-th
    batch of one process alone; a rest that can't be shared out evenly is left out.

    Args:
        images_per_epoch: n.
        total: items of the data set; indices beyond it start again at 0.
        seed: of the order.
        process: which of how many this is.
    """

    def __init__(self, images_per_epoch: int, total: int, seed: int, process: Processes | None = None) -> None:
        self.images_per_epoch, self.total, self.seed = images_per_epoch, total, seed
        self.process = process or Processes()
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch; the trainer calls this before each one."""
        self.epoch = epoch

    def __len__(self) -> int:
        return self.images_per_epoch // self.process.world_size

    def __iter__(self) -> Iterator[int]:
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + self.epoch)
        order = torch.randperm(self.images_per_epoch, generator=generator)
        start, world_size = self.epoch * self.images_per_epoch, self.process.world_size
        for index in order[: len(self) * world_size][self.process.rank :: world_size].tolist():
            yield (start + index) % self.total


class WholeBatches(Sampler[list[int]]):
    """Batches of ``batch_size`` that together hold every item: nothing is left out, and no batch is small.

    A rest of at least half a batch is one more batch; a smaller one joins the last, which then has up to half more.

    >>> [len(batch) for batch in WholeBatches(range(10), 4)], [len(batch) for batch in WholeBatches(range(9), 4)]
    ([4, 4, 2], [4, 5])
    """

    def __init__(self, sampler: EpochSampler | Sequence[int], batch_size: int) -> None:
        self.sampler, self.batch_size = sampler, batch_size

    def __len__(self) -> int:
        whole, rest = divmod(len(self.sampler), self.batch_size)
        return max(whole + (2 * rest >= self.batch_size), 1)

    def __iter__(self) -> Iterator[list[int]]:
        items, count = list(self.sampler), len(self)
        for place in range(count):
            end = (place + 1) * self.batch_size if place + 1 < count else len(items)
            yield items[place * self.batch_size : end]


class ShareSampler(Sampler[int]):
    """Every ``world_size``-th item in order: the processes together see each item exactly once."""

    def __init__(self, total: int, process: Processes) -> None:
        self.share = range(process.rank, total, process.world_size)

    def __len__(self) -> int:
        return len(self.share)

    def __iter__(self) -> Iterator[int]:
        return iter(self.share)


class EpochSplits(Protocol):
    """A training split of several epochs, of images with classes or with boxes."""

    @property
    def train(self) -> Dataset[Any]:
        """Its images, of every epoch."""

    @property
    def images_per_epoch(self) -> int:
        """How many of them an epoch has."""


class Items(Protocol):
    """A map-style data set."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> Any: ...


def train_loader(
    data: EpochSplits,
    batch_size: int,
    seed: int,
    hardware: Hardware | None = None,
    process: Processes | None = None,
    gathered: Callable[[Any], Any] = collate,
) -> DataLoader[Any]:
    """Return the loader of the training split.

    Args:
        data: the splits.
        batch_size: images a step over all processes; a split with fewer gives one batch an epoch.
        seed: of the order.
        hardware: how many workers load; by default none.
        process: which of how many this is.
        gathered: makes a batch of items.

    Raises:
        ValueError: a batch that can't be shared out evenly.
    """
    process = process or Processes()
    whole = min(batch_size, data.images_per_epoch)
    share, rest = divmod(whole, process.world_size)
    if rest or not share:
        raise ValueError(
            f"batch_size is for all processes together: {whole} images can't be shared out among "
            f"{process.world_size}; choose a multiple of {process.world_size}"
        )
    total = len(data.train)  # type: ignore[arg-type]
    batches = WholeBatches(EpochSampler(data.images_per_epoch, total, seed, process), share)
    return DataLoader(data.train, batch_sampler=batches, collate_fn=gathered, **_workers(hardware))


def eval_loader(
    images: Dataset[Any] | Items,
    batch_size: int = 128,
    hardware: Hardware | None = None,
    process: Processes | None = None,
    gathered: Callable[[Any], Any] = collate,
) -> DataLoader[Any]:
    """Return a loader that goes through this process's share of ``images`` once, in order.

    Raises:
        ValueError: fewer images than processes: one without any would leave the others waiting for it.
    """
    items: Any = images  # a DataLoader takes either
    process = process or Processes()
    if len(items) < process.world_size:
        raise ValueError(
            f"{len(items)} images to evaluate can't be shared among {process.world_size} processes: start fewer, or "
            "hold out more images"
        )
    sampler = ShareSampler(len(items), process)
    return DataLoader(items, batch_size, sampler=sampler, collate_fn=gathered, **_workers(hardware))


def _workers(hardware: Hardware | None) -> dict[str, Any]:
    hardware = hardware or Hardware()
    pinned = hardware.accelerator in ("auto", "cuda") and torch.cuda.is_available()
    return {
        "num_workers": hardware.workers,
        "persistent_workers": hardware.workers > 0,
        "pin_memory": pinned,
        "prefetch_factor": 4 if hardware.workers else None,
    }


def gather(images: Images, count: int | None = None) -> tuple[Tensor, Tensor]:
    """Return the first ``count`` items (default: all) as images (N, C, H, W) and labels (N,)."""
    total = len(images)  # type: ignore[arg-type]
    pairs = [images[i] for i in range(total if count is None else min(count, total))]
    return torch.stack([image for image, _ in pairs]), torch.tensor([label for _, label in pairs])
