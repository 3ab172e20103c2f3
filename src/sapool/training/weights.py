"""Trained weights as safetensors: no pickle."""

from __future__ import annotations

from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import nn

from sapool.base.records import write_bytes_atomically


def save_weights(model: nn.Module, path: str | Path) -> None:
    """Write the model's state as safetensors, under a temporary name first."""
    state = {name: value.contiguous().cpu() for name, value in model.state_dict().items()}
    write_bytes_atomically(Path(path), save(state))


def load_weights(model: nn.Module, path: str | Path) -> None:
    """Read a safetensors file into ``model``.

    Raises:
        ValueError: no such file, no safetensors file, or the weights of another network.
    """
    path = Path(path)
    if not path.is_file():
        raise ValueError(f"{path}: no such file")
    try:
        model.load_state_dict(load_file(path))
    except SafetensorError as error:
        raise ValueError(f"{path}: not a safetensors file: {error}") from None
    except RuntimeError as error:
        reason = " ".join(str(error).split())[:200]
        raise ValueError(f"{path}: the weights of another network or plan: {reason}") from None
