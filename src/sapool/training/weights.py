"""Trained weights in files: safetensors, or PyTorch's own format read without executing anything."""

from __future__ import annotations

import json
import pickle
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save
from torch import Tensor, nn

from sapool.base.files import write_bytes_atomically

WEIGHTS, PLAN = "weights.safetensors", "plan.json"
_SAFETENSORS, _TORCH = (".safetensors",), (".pt", ".pth", ".ckpt", ".bin")
# Where common training scripts put the state, and what wrappers put before every name.
_INSIDE = ("state_dict", "model_state_dict", "model", "net", "network")
_PREFIXES = ("module.", "_orig_mod.", "model.", "network.")
_DOWNSAMPLING = "sapool.downsampling"
_KEYS_SHOWN = 3


@dataclass(frozen=True)
class LoadedWeights:
    """What reading weights came to.

    Attributes:
        path: the file.
        replaced: parameters of the classifier that keep their first weights, since the file's is for another number
            of classes.
    """

    path: Path
    replaced: tuple[str, ...] = ()


def save_weights(model: nn.Module, path: str | Path) -> None:
    """Write the model's state as safetensors, under a temporary name first.

    The file also says how the network shrinks its maps, so that it is not loaded into one that does so differently.
    """
    state = {name: value.contiguous().cpu() for name, value in model.state_dict().items()}
    write_bytes_atomically(Path(path), save(state, {_DOWNSAMPLING: json.dumps(downsampling_of(model))}))


def downsampling_of(model: nn.Module) -> dict[str, str]:
    """Return {module: how it shrinks its map} of everything that does: what weights alone don't tell.

    >>> downsampling_of(nn.Sequential(nn.Conv2d(3, 8, 3, stride=2), nn.ReLU(), nn.MaxPool2d(2)))
    {'0': 'Conv2d stride 2,2', '2': 'MaxPool2d stride 2,2'}
    """
    ways = {}
    for name, module in model.named_modules():
        stride = getattr(module, "stride", None)
        if stride is None or not hasattr(module, "kernel_size"):
            continue
        sides = (stride, stride) if isinstance(stride, int) else tuple(stride)
        if set(sides) != {1}:
            ways[name] = f"{type(module).__name__} stride {','.join(map(str, sides))}"
    return ways


def load_weights(model: nn.Module, path: str | Path, *, other_classes: bool = False) -> LoadedWeights:
    """Read trained weights into ``model``.

    Args:
        model: takes the weights; changed in place.
        path: ``.safetensors``; ``.pt``, ``.pth``, ``.ckpt`` or ``.bin`` of PyTorch, which may hold tensors and plain
            values only; or a folder with ``weights.safetensors`` in it. A state inside ``state_dict`` or ``model``, and
            names behind ``module.``, are understood.
        other_classes: whether the last layer may be for another number of classes: it then keeps its first weights.

    Raises:
        ValueError: no such file, no weights in it, something that only executing code could read, the weights of
            another network, or of one that shrinks its maps differently (another plan).
    """
    path = _file_of(Path(path))
    state, ways = read_weights(path)
    state = _without_prefix(state, set(model.state_dict()))
    replaced = _check_names(model, state, path, other_classes)
    if ways is not None:
        _check_downsampling(model, ways, path)
    kept = {name: value for name, value in state.items() if name not in replaced}
    model.load_state_dict({**{name: model.state_dict()[name] for name in replaced}, **kept})
    return LoadedWeights(path, replaced)


def _file_of(path: Path) -> Path:
    if path.is_dir():
        if not (path / WEIGHTS).is_file():
            raise ValueError(f"{path}: a folder without {WEIGHTS}: name a file or a folder of results")
        return path / WEIGHTS
    if not path.is_file():
        raise ValueError(f"{path}: no such file")
    return path


def read_weights(path: Path) -> tuple[dict[str, Tensor], dict[str, str] | None]:
    """Return a file's {name: tensor}, and how its network shrinks its maps where the file says so.

    Raises:
        ValueError: see :func:`load_weights`.
    """
    if path.suffix in _SAFETENSORS:
        return _read_safetensors(path)
    if path.suffix in _TORCH:
        return _read_torch(path), None
    known = ", ".join((*_SAFETENSORS, *_TORCH))
    raise ValueError(f"{path}: weights must be in a file of {known}, got {path.suffix or 'no ending'}")


def _read_safetensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str] | None]:
    try:
        with safe_open(path, "pt") as file:
            metadata = file.metadata() or {}
        state = load_file(path)
        ways = json.loads(metadata[_DOWNSAMPLING]) if _DOWNSAMPLING in metadata else None
    except SafetensorError as error:
        raise ValueError(f"{path}: not a safetensors file: {error}") from None
    except ValueError as error:
        raise ValueError(f"{path}: its metadata {_DOWNSAMPLING!r} is no JSON: {error}") from None
    return state, ways if isinstance(ways, dict) else None


def _read_torch(path: Path) -> dict[str, Tensor]:
    try:
        held = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError:
        convert = f"torch.save(torch.load({str(path)!r}, weights_only=False).state_dict(), 'weights.pt')"
        raise ValueError(
            f"{path}: holds more than tensors, and reading that would run code from the file; if you trust it, "
            f"convert it once where its classes can be imported: {convert}"
        ) from None
    except Exception as error:
        reason = " ".join(str(error).split())[:200]
        raise ValueError(f"{path}: not a file of torch.save ({type(error).__name__}: {reason})") from None
    return _state_in(held, path)


def _state_in(held: Any, path: Path) -> dict[str, Tensor]:
    """Return the state inside what a training script saved."""
    for key in _INSIDE:
        if isinstance(held, Mapping) and isinstance(held.get(key), Mapping):
            held = held[key]
    tensors = isinstance(held, Mapping) and bool(held) and all(isinstance(value, Tensor) for value in held.values())
    if not tensors:
        found = (
            f"a dictionary of {', '.join(map(str, list(held)[:5]))}"
            if isinstance(held, Mapping)
            else type(held).__name__
        )
        raise ValueError(f"{path}: must hold a state_dict (names and tensors), got {found}")
    return {str(name): value for name, value in held.items()}


def _without_prefix(state: dict[str, Tensor], wanted: set[str]) -> dict[str, Tensor]:
    """Take off what wrappers put before every name, as long as the names are not the network's own."""
    while not wanted & state.keys():
        prefix = next((p for p in _PREFIXES if all(name.startswith(p) for name in state)), None)
        if prefix is None:
            break
        state = {name.removeprefix(prefix): value for name, value in state.items()}
    return state


def _check_names(model: nn.Module, state: dict[str, Tensor], path: Path, other_classes: bool) -> tuple[str, ...]:
    """Check names and shapes; returns the classifier's parameters if only the number of classes differs."""
    own = model.state_dict()
    for name in own.keys() - state.keys():
        if name.endswith("num_batches_tracked"):  # older files don't count batches
            state[name] = own[name]
    missing = [name for name in own if name not in state]
    unknown = [name for name in state if name not in own]
    shapes = [name for name in own if name in state and own[name].shape != state[name].shape]
    if not missing and not unknown:
        if not shapes:
            return ()
        if other_classes and _is_classifier(model, shapes, state):
            return tuple(shapes)
    differ = [
        *(f"{name} {tuple(state[name].shape)} where the network has {tuple(own[name].shape)}" for name in shapes),
        *(f"{name} is missing" for name in missing),
        *(f"{name} is not in the network" for name in unknown),
    ]
    more = f" and {len(differ) - _KEYS_SHOWN} more" if len(differ) > _KEYS_SHOWN else ""
    raise ValueError(
        f"{path}: the weights of another network or plan: {'; '.join(differ[:_KEYS_SHOWN])}{more}{_plan_beside(path)}"
    )


def _is_classifier(model: nn.Module, names: list[str], state: dict[str, Tensor]) -> bool:
    """Whether these are the last linear layer or convolution, and differ in their outputs alone."""
    last = [name for name, module in model.named_modules() if isinstance(module, nn.Linear | nn.Conv2d)][-1:]
    own = model.state_dict()
    return all(name.rpartition(".")[0] in last and own[name].shape[1:] == state[name].shape[1:] for name in names)


def _check_downsampling(model: nn.Module, ways: dict[str, str], path: Path) -> None:
    own = downsampling_of(model)
    differ = [name for name in {**ways, **own} if ways.get(name) != own.get(name)]
    if not differ:
        return
    name = differ[0]
    advice = _plan_beside(path) or "; load them with the plan they were trained with"
    raise ValueError(
        f"{path}: these weights were trained with another plan: {name or 'the network'} was "
        f"{ways.get(name, 'of stride 1')} and is {own.get(name, 'of stride 1')} here{advice}"
    )


def _plan_beside(path: Path) -> str:
    beside = path.parent / PLAN
    return f"; their plan lies beside them: {beside}" if beside.is_file() else ""
