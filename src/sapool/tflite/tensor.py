"""One tensor of a graph: shape, type, quantisation, and a constant's bytes."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

BYTES_OF: Mapping[str, int] = {
    "bool": 1,
    "int4": 1,  # the runtime unpacks it
    "int8": 1,
    "uint8": 1,
    "int16": 2,
    "uint16": 2,
    "float16": 2,
    "int32": 4,
    "uint32": 4,
    "float32": 4,
    "int64": 8,
    "uint64": 8,
    "float64": 8,
    "complex64": 8,
    "resource": 0,  # a handle, which lies in its operator's own data
}
_IN_NUMPY = frozenset(BYTES_OF) - {"int4", "resource"}


@dataclass(frozen=True)
class Quantization:
    """``real = (q - zero_point) * scale``, one pair for the tensor or one for every channel along ``axis``."""

    scales: tuple[float, ...]
    zero_points: tuple[int, ...]
    axis: int = 0


class Constant:
    """Bytes of a constant, made or read when they are first asked for; tensors that share them share this object."""

    def __init__(self, source: NDArray[np.uint8] | Callable[[], NDArray[Any]]) -> None:
        self._source = source

    @property
    def read(self) -> bool:
        """Whether its bytes are there without making them."""
        return not callable(self._source) or "raw" in vars(self)

    @cached_property
    def raw(self) -> NDArray[np.uint8]:
        """The bytes, (n,)."""
        values = self._source() if callable(self._source) else self._source
        return np.ascontiguousarray(values).reshape(-1).view(np.uint8)


@dataclass(frozen=True, eq=False)
class Tensor:
    """One tensor of a graph.

    Attributes:
        name: in the file, or of the traced node that makes it.
        shape: as the runtime holds it, channel-last: (1, H, W, C).
        dtype: ``int8``, ``float32``, ...; a key of :data:`BYTES_OF` for whatever is computed.
        quantization: its scales and zero points; None where it has none.
        constant: its bytes where the file (or the network) has them, else None.
        variable: state that lives through every inference.
        signature: the shape with -1 for sides that may change; () where it says nothing more than ``shape``.
        sparsity: the schema's own record of which values are stored, handed on as it is; None: all are.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str = "int8"
    quantization: Quantization | None = None
    constant: Constant | None = None
    variable: bool = False
    signature: tuple[int, ...] = ()
    sparsity: object | None = None

    @property
    def bytes(self) -> int:
        """Its size in bytes, once it is unpacked."""
        if self.dtype not in BYTES_OF and self.constant is not None:
            return len(self.constant.raw)
        return math.prod(self.shape) * BYTES_OF[self.dtype]

    @property
    def elements(self) -> int:
        """How many values it holds."""
        return math.prod(self.shape)

    @property
    def values(self) -> NDArray[Any] | None:
        """A constant's values in its own type and shape, packed ones as bytes; None for what is computed."""
        if self.constant is None:
            return None
        if self.dtype not in _IN_NUMPY or self.sparsity is not None:
            return self.constant.raw
        return self.constant.raw.view(np.dtype(self.dtype)).reshape(self.shape)

    @property
    def integers(self) -> tuple[int, ...]:
        """A constant int32 or int64 tensor's values; () for any other."""
        if self.constant is None or self.dtype not in ("int32", "int64"):
            return ()
        return tuple(int(n) for n in self.constant.raw.view(np.dtype(self.dtype)))

    @property
    def channels(self) -> int:
        """How many scales its quantisation has (1: per tensor, 0: not quantised)."""
        return len(self.quantization.scales) if self.quantization is not None else 0

    @property
    def scale(self) -> float:
        """The scale of a tensor quantised per tensor; 0 for any other."""
        return self.quantization.scales[0] if self.quantization is not None and self.channels == 1 else 0.0

    @property
    def zero_point(self) -> int:
        """The zero point of a tensor quantised per tensor; 0 for any other."""
        return self.quantization.zero_points[0] if self.quantization is not None and self.channels == 1 else 0
