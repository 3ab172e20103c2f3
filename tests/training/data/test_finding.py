from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from sapool.training.data import DataError, load_data, read_source
from sapool.training.data.source_images import FileImages
from tests.training.data.written import write_classes


def names_of(images: object) -> list[str]:
    assert isinstance(images, FileImages)
    return [os.fsdecode(name) for name in images.names]


def test_a_link_to_the_folder_itself_adds_nothing(tmp_path: Path) -> None:
    write_classes(tmp_path, {"a": 2, "b": 2})
    before = names_of(read_source(str(tmp_path))[1].splits["all"])
    assert len(before) == 4
    for place in (tmp_path / "loop", tmp_path / "a" / "loop", tmp_path / "b" / "up"):
        place.symlink_to(tmp_path, target_is_directory=True)
    (tmp_path / "b" / "root").symlink_to("/", target_is_directory=True)
    (tmp_path / "a" / "b").symlink_to(tmp_path / "b", target_is_directory=True)
    start = time.perf_counter()
    _, source = read_source(str(tmp_path))
    assert time.perf_counter() - start < 5
    assert source.classes == ("a", "b")
    assert names_of(source.splits["all"]) == before


def test_a_real_file_stays_where_it_lies_whatever_links_to_it(tmp_path: Path) -> None:
    write_classes(tmp_path, {"a": 2, "b": 2})
    (tmp_path / "b" / "deep").mkdir()
    (tmp_path / "b" / "000.png").rename(tmp_path / "b" / "deep" / "000.png")
    (tmp_path / "a" / "all_of_b").symlink_to(tmp_path / "b" / "deep", target_is_directory=True)
    (tmp_path / "a" / "one.png").symlink_to(tmp_path / "b" / "001.png")
    (tmp_path / "a" / "again.png").symlink_to(tmp_path / "a" / "000.png")
    os.link(tmp_path / "a" / "001.png", tmp_path / "a" / "hard.png")
    found = names_of(read_source(str(tmp_path))[1].splits["all"])
    assert len(found) == 4
    assert {name for name in found if name.startswith("b/")} == {"b/001.png", "b/deep/000.png"}


def test_links_out_of_the_folder_are_followed_once(tmp_path: Path) -> None:
    store, data = tmp_path / "store", tmp_path / "data"
    write_classes(store, {"x": 3, "y": 2})
    data.mkdir()
    (data / "a").symlink_to(store / "x", target_is_directory=True)
    (data / "b").mkdir()
    (data / "b" / "lent").symlink_to(store / "y", target_is_directory=True)
    (store / "y" / "back").symlink_to(store, target_is_directory=True)
    (data / "b" / "first.png").symlink_to(store / "x" / "000.png")
    found = names_of(read_source(str(data))[1].splits["all"])
    assert found == ["a/000.png", "a/001.png", "a/002.png", "b/lent/000.png", "b/lent/001.png"]
    (data / "c").symlink_to(store / "x", target_is_directory=True)
    with pytest.raises(DataError, match=r"no image of class 'c' .* that is no other folder's already"):
        read_source(str(data))


def test_one_file_does_not_stand_in_two_splits(tmp_path: Path) -> None:
    write_classes(tmp_path / "train", {"a": 3, "b": 3})
    (tmp_path / "val").symlink_to(tmp_path / "train", target_is_directory=True)
    with pytest.raises(DataError, match=r"val/a: no image of class 'a' .* that is no other folder's already"):
        read_source(str(tmp_path))


def test_pipes_and_sockets_are_no_images(tmp_path: Path) -> None:
    write_classes(tmp_path, {"a": 8, "b": 8})
    os.mkfifo(tmp_path / "a" / "z.png")
    (tmp_path / "a" / "link.png").symlink_to(tmp_path / "a" / "z.png")
    _, source = read_source(str(tmp_path))
    assert len(names_of(source.splits["all"])) == 16
    loaded = load_data(str(tmp_path), 16)
    path = tmp_path / "a" / "000.png"
    path.unlink()
    os.mkfifo(path)  # after it was found
    images = source.splits["all"]
    with pytest.raises(DataError, match=r"a/000\.png: not a regular file"):
        images.image(names_of(images).index("a/000.png"))
    assert loaded.classes == ("a", "b")


def test_a_link_to_itself_is_a_damaged_image(tmp_path: Path) -> None:
    write_classes(tmp_path, {"a": 2, "b": 2})
    (tmp_path / "a" / "self.png").symlink_to(tmp_path / "a" / "self.png")
    images = read_source(str(tmp_path))[1].splits["all"]
    with pytest.raises(DataError, match=r"a/self\.png: a link to nothing"):
        images.image(names_of(images).index("a/self.png"))
