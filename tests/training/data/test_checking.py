from __future__ import annotations

import json
from pathlib import Path

import pytest
from torch import Tensor

from sapool.training.data import DataError, load_data
from sapool.training.data.source_images import FileImages
from tests.training.data.test_folders import read_all
from tests.training.data.written import pixels, png, write_classes


def test_damaged_files_are_named_or_skipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SAPOOL_CACHE", str(tmp_path / "cache"))
    data = tmp_path / "data"
    write_classes(data, {"a": 20, "b": 20})
    (data / "a" / "003.png").write_bytes(png(pixels(12, 10, 3))[:60])
    (data / "b" / "001.png").write_bytes(b"hello")
    (data / "b" / "002.png").write_bytes(b"")
    careless = load_data(str(data), 8)
    with pytest.raises(DataError, match=r"data/[ab]/00\d.png: damaged image: ") as failed:
        read_all(careless.train, careless.val, careless.test)
    assert "\n" not in str(failed.value)
    careful = load_data(str(data), 8, skip_bad=True)
    assert sum(careful.skipped.values()) == 3
    assert read_all(careful.train, careful.val, careful.test) == 37
    lists = sorted((tmp_path / "cache" / "bad_images").iterdir())
    assert len(lists) == 3
    reasons = [reason for path in lists for reason in json.loads(path.read_text())["bad"].values()]
    assert any("b/001.png: damaged image: not an image" in reason for reason in reasons)


def test_the_list_of_damaged_files_is_made_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SAPOOL_CACHE", str(tmp_path / "cache"))
    data = tmp_path / "data"
    write_classes(data, {"a": 10, "b": 10})
    bad = data / "b" / "002.png"
    good = bad.read_bytes()
    bad.write_bytes(good[:50])
    assert sum(load_data(str(data), 8, skip_bad=True).skipped.values()) == 1
    read: list[int] = []
    image = FileImages.image

    def counted(self: FileImages, index: int) -> Tensor:
        read.append(index)
        return image(self, index)

    monkeypatch.setattr(FileImages, "image", counted)
    assert sum(load_data(str(data), 8, skip_bad=True).skipped.values()) == 1
    assert not read
    bad.write_bytes(good)
    assert sum(load_data(str(data), 8, skip_bad=True).skipped.values()) == 0
    assert read
