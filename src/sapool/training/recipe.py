"""Recipes as YAML files: those of this package by name, a user's by path."""

from __future__ import annotations

import dataclasses
from functools import cache
from pathlib import Path
from typing import Any

from sapool.choices import suggest
from sapool.optional import require
from sapool.training.config import TrainConfig

_FOLDER = Path(__file__).parent / "recipes"
RECIPES = tuple(sorted(path.stem for path in _FOLDER.glob("*.yaml")))
_FIELDS = {field.name: field for field in dataclasses.fields(TrainConfig)}


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
    path = _find(name_or_path)
    asked = {key: value for key, value in overrides.items() if value is not None}
    held = {key: _check(path, key, value) for key, value in _read(path).items()}
    checked = held | {key: _check(path, key, value) for key, value in asked.items()}
    if "epochs" in asked and "epochs" in held and "warmup_epochs" in held and "warmup_epochs" not in asked:
        checked["warmup_epochs"] *= checked["epochs"] / max(1, held["epochs"])
    try:
        return TrainConfig(**checked)
    except ValueError as error:
        raise ValueError(f"{path if path.parent != _FOLDER else path.stem}: {error}") from None


def _find(name_or_path: str | Path) -> Path:
    path = Path(name_or_path)
    if path.suffix not in (".yaml", ".yml"):
        name = str(name_or_path)
        if name not in RECIPES:
            raise ValueError(f"unknown recipe {name!r}: {suggest(name, RECIPES)}, or name a .yaml file")
        return _FOLDER / f"{name}.yaml"
    if not path.is_file():
        raise ValueError(f"{path}: no such file")
    return path


def _read(path: Path) -> dict[str, Any]:
    yaml = require("yaml", "train", "a recipe")
    try:
        values = yaml.safe_load(path.read_text())
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: not YAML: {' '.join(str(error).split())}") from None
    if values is None:
        return {}
    if not isinstance(values, dict):
        raise ValueError(f"{path}: a recipe is a list of 'key: value' lines, this is a {type(values).__name__}")
    return values


def _check(path: Path, key: Any, value: Any) -> Any:
    """Return ``value`` in its field's type."""
    if key not in _FIELDS:
        raise ValueError(f"{path}: unknown key {key!r}: {suggest(str(key), _FIELDS)}")
    kind, wanted = _kinds()[key]
    if kind is tuple and isinstance(value, list | tuple):
        if wanted != "names":
            return tuple(_number(path, key, item) for item in value)
        if all(isinstance(item, str) for item in value):
            return tuple(value)
    if value is None and _FIELDS[key].default is None:
        return None
    if kind is float:
        return _number(path, key, value)
    if type(value) is not kind:
        raise ValueError(f"{path}: {key} must be {wanted}, got {value!r}")
    return value


def _number(path: Path, key: str, value: Any) -> float:
    """Return a number; YAML itself takes ``1e-3`` for a text."""
    try:
        if not isinstance(value, bool):
            return float(value)
    except (TypeError, ValueError):
        pass
    raise ValueError(f"{path}: {key} must be a number, got {value!r}")


@cache
def _kinds() -> dict[str, tuple[type, str]]:
    """Return every field's type and how a message calls it."""
    said = {int: "a whole number", float: "a number", bool: "true or false", str: "a text"}
    kinds: dict[str, tuple[type, str]] = {}
    for name, field in _FIELDS.items():
        sequence = field.default is None or isinstance(field.default, tuple)
        kind = tuple if sequence else type(field.default)
        kinds[name] = (kind, ("names" if name == "augment" else "a list") if sequence else said[kind])
    return kinds
