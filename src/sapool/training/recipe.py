"""Recipes as YAML files: those of this package by name, a user's by path."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection
from pathlib import Path
from typing import Any, Generic, TypeVar

from sapool.base.extras import require
from sapool.base.suggest import suggest
from sapool.training.config import TrainConfig

ConfigT = TypeVar("ConfigT", bound=TrainConfig)
_SAID = {int: "a whole number", float: "a number", bool: "true or false", str: "a text"}


class RecipeBook(Generic[ConfigT]):
    """A folder of recipes for one kind of configuration.

    Args:
        folder: of ``.yaml`` files.
        kind: the configuration's class, every field of which has a default.
        names: those of its sequences that hold names; others hold numbers.
    """

    def __init__(self, folder: Path, kind: type[ConfigT], names: Collection[str] = ("augment",)) -> None:
        self.folder, self.kind = folder, kind
        self.recipes = tuple(sorted(path.stem for path in folder.glob("*.yaml")))
        self._fields = {field.name: field for field in dataclasses.fields(kind)}
        self._kinds = {name: _kind_of(field, names) for name, field in self._fields.items()}

    def read(self, name_or_path: str | Path, **overrides: Any) -> ConfigT:
        """Read a recipe; see :func:`read_recipe`."""
        path = self._find(name_or_path)
        asked = {key: value for key, value in overrides.items() if value is not None}
        held = {key: self._check(path, key, value) for key, value in _read(path).items()}
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
        if not path.is_file():
            raise ValueError(f"{path}: no such file")
        return path

    def _check(self, path: Path, key: Any, value: Any) -> Any:
        """Return ``value`` in its field's type."""
        if key not in self._fields:
            raise ValueError(f"{path}: unknown key {key!r}: {suggest(str(key), self._fields)}")
        kind, wanted = self._kinds[key]
        if kind is tuple and isinstance(value, list | tuple):
            if wanted != "names":
                return tuple(_number(path, key, item) for item in value)
            if all(isinstance(item, str) for item in value):
                return tuple(value)
        if value is None and self._fields[key].default is None:
            return None
        if kind is float:
            return _number(path, key, value)
        if type(value) is not kind:
            raise ValueError(f"{path}: {key} must be {wanted}, got {value!r}")
        return value


def _read(path: Path) -> dict[str, Any]:
    yaml = require("yaml", "train", "a recipe")
    try:
        text = path.read_text()
        values, tree = yaml.safe_load(text), yaml.compose(text, yaml.SafeLoader)
    except UnicodeDecodeError:
        raise ValueError(f"{path}: not a text file") from None
    except yaml.YAMLError as error:
        raise ValueError(f"{path}: not YAML: {' '.join(str(error).split())}") from None
    keys = [key.value for key, _ in tree.value] if isinstance(tree, yaml.MappingNode) else []
    twice = next((key for key in keys if keys.count(key) > 1), None)
    if twice is not None:  # YAML itself would silently take the last
        raise ValueError(f"{path}: {twice!r} is there twice: remove one")
    if values is None:
        return {}
    if not isinstance(values, dict):
        raise ValueError(f"{path}: a recipe is a list of 'key: value' lines, this is a {type(values).__name__}")
    return values


def _number(path: Path, key: str, value: Any) -> float:
    """Return a number; YAML itself takes ``1e-3`` for a text."""
    try:
        if not isinstance(value, bool):
            return float(value)
    except (TypeError, ValueError):
        pass
    raise ValueError(f"{path}: {key} must be a number, got {value!r}")


def _kind_of(field: dataclasses.Field[Any], names: Collection[str]) -> tuple[type, str]:
    """Return a field's type and how a message calls it."""
    if field.default is None or isinstance(field.default, tuple):
        return tuple, "names" if field.name in names else "a list"
    return type(field.default), _SAID[type(field.default)]


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
