"""Reading a COCO annotation file and finding everything that is wrong with it before anything is trained."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path, PurePath
from typing import Any

from sapool.base.quoting import quote
from sapool.base.reading import ReadingError, read_json
from sapool.base.suggest import suggest
from sapool.detection.image_files import image_size
from sapool.training.data.pictures import PictureError

# Published boxes are rounded: up to this far outside their image they are cut off at its edge.
_ROUNDING_PIXELS = 1.0
_READERS = 8
_MOST_BYTES = 4 << 30  # COCO's own training file has 450 MB
_MOST_NUMBER = 2**53
_LONGEST_NAME = 1000


@dataclass(frozen=True)
class BoxAnnotation:
    """One object of an image: box (x, y, width, height) in pixels, inside the image."""

    id: int
    category_id: int
    bbox: tuple[float, float, float, float]
    area: float
    iscrowd: int


@dataclass(frozen=True)
class AnnotatedImage:
    """One image of an annotation file, with what is on it."""

    id: int
    path: Path
    width: int
    height: int
    objects: list[BoxAnnotation] = field(default_factory=list)


@dataclass(frozen=True)
class AnnotationFile:
    """A checked annotation file.

    Attributes:
        path: of the file.
        images: in the order of their ids.
        categories: (id, name), in the order of the ids, or of the names that were asked for.
        skipped: how many images and annotations were left out, by rule.
    """

    path: Path
    images: tuple[AnnotatedImage, ...]
    categories: tuple[tuple[int, str], ...]
    skipped: dict[str, int]


class _Problems:
    """Raises at the first problem, or counts them."""

    def __init__(self, path: Path, skip: bool) -> None:
        self._path, self._skip = path, skip
        self.counts: Counter[str] = Counter()

    def report(self, rule: str, where: str, said: str) -> None:
        if not self._skip:
            raise ValueError(f"{self._path}: {where}: {said} (skip_bad=True leaves such ones out and counts them)")
        self.counts[rule] += 1


def read_annotations(
    path: str | Path,
    image_folder: str | Path,
    *,
    classes: Sequence[str] | None = None,
    skip_bad: bool = False,
    decode: bool = True,
) -> AnnotationFile:
    """Read an ``instances_*.json`` and check it, its boxes and its images, all before this returns.

    The rules: every annotation belongs to an image and a category of the file and has an id of its own; its box is four
    finite numbers with an area, at most one pixel outside its image; every image's file is there, decodes, and has the
    size that the file says.

    Args:
        path: the annotation file.
        image_folder: where its ``file_name`` are.
        classes: names of the categories to keep, label 1 first; default all, by id.
        skip_bad: leave out and count what breaks a rule, instead of stopping at it.
        decode: decode every image now, in threads; otherwise only its header is read, which misses files cut short.

    Returns:
        Images with their annotations.

    Raises:
        ValueError: no such file, not an annotation file, an unknown class, or, without ``skip_bad``, the first thing
            that breaks a rule: the file, the id and the rule.
    """
    path, folder = Path(path), Path(image_folder)
    data = parse_annotations(path)
    problems = _Problems(path, skip_bad)
    categories = _categories(path, data["categories"], classes)
    images = _images(path, data["images"], folder)
    known = {_number(path, "category", category) for category in data["categories"]}
    _add_objects(path, images, known, {number for number, _ in categories}, data["annotations"], problems)
    good = _readable(list(images.values()), problems, decode)
    if not good:
        raise ValueError(f"{path}: no image is left (left out: {dict(problems.counts) or 'none'})")
    return AnnotationFile(path, tuple(sorted(good, key=lambda image: image.id)), categories, dict(problems.counts))


def parse_annotations(path: Path) -> dict[str, list[dict[str, Any]]]:
    """Read an annotation file as it is, its entries unchecked.

    Raises:
        ValueError: no such file, or not an annotation file.
    """
    try:
        data = read_json(path, most_bytes=_MOST_BYTES, check=False)
    except ReadingError as error:
        if not path.is_file():
            raise
        said = str(error).removeprefix(f"{path}: ")
        raise ValueError(f"{path}: not a COCO annotation file: {said}") from None
    for key in ("images", "annotations", "categories"):
        entries = data.get(key) if isinstance(data, dict) else None
        if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
            raise ValueError(f"{path}: not a COCO annotation file: it must have a list {key!r} of objects")
    return data


def _number(path: Path, kind: str, entry: dict[str, Any], key: str = "id") -> int:
    value = entry.get(key)
    if type(value) is not int or abs(value) > _MOST_NUMBER:
        raise ValueError(
            f"{path}: not a COCO annotation file: {key!r} of every {kind} must be a whole number of at most 2**53, "
            f"got {quote(value)}"
        )
    return value


def _categories(
    path: Path, entries: Iterable[dict[str, Any]], classes: Sequence[str] | None
) -> tuple[tuple[int, str], ...]:
    found = sorted((_number(path, "category", entry), _category_name(path, entry)) for entry in entries)
    by_name = {name: number for number, name in found}
    if len(by_name) != len(found) or len(set(by_name.values())) != len(found):
        raise ValueError(f"{path}: two categories have one id or one name")
    if classes is None:
        chosen = found
    else:
        for name in classes:
            if name not in by_name:
                raise ValueError(f"{path}: unknown class {name!r}: {suggest(name, list(by_name))}")
        chosen = [(by_name[name], name) for name in dict.fromkeys(classes)]
    if not chosen:
        raise ValueError(f"{path}: there must be at least one class")
    return tuple(chosen)


def _category_name(path: Path, entry: dict[str, Any]) -> str:
    name = entry.get("name", str(entry["id"]))
    if not isinstance(name, str) or len(name) > _LONGEST_NAME:
        raise ValueError(f"{path}: category {entry['id']}: name must be a text, got {quote(name)}")
    return name


def _images(path: Path, entries: Iterable[dict[str, Any]], folder: Path) -> dict[int, AnnotatedImage]:
    images: dict[int, AnnotatedImage] = {}
    for entry in entries:
        number = _number(path, "image", entry)
        name, width, height = entry.get("file_name"), entry.get("width"), entry.get("height")
        if not isinstance(name, str) or type(width) is not int or type(height) is not int or min(width, height) < 1:
            raise ValueError(
                f"{path}: image {number}: file_name must be a text and width and height whole numbers of at least 1, "
                f"got {quote(name)}, {quote(width)}, {quote(height)}"
            )
        if PurePath(name).is_absolute() or ".." in PurePath(name).parts:
            raise ValueError(
                f"{path}: image {number}: file_name must stay inside the image folder {folder}, got {quote(name)}"
            )
        if number in images:
            raise ValueError(f"{path}: image {number}: two images have this id")
        images[number] = AnnotatedImage(number, folder / name, width, height)
    return images


def _add_objects(
    path: Path,
    images: dict[int, AnnotatedImage],
    known: Collection[int],
    kept: Collection[int],
    entries: Iterable[dict[str, Any]],
    problems: _Problems,
) -> None:
    seen = set[int]()
    for entry in entries:
        number = _number(path, "annotation", entry)
        where = f"annotation {number}"
        image_id, category_id = entry.get("image_id"), entry.get("category_id")
        image = images.get(image_id) if isinstance(image_id, int) else None
        if number in seen:
            problems.report("id used twice", where, "two annotations have this id")
        elif image is None:
            problems.report("missing image", where, f"its image {quote(image_id)} is not in the file")
        elif not isinstance(category_id, int) or category_id not in known:
            problems.report("unknown category", where, f"its category {quote(category_id)} is not in the file")
        elif said := _bad_box(entry.get("bbox"), image) or _bad_area(entry.get("area", 0)):
            problems.report("bad box", f"{where} (image {image.id}, {image.path.name})", said)
        elif type(entry.get("iscrowd", 0)) not in (int, bool) or entry.get("iscrowd", 0) not in (0, 1):
            problems.report("bad crowd", where, f"its iscrowd must be 0 or 1, got {quote(entry['iscrowd'])}")
        elif category_id in kept:
            image.objects.append(_object(entry, image))
        seen.add(number)


def _bad_box(box: Any, image: AnnotatedImage) -> str | None:
    """Return what is wrong with a box (x, y, width, height), if anything."""
    if not isinstance(box, list) or len(box) != 4 or not all(_is_length(value) for value in box):
        return f"its bbox must be four finite numbers (x, y, width, height), got {quote(box)}"
    x, y, width, height = box
    if min(width, height) <= 0:
        return f"its box must have an area, got width {width} and height {height}"
    right, bottom = image.width + _ROUNDING_PIXELS, image.height + _ROUNDING_PIXELS
    if min(x, y) < -_ROUNDING_PIXELS or x + width > right or y + height > bottom:
        return f"its box {box} (x, y, width, height) must lie inside the image of {image.width} x {image.height} px"
    x0, y0, x1, y1 = _corners(box, image)
    return None if x1 > x0 and y1 > y0 else f"its box {box} must have an area inside the image"


def _bad_area(area: Any) -> str | None:
    good = _is_length(area) and area >= 0
    return None if good else f"its area must be a number of at least 0, got {quote(area)}"


def _is_length(value: Any) -> bool:
    """Whether a value is a finite number, neither true nor false nor of hundreds of digits."""
    return type(value) in (int, float) and abs(value) <= _MOST_NUMBER  # NaN is never at most anything


def _corners(box: Sequence[float], image: AnnotatedImage) -> tuple[float, float, float, float]:
    x, y, width, height = (float(value) for value in box)
    return max(x, 0), max(y, 0), min(x + width, image.width), min(y + height, image.height)


def _object(entry: dict[str, Any], image: AnnotatedImage) -> BoxAnnotation:
    x0, y0, x1, y1 = _corners(entry["bbox"], image)
    area = entry.get("area", (x1 - x0) * (y1 - y0))
    crowd = int(entry.get("iscrowd", 0))
    return BoxAnnotation(entry["id"], entry["category_id"], (x0, y0, x1 - x0, y1 - y0), float(area), crowd)


def _readable(images: list[AnnotatedImage], problems: _Problems, decode: bool) -> list[AnnotatedImage]:
    """Return the images that decode; threads read them, as decoding lets other threads run."""
    check: Callable[[AnnotatedImage], str | None] = lambda image: bad_image(image, decode)  # noqa: E731
    good = []
    with ThreadPoolExecutor(_READERS) as pool:
        for image, said in zip(images, pool.map(check, images), strict=True):
            if said is None:
                good.append(image)
            else:
                problems.report("bad image", f"image {image.id}", said)
    return good


def bad_image(image: AnnotatedImage, decode: bool = True) -> str | None:
    """Return what is wrong with an image's file, if anything."""
    if not image.path.is_file():
        return f"its file {image.path} is missing"
    try:
        size = image_size(image.path, decode)
    except (OSError, PictureError) as error:
        return f"its file {image.path} does not decode: {error}"
    if size != (image.width, image.height):
        return f"its file {image.path} has {size[0]} x {size[1]} px, the annotations say {image.width} x {image.height}"
    return None
