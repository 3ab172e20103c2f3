"""Data and networks so small that a whole training run takes a fraction of a second."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from sapool.training import DataSplits, TrainConfig

CLASSES = 4


class Blobs(Dataset[tuple[Tensor, int]]):
    """Noise with one bright quadrant, which is the class; item i depends on the seed and i alone."""

    def __init__(self, count: int, seed: int, repeats: int = 1) -> None:
        self.count, self.seed, self.repeats = count, seed, repeats

    def __len__(self) -> int:
        return self.count * self.repeats

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        generator = torch.Generator().manual_seed(self.seed * 100_003 + index)
        image, label = torch.rand(3, 8, 8, generator=generator), index % CLASSES
        row, column = 4 * (label // 2), 4 * (label % 2)
        image[:, row : row + 4, column : column + 4] += 0.4
        return image, label


def blobs(epochs: int = 4, train: int = 50, held_out: int = 37) -> DataSplits:
    return DataSplits("blobs", Blobs(train, 0, epochs), Blobs(held_out, 1), Blobs(held_out, 2), CLASSES, train)


class Network(nn.Module):
    """A convolution, a normalisation if wanted, dropout if wanted, a classifier."""

    def __init__(self, *, norm: bool = True, dropout: float = 0.0, channels: int = 4) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, channels, 3, 2, 1)
        self.norm = nn.BatchNorm2d(channels) if norm else nn.Identity()
        self.dropout = nn.Dropout(dropout)
        self.classifier = nn.Linear(channels * 4, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.norm(self.conv(x)))
        return self.classifier(self.dropout(nn.functional.avg_pool2d(x, 2).flatten(1)))


def network(*, norm: bool = True, dropout: float = 0.0, channels: int = 4) -> nn.Module:
    torch.manual_seed(0)
    return Network(norm=norm, dropout=dropout, channels=channels)


# Everything that has a state of its own: a restart must bring all of it back.
EVERYTHING = TrainConfig(
    epochs=4,
    batch_size=8,
    optimizer="sgd",
    learning_rate=0.05,
    schedule="cosine",
    warmup_epochs=1,
    ema_decay=0.9,
    mixup_alpha=0.2,
    cutmix_alpha=1.0,
    label_smoothing=0.1,
    patience=3,
)
