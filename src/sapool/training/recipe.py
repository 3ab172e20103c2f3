"""Recipes as YAML files: those of this package by name, a user's by path."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Generic, TypeVar, get_type_hints

from sapool.base.quoting import quote
from sapool.base.reading import ReadingError, build, read_yaml
from sapool.base.suggest import suggest
from sapool.training.config import TrainConfig

ConfigT = TypeVar("ConfigT", bound=TrainConfig)


class RecipeBook(Generic[ConfigT]):
    """A folder of recipes for one kind of configuration.

    Args:
        folder: of ``.yaml`` files.
        kind: the configuration's class, every field of which has a default.
    """

    def __init__(self, folder: Path, kind: type[ConfigT]) -> None:
        self.folder, self.kind = folder, kind
        self.recipes = tuple(sorted(path.stem for path in folder.glob("*.yaml")))
        self._types = get_type_hints(kind)

    def read(self, name_or_path: str | Path, **overrides: Any) -> ConfigT:
        """Read a recipe; see :func:`read_recipe`."""
        path = self._find(name_or_path)
        asked = {key: value for key, value in overrides.items() if value is not None}
        held = {key: self._check(path, key, value) for key, value in read_yaml(path).items()}
        checked = held | {key: self._check(path, key, value) for key, value in asked.items()}
        if "epochs" in asked and "epochs" in held and "warmup_epochs" in held and "warmup_epochs" not in asked:
            checked["warmup_epochs"] *= checked["epochs"] / max(1, held["epochs"])
        try:
            return self.kind(**checked)
        except ValueError as error:
            raise ValueError(f"{path if path.parent != self.folder else path.stem}: {error}") from None

    def _find(self, name_or_path: str | Path) -> Path:
        path = Path(name_or_path)
        if path.suffix not in (".yaml", ".yml"):
            name = str(name_or_path)
            if name not in self.recipes:
                raise ValueError(f"unknown recipe {name!r}: {suggest(name, self.recipes)}, or name a .yaml file")
            return self.folder / f"{name}.yaml"
        return path

    def _check(self, path: Path, key: str, value: Any) -> Any:
        """Return ``value`` in its field's type."""
        if key not in self._types:
            raise ValueError(f"{path}: unknown key {quote(key)}: {suggest(key[:100], self._types)}")
        try:
            return build(self._types[key], value, key)
        except ReadingError as error:
            raise ValueError(f"{path}: {error}") from None


_BOOK = RecipeBook(Path(__file__).parent / "recipes", TrainConfig)
RECIPES = _BOOK.recipes


def read_recipe(name_or_path: str | Path, **overrides: Any) -> TrainConfig:
    """Read a recipe.

    Args:
        name_or_path: one of :data:`RECIPES`, or a YAML file (its name ends in ``.yaml`` or ``.yml``) of
            :class:`TrainConfig`'s fields; what it leaves out has the default.
        overrides: fields that replace the file's; ``None`` leaves the file's. With other ``epochs`` alone the warm-up
            keeps its share of them, as milestones do.

    Raises:
        ValueError: no such recipe or file, no YAML, or an unknown key or a value that is none for it: one line with
            the file, the key and the nearest known one.
    """
    return _BOOK.read(name_or_path, **overrides)
