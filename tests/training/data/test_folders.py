from __future__ import annotations

import random
import time
from pathlib import Path

import numpy as np
import pytest

from sapool.training import gather
from sapool.training.data import DataError, Images, load_data, prepared_splits, read_source
from sapool.training.data.source_images import ShardImages, SourceImages
from tests.training.data.written import Bytes, pixels, png, write_classes, write_tar


def shown(images: SourceImages) -> set[bytes]:
    return {images.image(i).permute(1, 2, 0).contiguous().numpy().tobytes() for i in range(len(images))}


def test_a_folder_without_splits_is_shared_out_by_class(tmp_path: Path) -> None:
    made = write_classes(tmp_path, {"cat": 10, "train": 20, "dog": 30})
    name, found = read_source(str(tmp_path))
    assert name == "folder"
    assert found.classes == ("cat", "dog", "train")
    splits = prepared_splits(name, found, train_images=None, skip_bad=False).splits
    assert {split: np.bincount(images.labels).tolist() for split, images in splits.items()} == {
        "train": [7, 21, 14],
        "val": [1, 3, 2],
        "test": [2, 6, 4],
    }
    parts = [shown(images) for images in splits.values()]
    assert sum(map(len, parts)) == len(set.union(*parts)) == 60
    assert set.union(*parts) == {image.tobytes() for image in made.values()}
    labels = splits["train"].labels
    for i in range(5):
        assert found.classes[labels[i]] == Path(splits["train"].where(i)).parent.name


def test_an_imagenet_folders_val_is_our_test(tmp_path: Path) -> None:
    write_classes(tmp_path / "train", {"n01": 20, "n02": 40})
    test = write_classes(tmp_path / "val", {"n01": 3, "n02": 3}, seed=500)
    (tmp_path / "test").mkdir()
    (tmp_path / "test" / "unlabelled.png").write_bytes(png(pixels(4, 4, 3)))
    for named, name in ((str(tmp_path), "imagenet"), (f"folder:{tmp_path}", "folder")):
        found_name, found = read_source(named)
        assert found_name == name
        splits = prepared_splits(name, found, train_images=None, skip_bad=False).splits
        assert shown(splits["test"]) == {image.tobytes() for image in test.values()}
        assert (len(splits["train"]), np.bincount(splits["val"].labels).tolist()) == (54, [2, 4])


def test_three_splits_stay(tmp_path: Path) -> None:
    made = {
        split: write_classes(tmp_path / name, {"a": 4, "b": 5}, seed=seed)
        for seed, (split, name) in enumerate({"train": "train", "val": "validation", "test": "test"}.items(), 1)
    }
    splits = prepared_splits(*read_source(f"folder:{tmp_path}"), train_images=None, skip_bad=False).splits
    for split, images in made.items():
        assert shown(splits[split]) == {image.tobytes() for image in images.values()}


def test_wrong_folders_are_explained(tmp_path: Path) -> None:
    write_classes(tmp_path / "train", {"a": 4, "b": 5})
    write_classes(tmp_path / "val", {"a": 4, "c": 5})
    with pytest.raises(DataError, match="classes differ between splits: train has 'b', val has not"):
        load_data(f"imagenet:{tmp_path}", 8)
    write_classes(tmp_path / "val", {"b": 1})
    with pytest.raises(DataError, match="classes differ between splits: val has 'c', train has not"):
        load_data(f"imagenet:{tmp_path}", 8)
    with pytest.raises(DataError, match="train/ and val/ of class folders expected, found a, b"):
        load_data(f"imagenet:{tmp_path}/train", 8)
    (tmp_path / "train" / "empty").mkdir()
    with pytest.raises(DataError, match="no image of class 'empty'"):
        load_data(f"folder:{tmp_path}/train", 8)
    few = tmp_path / "few"
    write_classes(few, {"a": 5, "rare": 2})
    with pytest.raises(DataError, match="class 'rare' has 1 image: too few to take some for val"):
        load_data(f"folder:{few}", 8)
    (tmp_path / "nothing").mkdir()
    with pytest.raises(DataError, match=r"no data set recognised; looked for idx: .*; stl10: .*; folder: CLASS"):
        load_data(f"{tmp_path}/nothing", 8)


@pytest.mark.parametrize("split", ["val", "test"])
def test_a_split_without_classes_is_no_class(tmp_path: Path, split: str) -> None:
    write_classes(tmp_path / "train", {"n01": 6, "n02": 6})
    (tmp_path / split).mkdir()
    (tmp_path / split / "ILSVRC2012_val_00000001.png").write_bytes(png(pixels(4, 4, 3)))
    for named in (str(tmp_path), f"folder:{tmp_path}", f"imagenet:{tmp_path}"):
        with pytest.raises(DataError, match=rf"{split}: no class folders, as .*train has: sort .* into {split}/CLASS/"):
            load_data(named, 8)
    assert load_data(str(tmp_path / "train"), 8).classes == ("n01", "n02")


def test_links_are_followed_and_one_to_nothing_is_a_damaged_image(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SAPOOL_CACHE", str(tmp_path / "cache"))
    data = tmp_path / "data"
    write_classes(data, {"a": 10, "b": 10})
    write_classes(tmp_path / "elsewhere", {"more": 10}, seed=50)
    (data / "a" / "more").symlink_to(tmp_path / "elsewhere" / "more")
    assert len(read_source(str(data))[1].splits["all"]) == 30
    (data / "a" / "gone.png").symlink_to(tmp_path / "nothing.png")
    careless = load_data(str(data), 8)
    with pytest.raises(DataError, match=r"a/gone\.png: a link to nothing"):
        read_all(careless.train, careless.val, careless.test)
    assert sum(load_data(str(data), 8, skip_bad=True).skipped.values()) == 1


def read_all(*splits: Images) -> int:
    return sum(len(gather(split)[1]) for split in splits)


def samples(count: int, seed: int = 0) -> list[tuple[str, Bytes, str]]:
    return [(f"{i:04}", pixels(6, 6, 3, seed=seed + i), ["dog", "cat"][i % 2]) for i in range(count)]


def members(made: list[tuple[str, Bytes, str]]) -> dict[str, bytes]:
    found: dict[str, bytes] = {}
    for key, image, label in made:
        found |= {f"./{key}.cls": label.encode(), f"./{key}.json": b"{}", f"./{key}.png": png(image)}
    return found


def test_shards_written_by_tarfile(tmp_path: Path) -> None:
    made = samples(30)
    write_tar(tmp_path / "train-0000.tar", members(made[:9]))
    write_tar(tmp_path / "train-0001.tar", members(made[9:20]))
    write_tar(tmp_path / "test-0000.tar", members(made[20:]))
    name, found = read_source(str(tmp_path))
    assert (name, found.classes) == ("webdataset", ("cat", "dog"))
    train = found.splits["train"]
    assert isinstance(train, ShardImages)
    for i, (key, image, label) in enumerate(made[:20]):
        np.testing.assert_array_equal(train.image(i).permute(1, 2, 0), image)
        assert found.classes[train.labels[i]] == label
        assert train.where(i).endswith(f"{key}")
    data = load_data(str(tmp_path), 6)
    assert (data.images_per_epoch, len(data.val), len(data.test)) == (18, 2, 10)  # type: ignore[arg-type]


def test_shards_written_by_webdataset(tmp_path: Path) -> None:
    webdataset = pytest.importorskip("webdataset")
    made = samples(24)
    for split, part in (("train", made[:16]), ("val", made[16:20]), ("test", made[20:])):
        (tmp_path / split).mkdir()
        with webdataset.TarWriter(str(tmp_path / split / "000.tar")) as writer:
            for key, image, label in part:
                writer.write({"__key__": f"some/{key}", "png": png(image), "cls": ["dog", "cat"].index(label)})
    _, found = read_source(f"webdataset:{tmp_path}")
    assert found.classes == ("0", "1")
    for split, part in (("train", made[:16]), ("val", made[16:20]), ("test", made[20:])):
        images = found.splits[split]
        for i, (_, image, label) in enumerate(part):
            np.testing.assert_array_equal(images.image(i).permute(1, 2, 0), image)
            assert images.labels[i] == ["dog", "cat"].index(label)


def test_shards_say_their_split_anywhere_in_their_name(tmp_path: Path) -> None:
    made = samples(30)
    for name, part in (("train-0000", made[:12]), ("train-0001", made[12:20]), ("validation-00", made[20:])):
        write_tar(tmp_path / f"imagenet1k-{name}.tar", members(part))
    _, found = read_source(str(tmp_path))
    assert {split: len(images) for split, images in found.splits.items()} == {"train": 20, "val": 10}


def test_damaged_shards(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SAPOOL_CACHE", str(tmp_path / "cache"))
    whole = members(samples(40))
    del whole["./0007.cls"]
    whole["./0008.png"] = b"no image"
    write_tar(tmp_path / "all.tar", whole)
    with pytest.raises(DataError, match=r"all.tar: sample '0007' has no class"):
        load_data(str(tmp_path), 6)
    assert sum(load_data(str(tmp_path), 6, skip_bad=True).skipped.values()) == 2
    found = read_source(str(tmp_path), skip_bad=True)[1].splits["all"]
    with pytest.raises(DataError, match=r"all.tar: 0008: damaged image: not an image"):
        [found.image(i) for i in range(len(found))]
    cut = (tmp_path / "all.tar").read_bytes()
    (tmp_path / "all.tar").write_bytes(cut[:20_000])
    with pytest.raises(DataError, match=r"all.tar: .*(cut off|damaged)"):
        load_data(str(tmp_path), 6)
    (tmp_path / "all.tar").write_bytes(b"x" * 5000)
    with pytest.raises(DataError, match=r"all\.tar: not an uncompressed tar file"):
        load_data(str(tmp_path), 6)


def test_mutated_shards_are_read_or_refused_at_once(tmp_path: Path) -> None:
    """300 seeded mutants: sizes under zero, headers that lead back, names cut short."""
    dice, lines = random.Random(0), list[str]()
    write_tar(tmp_path / "all.tar", members(samples(8)))
    whole = (tmp_path / "all.tar").read_bytes()
    headers = [place for place in range(0, len(whole), 512) if whole[place + 257 : place + 262] == b"ustar"]
    for number in range(300):
        raw = bytearray(whole)
        place = dice.choice(headers)
        if number % 3 == 0:  # a size in binary, negative or huge, under a right check sum
            raw[place + 124 : place + 136] = dice.choice([-512, -5120, 1 << 50]).to_bytes(12, "big", signed=True)
            raw[place + 124] |= 0x80
        else:
            for _ in range(dice.randint(1, 4)):
                raw[place + dice.randrange(512)] = dice.choice([0, 48, 55, 120, 255, dice.randrange(256)])
        raw[place + 148 : place + 156] = b" " * 8
        raw[place + 148 : place + 156] = b"%06o\0 " % sum(raw[place : place + 512])
        (tmp_path / "all.tar").write_bytes(raw)
        start = time.perf_counter()
        try:
            read_source(str(tmp_path), skip_bad=bool(number % 2))
        except DataError as error:
            lines.append(str(error))
        assert time.perf_counter() - start < 5
    assert len(lines) > 100
    assert not any("\n" in line for line in lines)


def test_a_shard_cut_off_in_its_last_image(tmp_path: Path) -> None:
    made = members(samples(20))
    write_tar(tmp_path / "a.tar", made)
    raw = (tmp_path / "a.tar").read_bytes()
    last = list(made.values())[-1]
    (tmp_path / "a.tar").write_bytes(raw[: raw.rindex(last[-20:])])
    with pytest.raises(DataError, match=r"a.tar: .*(cut off|damaged)"):
        load_data(str(tmp_path), 6)
