"""A ``.tflite`` built by hand, operator by operator: what no exporter of ours would write."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sapool.tflite.file import pack, schema


class HandMade:
    """Tensors and operators of a one-graph model; :meth:`write` makes the file."""

    def __init__(self) -> None:
        self.fb = schema()
        self.model = self.fb.ModelT()
        self.model.version, self.model.operatorCodes, self.model.buffers = 3, [], [self.fb.BufferT()]
        self.graph = self.fb.SubGraphT()
        self.graph.tensors, self.graph.operators = [], []
        self.model.subgraphs = [self.graph]

    def tensor(
        self,
        name: str,
        shape: tuple[int, ...],
        scale: float = 0.0,
        zero_point: int = 0,
        dtype: str = "INT8",
        values: NDArray[Any] | None = None,
    ) -> int:
        tensor = self.fb.TensorT()
        tensor.name, tensor.shape, tensor.type, tensor.buffer = name.encode(), list(shape), 0, 0
        tensor.type = getattr(self.fb.TensorType, dtype)
        if scale:
            tensor.quantization = self.fb.QuantizationParametersT()
            tensor.quantization.scale, tensor.quantization.zeroPoint = [scale], [zero_point]
        if values is not None:
            buffer = self.fb.BufferT()
            buffer.data = np.frombuffer(values.tobytes(), np.uint8)
            self.model.buffers.append(buffer)
            tensor.buffer = len(self.model.buffers) - 1
        self.graph.tensors.append(tensor)
        return len(self.graph.tensors) - 1

    def operator(self, kind: str, inputs: list[int], outputs: list[int], **options: Any) -> None:
        builtin = self.fb.BuiltinOperator
        code, op = self.fb.OperatorCodeT(), self.fb.OperatorT()
        code.version, code.builtinCode = 1, getattr(builtin, kind, builtin.CUSTOM)
        code.deprecatedBuiltinCode = min(code.builtinCode, 127)
        if code.builtinCode == builtin.CUSTOM:
            code.customCode = kind.encode()
        name = "".join(word.capitalize() for word in kind.split("_")) + "Options"
        if hasattr(self.fb, f"{name}T"):
            op.builtinOptionsType = getattr(self.fb.BuiltinOptions, name)
            op.builtinOptions = getattr(self.fb, f"{name}T")()
            for key, value in options.items():
                setattr(op.builtinOptions, key, value)
        self.model.operatorCodes.append(code)
        op.opcodeIndex, op.inputs, op.outputs = len(self.model.operatorCodes) - 1, inputs, outputs
        self.graph.operators.append(op)

    def write(self, path: Path, taken: int, made: int) -> Path:
        self.graph.inputs, self.graph.outputs = [taken], [made]
        path.write_bytes(pack(self.model))
        return path


MAP = (1, 4, 4, 2)


def soft_max(path: Path, keys: int, scale: float = 0.001) -> Path:
    """A soft-max over ``keys`` behind a ReLU."""
    model = HandMade()
    taken, positive = (model.tensor(name, (1, 4, 1, keys), scale) for name in ("in", "positive"))
    made = model.tensor("weights", (1, 4, 1, keys), 1 / 256, -128)
    model.operator("RELU", [taken], [positive])
    model.operator("SOFTMAX", [positive], [made], beta=1.0)
    return model.write(path, taken, made)


def quotient(path: Path) -> Path:
    """x / relu(x), both int8: zero over zero where x is negative."""
    model = HandMade()
    taken, divisor, made = (model.tensor(name, MAP, 0.1) for name in ("in", "divisor", "quotient"))
    model.operator("RELU", [taken], [divisor])
    model.operator("DIV", [taken, divisor], [made])
    return model.write(path, taken, made)


def unary(path: Path, kind: str, shape: tuple[int, ...] = MAP) -> Path:
    """``kind`` between two ReLUs; ``shape`` is that of what it makes."""
    model = HandMade()
    taken, positive = (model.tensor(name, MAP, 0.1) for name in ("in", "positive"))
    odd, made = (model.tensor(name, shape, 0.1) for name in ("odd", "made"))
    model.operator("RELU", [taken], [positive])
    model.operator(kind, [positive], [odd])
    model.operator("RELU", [odd], [made])
    return model.write(path, taken, made)


def island(path: Path) -> Path:
    """int8 -> float -> EXP -> float -> int8."""
    model = HandMade()
    taken = model.tensor("in", MAP, 0.01)
    real, power = (model.tensor(name, MAP, dtype="FLOAT32") for name in ("real", "power"))
    made = model.tensor("made", MAP, 0.05)
    model.operator("DEQUANTIZE", [taken], [real])
    model.operator("EXP", [real], [power])
    model.operator("QUANTIZE", [power], [made])
    return model.write(path, taken, made)


def cut_off(path: Path, scale: float) -> Path:
    """x + x in a range of ``scale``, which is too narrow if it is less than twice the input's 0.01."""
    model = HandMade()
    taken, made = model.tensor("in", MAP, 0.01), model.tensor("blocks", MAP, scale)
    model.operator("ADD", [taken, taken], [made])
    return model.write(path, taken, made)


def float_sum(path: Path) -> Path:
    """x + x in float32, with the converter's long names."""
    model = HandMade()
    taken = model.tensor("in", MAP, dtype="FLOAT32")
    made = model.tensor("a.Wrapper/tests.Net_wrapped/torch.Sequential_blocks", MAP, dtype="FLOAT32")
    model.operator("ADD", [taken, taken], [made])
    return model.write(path, taken, made)
