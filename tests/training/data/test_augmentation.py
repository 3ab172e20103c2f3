from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from sapool.training.data import AUGMENTATIONS, DataError, collate, load_data
from sapool.training.data.augmentation import Augmentation, Finish, resize_and_crop
from tests.training.data.written import pixels, png, write_classes

ALL = tuple(name for name in AUGMENTATIONS if name != "crop_pad4")


def picture() -> Tensor:
    return torch.from_numpy(pixels(3, 32, 32))


def augmented(name: str, index: int, seed: int = 0) -> Tensor:
    return Augmentation((name,), 32, seed)(picture(), index, Finish())


@pytest.mark.parametrize("name", AUGMENTATIONS)
def test_seed_and_index_alone_decide(name: str) -> None:
    first = [augmented(name, i) for i in range(12)]
    torch.manual_seed(99)
    before = torch.random.get_rng_state()
    assert all(torch.equal(a, augmented(name, i)) for i, a in enumerate(first))
    assert torch.equal(torch.random.get_rng_state(), before)
    assert any(not torch.equal(first[0], other) for other in first[1:])
    assert any(not torch.equal(a, augmented(name, i, seed=1)) for i, a in enumerate(first))
    for image in first:
        assert (image.shape, image.dtype) == ((3, 32, 32), torch.float32)
        assert image.min() >= 0
        assert image.max() <= 1


def test_flip_is_a_flip_half_of_the_time() -> None:
    plain = picture() / 255
    kinds = [augmented("flip", i) for i in range(200)]
    flipped = sum(torch.equal(image, plain.flip(2)) for image in kinds)
    assert flipped + sum(torch.equal(image, plain) for image in kinds) == 200
    assert 70 < flipped < 130


def test_crop_pad4_is_one_of_81_crops() -> None:
    padded = torch.nn.functional.pad(picture() / 255, (4, 4, 4, 4))
    crops = {padded[:, r : r + 32, c : c + 32].numpy().tobytes() for r in range(9) for c in range(9)}
    shown = {augmented("crop_pad4", i).numpy().tobytes() for i in range(60)}
    assert shown <= crops
    assert len(shown) > 30


def test_the_pad_grows_with_the_image() -> None:
    white = torch.full((3, 64, 64), 255, dtype=torch.uint8)
    lost = [64 - int(Augmentation(("crop_pad4",), 64, 0)(white, i, Finish())[0].amax(0).sum()) for i in range(80)]
    assert max(lost) == 8


def test_erasing_leaves_the_rest() -> None:
    plain = picture() / 255
    changed = [augmented("random_erasing", i) for i in range(100)]
    for image in changed:
        different = image != plain
        assert not image[different].any()
    assert 10 < sum(not torch.equal(image, plain) for image in changed) < 45


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (["flipp"], r"unknown augmentation 'flipp': did you mean flip\?"),
        (["flip", "flip"], "name each augmentation once, got flip, flip"),
        (["crop_pad4", "random_resized_crop"], "exclude each other"),
    ],
)
def test_wrong_names(names: list[str], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        load_data("digits", 8, augment=names)


def test_evaluation_cuts_out_the_middle() -> None:
    image = torch.from_numpy(pixels(3, 10, 20))
    assert torch.equal(resize_and_crop(image, 10), image[:, :, 5:15])
    wide = torch.zeros(3, 20, 40, dtype=torch.uint8)
    wide[:, :, 10:30] = 200
    assert (resize_and_crop(wide, 10)[:, :, 1:-1] == 200).all()


@pytest.mark.parametrize("sides", [(10, 30), (30, 10), (7, 8), (40, 41)])
def test_other_sides_are_covered_from_the_middle(sides: tuple[int, int]) -> None:
    image = torch.zeros(3, 20, 24, dtype=torch.uint8)
    image[:, 9:11, 11:13] = 255  # the middle stays in the middle
    cut = resize_and_crop(image, sides)
    assert cut.shape == (3, *sides)
    weights = cut[0].double()
    rows, columns = (torch.arange(n, dtype=torch.double) for n in sides)
    assert float((weights.sum(1) * rows).sum() / weights.sum()) == pytest.approx((sides[0] - 1) / 2, abs=1)
    assert float((weights.sum(0) * columns).sum() / weights.sum()) == pytest.approx((sides[1] - 1) / 2, abs=1)


def test_colour_becomes_grey_and_nothing_else_is_made_up() -> None:
    picture = torch.tensor([255, 0, 0], dtype=torch.uint8)[:, None, None].expand(3, 2, 2)
    grey = Finish(channels=1)(picture)
    torch.testing.assert_close(grey, torch.full((1, 2, 2), 0.2989), atol=1 / 255, rtol=0)
    with pytest.raises(ValueError, match="an image of 3 channels can't become one of 4: choose an input size of 3"):
        Finish(channels=4)(picture)


def test_normalisation() -> None:
    grey = torch.tensor([[[0, 255], [51, 102]]], dtype=torch.uint8)
    out = Finish((0.5, 0.0, 0.2), (0.5, 2.0, 1.0))(grey)
    expected = torch.tensor([[[-1.0, 1.0], [-0.6, -0.2]], [[0, 0.5], [0.1, 0.2]], [[-0.2, 0.8], [0, 0.2]]])
    torch.testing.assert_close(out, expected)
    for mean, std in (((0.5, 0.5, 0.5), None), ((0.5, 0.5, 0.5), (1.0, 0.0, 1.0))):
        with pytest.raises(ValueError, match="mean and std"):
            Finish(mean, std)


@pytest.mark.slow
# JAX, which the converter loads into the same process, warns of every fork.
@pytest.mark.filterwarnings("ignore:os.fork")
def test_a_restart_with_other_workers_sees_the_same(tmp_path: Path) -> None:
    write_classes(tmp_path, {"a": 12, "b": 12})
    batches = []
    for workers in (0, 2):
        data = load_data(str(tmp_path), 16, epochs=3, seed=5, augment=ALL, mean=(0.4,) * 3, std=(0.2,) * 3)
        loader = DataLoader(data.train, 7, num_workers=workers, collate_fn=collate)
        torch.manual_seed(workers)
        batches.append(list(loader))
    assert len(batches[0]) == len(batches[1])
    for (images, labels), (others, other_labels) in zip(*batches, strict=True):
        assert torch.equal(images, others)
        assert torch.equal(labels, other_labels)
    data = load_data(str(tmp_path), 16, epochs=3, seed=5, augment=ALL)
    n = data.images_per_epoch
    assert data.train[1][1] == data.train[1 + n][1]
    assert not torch.equal(data.train[1][0], data.train[1 + n][0])
    for images in (data.val, data.test):
        other = load_data(str(tmp_path), 16, seed=6, augment=ALL)
        assert torch.equal(images[0][0], (other.val if images is data.val else other.test)[0][0])


@pytest.mark.slow
# JAX, which the converter loads into the same process, warns of every fork.
@pytest.mark.filterwarnings("ignore:os.fork")
def test_a_workers_error_is_one_line(tmp_path: Path) -> None:
    write_classes(tmp_path, {"a": 4, "b": 4})
    for path in tmp_path.glob("*/*.png"):
        path.write_bytes(png(pixels(5, 5, 3))[:50])
    loader = DataLoader(load_data(str(tmp_path), 5).train, 2, num_workers=1)
    with pytest.raises(DataError) as failed:
        next(iter(loader))
    assert str(failed.value).startswith(str(tmp_path))
    assert "\n" not in str(failed.value)
