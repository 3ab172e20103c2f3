"""What commands on one's own network and pictures share."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.cli.commands import run

NET = """
from torch import nn

class Net(nn.Module):
    def __init__(self, num_classes, width=8):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(1, width, 3, 2, 1), nn.BatchNorm2d(width), nn.ReLU())
        self.body = nn.Sequential(nn.Conv2d(width, 2 * width, 3, 2, 1), nn.BatchNorm2d(2 * width), nn.ReLU())
        self.head = nn.Linear(2 * width, num_classes)

    def forward(self, x):
        return self.head(self.body(self.stem(x)).mean((2, 3)))

class Maps(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(1, 4, 3)

    def forward(self, x):
        return self.conv(x)
"""


@pytest.fixture(scope="session")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with net.py and 3 x 40 grey pictures of odd sizes: stripes down, stripes across, flat."""
    folder = tmp_path_factory.mktemp("home")
    (folder / "net.py").write_text(NET)
    rng = np.random.default_rng(0)
    for name in ("across", "down", 'fl"at'):
        (folder / "pictures" / name).mkdir(parents=True)
        for place in range(40):
            height, width = rng.integers(30, 50, 2)
            rows, columns = np.indices((height, width))
            stripes = {"across": rows // 3 % 2, "down": columns // 3 % 2}.get(name, np.full((height, width), 0.5))
            pixels = 60 + 120 * stripes + rng.normal(0, 20, (height, width))
            Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(folder / "pictures" / name / f"{place}.png")
    return folder


@pytest.fixture(scope="session")
def fitted(home: Path) -> Path:
    """The folder of a fit of that network on those pictures, seconds of training."""
    done = run(
        *("fit", "--model", "net.py:Net(width=8)", "--data", "pictures", "--input-size", "24x32", "--ram", "64KiB"),
        *("--pools", "avg", "--epochs", "40", "--batch-size", "16", "--augment", "flip", "--out", "out"),
        cwd=home,
    )
    assert done.returncode == 0, done.stderr
    assert "best that fits" in done.stdout
    return home / "out"
