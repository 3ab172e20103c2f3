"""A pruned network in a folder, without pickle: weights, and the widths that fit them."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import torch
from torch import nn

from sapool.base.extras import require
from sapool.base.files import write_bytes_atomically, write_text_atomically
from sapool.base.reading import read_json
from sapool.pruning.records import Pruned
from sapool.pruning.snapshot import is_plain, plain_attributes

WEIGHTS, CHANNELS, RECORD = "weights.safetensors", "channels.json", "prune.json"
_FORMAT = 1


def save_pruned(pruned: Pruned, original: nn.Module, folder: str | Path) -> None:
    """Write a pruned network.

    ``weights.safetensors`` is its state_dict; ``channels.json`` holds the numbers in which its modules differ from the
    original's (``out_channels``, ``num_features``, ``groups`` ...) and the sizes of buffers that no state_dict has;
    ``prune.json`` is the record.

    Args:
        pruned: of :func:`prune_channels`.
        original: the network that was pruned.
        folder: where; made if it is not there.
    """
    torch_files = require("safetensors.torch", "train", "save_pruned")
    folder = Path(folder)
    state = {name: tensor.detach().cpu().contiguous() for name, tensor in pruned.model.state_dict().items()}
    write_bytes_atomically(folder / WEIGHTS, torch_files.save(state))
    write_text_atomically(folder / RECORD, pruned.record.to_json())
    write_text_atomically(folder / CHANNELS, json.dumps(_widths(original, pruned.model), indent=1))


def _widths(original: nn.Module, pruned: nn.Module) -> dict[str, Any]:
    modules: dict[str, dict[str, Any]] = {}
    for (name, old), new in zip(original.named_modules(), pruned.modules(), strict=True):
        before, after = plain_attributes(old), plain_attributes(new)
        changed = {key: value for key, value in after.items() if before.get(key) != value}
        if changed:
            modules[name] = changed
    saved, sizes = pruned.state_dict(), dict(original.named_buffers())
    buffers = {
        name: list(buffer.shape)
        for name, buffer in pruned.named_buffers()
        if name not in saved and buffer.shape != sizes[name].shape
    }
    return {"format": _FORMAT, "modules": modules, "buffers": buffers}


def load_pruned(model: nn.Module, folder: str | Path) -> nn.Module:
    """Return a copy of ``model`` with the widths and weights that :func:`save_pruned` wrote.

    Args:
        model: the network as it was before it was pruned, with its plan in it; its weights don't matter.
        folder: of :func:`save_pruned`.

    Returns:
        The pruned network, in the mode of ``model``. torch-pruning is not needed.

    Raises:
        ValueError: no such files, or they are another network's.
    """
    folder = Path(folder)
    widths, state = _read_widths(folder / CHANNELS), _read_weights(folder / WEIGHTS)
    narrow = copy.deepcopy(model)
    modules = dict(narrow.named_modules())
    where = f"{folder} holds another network than {type(model).__name__}"
    for name, numbers in widths["modules"].items():
        if name not in modules:
            raise ValueError(f"{where}: it has no module {name!r}")
        _set_numbers(modules[name], numbers, f"{where}: {name}")
    for name, tensor in state.items():
        _resize(narrow, name, tuple(tensor.shape), where)
    for name, shape in widths["buffers"].items():  # alike for every channel, so the first ones will do
        _cut(narrow, name, shape, where)
    try:
        narrow.load_state_dict(state)
    except RuntimeError as error:
        raise ValueError(f"{where}: {str(error).splitlines()[-1].strip()}") from error
    return narrow


def _read_widths(path: Path) -> dict[str, Any]:
    try:
        data = read_json(path)
        if data["format"] != _FORMAT or not all(isinstance(data[key], dict) for key in ("modules", "buffers")):
            raise ValueError(f"format {data['format']!r}, this version reads {_FORMAT}")
        for numbers in data["modules"].values():
            if not all(_is_width(value) for value in numbers.values()):
                raise ValueError("a width that is no whole number of at least 1")
        return data
    except (OSError, KeyError, TypeError, AttributeError, ValueError) as error:
        said = str(error).removeprefix(f"{path}: ")
        raise ValueError(f"{path}: not the widths of a pruned network: {said}") from None


def _is_width(value: object) -> bool:
    parts = value if isinstance(value, list) else [value]
    return is_plain(value) and all(isinstance(part, int) and part >= 1 for part in parts)


def _read_weights(path: Path) -> dict[str, torch.Tensor]:
    torch_files = require("safetensors.torch", "train", "load_pruned")
    try:
        return torch_files.load(path.read_bytes())
    except Exception as error:  # safetensors has an error of its own, in a module that may be missing
        raise ValueError(f"{path}: no weights in safetensors format: {str(error).splitlines()[0]}") from error


def _set_numbers(module: nn.Module, numbers: dict[str, Any], where: str) -> None:
    """Set numbers that the module has, in the type it has them, and nothing else."""
    present = plain_attributes(module)
    for key, value in numbers.items():
        if key not in present or isinstance(present[key], int) != isinstance(value, int):
            raise ValueError(f"{where} has no number {key!r}")
        setattr(module, key, tuple(value) if isinstance(present[key], tuple) else value)


def _owner(model: nn.Module, name: str, where: str) -> tuple[nn.Module, str]:
    parent, _, last = name.rpartition(".")
    try:
        owner = model.get_submodule(parent)
    except AttributeError:
        raise ValueError(f"{where}: it has no module {parent!r}") from None
    if last not in owner._parameters and last not in owner._buffers:
        raise ValueError(f"{where}: {parent or 'it'} has no tensor {last!r}")
    return owner, last


def _resize(model: nn.Module, name: str, shape: tuple[int, ...], where: str) -> None:
    owner, last = _owner(model, name, where)
    held: torch.Tensor | None = getattr(owner, last)
    if held is None or held.shape == shape:
        return
    empty = held.detach().new_empty(shape)
    setattr(owner, last, nn.Parameter(empty, held.requires_grad) if isinstance(held, nn.Parameter) else empty)


def _cut(model: nn.Module, name: str, shape: list[int], where: str) -> None:
    owner, last = _owner(model, name, where)
    held: torch.Tensor = getattr(owner, last)
    if len(shape) != held.dim() or any(new > old for new, old in zip(shape, held.shape, strict=True)):
        raise ValueError(f"{where}: {name} can't be cut to {shape}, it is {list(held.shape)}")
    setattr(owner, last, held[tuple(slice(n) for n in shape)].clone())
