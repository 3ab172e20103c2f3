"""Reading, re-packing and writing ``.tflite`` files (TensorFlow Lite's flatbuffer schema)."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import flatbuffers
import numpy as np

from sapool.base.errors import SapoolError
from sapool.base.extras import require

IDENTIFIER = b"TFL3"
_DATA_ALIGNMENT = 16
_NUMBERS = ("float32", "int8", "uint8", "int16", "int32", "int64", "bool")


class TfliteError(SapoolError, ValueError):
    """A file is no usable ``.tflite``; the message says which file and why."""


def schema() -> Any:
    """Return the generated module of TensorFlow Lite's schema (extra: ``deploy``)."""
    return require("ai_edge_litert.schema_py_generated", "deploy", "reading .tflite files")


def load_tflite(path: str | Path) -> bytes:
    """Read a ``.tflite`` file.

    Raises:
        TfliteError: no such file, or its contents are something else or cut short.
    """
    path = Path(path)
    if not path.is_file():
        raise TfliteError(f"{path}: {'a folder, no file' if path.is_dir() else 'no such file'}")
    data = path.read_bytes()
    if data[4:8] != IDENTIFIER:
        raise TfliteError(f"{path}: not a .tflite file: bytes 4 to 8 must be {IDENTIFIER!r}, got {data[4:8]!r}")
    try:
        model = parse(data)
    except Exception as error:  # the generated reader raises whatever a broken offset leads to
        raise TfliteError(f"{path}: a damaged .tflite file: its contents end or point outside the file") from error
    if not model.subgraphs or not model.subgraphs[0].operators:
        raise TfliteError(f"{path}: a .tflite file without operators")
    return data


def parse(data: bytes) -> Any:
    """Return the schema's ``ModelT`` object of a flatbuffer, every constant inline.

    The quantiser writes large constants behind the flatbuffer (a buffer's offset and size); TensorFlow Lite Micro does
    not know such buffers and would take the weights for activations.
    """
    fb = schema()
    model = fb.ModelT.InitFromObj(fb.Model.GetRootAsModel(data, 0))
    for buffer in model.buffers:
        if buffer.offset > 1:  # 0: inline; 1: the format's marker for "not yet known"
            end = buffer.offset + buffer.size
            if end > len(data):
                raise TfliteError(f"a constant ends at byte {end} of a file of {len(data)}")
            buffer.data = np.frombuffer(data, np.uint8, buffer.size, buffer.offset)
        buffer.offset = buffer.size = 0
    return model


class _AligningBuilder(flatbuffers.Builder):
    """The schema wants byte vectors (constants) at multiples of 16; the generated Python code leaves that out."""

    def StartVector(self, elemSize: int, numElems: int, alignment: int) -> Any:  # noqa: N802, N803
        return super().StartVector(elemSize, numElems, _DATA_ALIGNMENT if elemSize == 1 else alignment)


def pack(model: Any) -> bytes:
    """Serialise a ``ModelT`` object."""
    builder = _AligningBuilder(1 << 16)
    builder.Finish(model.Pack(builder), file_identifier=IDENTIFIER)
    return bytes(builder.Output())


def is_constant(model: Any, tensor: int) -> bool:
    """Whether a tensor of the main graph of a ``ModelT`` is stored in the file."""
    data = model.buffers[model.subgraphs[0].tensors[tensor].buffer].data
    return data is not None and len(data) > 0


def shorten_names(model: Any) -> None:
    """Shorten the tensor names of a ``ModelT`` in place.

    The converter names a tensor after the whole chain of modules behind it, which can be a fifth of a small file.
    """
    for graph in model.subgraphs:
        for tensor in graph.tensors:
            if tensor.name:
                tensor.name = short_name(tensor.name.decode()).encode()


def short_name(name: str) -> str:
    """``a.Wrapper/torch.nn.modules.container.Sequential_stem/torch.nn.modules.conv.Conv2d_0;17`` -> ``stem.0;17``.

    What comes before the number is the path of modules, of the last layer where several are fused. A name without a
    path stays, but for a class's package: a short name is its own.
    """
    number = f";{name.rpartition(';')[2]}" if ";" in name else ""
    paths = [part for part in name.split(";") if "/" in part]
    if paths and all("." in step for step in paths[-1].split("/")):
        inside = [step for step in paths[-1].split("/")[1:] if not step.endswith("_wrapped")]
        if inside:
            return ".".join(_attribute(step) for step in inside) + number
    return name.split(";")[0].rpartition("/")[2].removeprefix(_WRAPPER) + number


_WRAPPER = "litert_torch._convert.to_channel_last_io."


def _attribute(step: str) -> str:
    """``torch.nn.modules.conv.Conv2d_0`` -> ``0``."""
    made = step.rpartition(".")[2]
    return made.partition("_")[2] or made


def operator_names(model: Any, graph: int = 0) -> list[str]:
    """Return the builtin operator name (``CONV_2D``, or a custom operator's own) of every operator, in order.

    ``graph`` is the place of the subgraph, 0 for the main one.
    """
    names = {code: name for name, code in vars(schema().BuiltinOperator).items() if isinstance(code, int)}
    codes = []
    for entry in model.operatorCodes:
        code = max(entry.builtinCode, entry.deprecatedBuiltinCode)
        custom = entry.customCode.decode() if entry.customCode else None
        codes.append(custom or names.get(code, f"operator {code}"))
    return [codes[op.opcodeIndex] for op in model.subgraphs[graph].operators]


def count_operators(data: bytes) -> Counter[str]:
    """Return how often each operator occurs in the file, those inside loops included."""
    model = parse(data)
    return Counter(name for graph in range(len(model.subgraphs)) for name in operator_names(model, graph))


@dataclass(frozen=True)
class TensorInfo:
    """Shape, numpy type and quantisation of a model's input or output; ``scale`` 0 means not quantised."""

    shape: tuple[int, ...]
    dtype: str
    scale: float
    zero_point: int


def input_output(data: bytes) -> tuple[TensorInfo, TensorInfo]:
    """Return what a model with one input and one output takes and makes.

    Raises:
        TfliteError: it has several, or of a type that is no number.
    """
    graph = parse(data).subgraphs[0]
    if len(graph.inputs) != 1 or len(graph.outputs) != 1:
        raise TfliteError(
            f"a model must have one input and one output, got {len(graph.inputs)} and {len(graph.outputs)}"
        )
    return tensor_info(graph.tensors[graph.inputs[0]]), tensor_info(graph.tensors[graph.outputs[0]])


def tensor_info(tensor: Any) -> TensorInfo:
    """Return what an input or output of a model (the schema's ``TensorT``) holds.

    Raises:
        TfliteError: it is of a type that is no number.
    """
    names = {value: name.lower() for name, value in vars(schema().TensorType).items() if isinstance(value, int)}
    dtype = names.get(tensor.type, "")
    if dtype not in _NUMBERS:
        raise TfliteError(f"inputs and outputs must be of type {', '.join(_NUMBERS)}, got {dtype or 'an unknown one'}")
    quantization = tensor.quantization
    scaled = quantization is not None and quantization.scale is not None and len(quantization.scale) == 1
    scale, zero_point = (float(quantization.scale[0]), int(quantization.zeroPoint[0])) if scaled else (0.0, 0)
    shape = () if tensor.shape is None else tuple(int(n) for n in tensor.shape)
    return TensorInfo(shape, dtype, scale, zero_point)


def count_macs(data: bytes) -> int:
    """Count the multiply-accumulates of one inference: convolutions, fully connected layers and matrix products.

    One MAC is one multiplication with its addition; element-wise operators, pools and soft-max are not counted. What a
    loop runs counts as often as it runs; once, if that depends on the input.
    """
    return _graph_macs(parse(data), 0)


def _graph_macs(model: Any, place: int) -> int:
    graph = model.subgraphs[place]
    total = 0
    for name, op in zip(operator_names(model, place), graph.operators, strict=True):
        if name == "WHILE":
            total += _loop_runs(model, graph, op) * _graph_macs(model, op.builtinOptions.bodySubgraphIndex)
            continue
        shapes = [graph.tensors[i].shape for i in (*op.inputs, *op.outputs) if i >= 0]
        total += _macs(name, [tuple(int(n) for n in s) for s in shapes], op)
    return total


def _loop_runs(model: Any, graph: Any, op: Any) -> int:
    """Return how often a WHILE runs that counts a variable up to a constant (ADD, LESS); 1 for any other."""
    condition, body = (
        model.subgraphs[i] for i in (op.builtinOptions.condSubgraphIndex, op.builtinOptions.bodySubgraphIndex)
    )
    less = next((o for o in condition.operators if int(o.outputs[0]) == int(condition.outputs[0])), None)
    counter = list(condition.inputs).index(less.inputs[0]) if less and less.inputs[0] in condition.inputs else -1
    add = next((o for o in body.operators if counter >= 0 and int(o.outputs[0]) == int(body.outputs[counter])), None)
    if less is None or add is None:
        return 1
    first = _number(model, graph, op.inputs[counter])
    limit, step = _number(model, condition, less.inputs[1]), _number(model, body, add.inputs[1])
    return max(-((first - limit) // step), 0) if first is not None and limit is not None and step else 1


def _number(model: Any, graph: Any, tensor: int) -> int | None:
    """Return the value of a constant of one int32; None for anything else."""
    data = model.buffers[graph.tensors[tensor].buffer].data
    is_number = data is not None and len(data) == 4 and graph.tensors[tensor].type == schema().TensorType.INT32
    return int(np.frombuffer(np.asarray(data, np.uint8).tobytes(), np.int32)[0]) if is_number else None


def _macs(name: str, shapes: list[tuple[int, ...]], op: Any) -> int:
    outputs = int(np.prod(shapes[-1]))
    if name in ("CONV_2D", "FULLY_CONNECTED"):  # weights (out, ...): what is behind the first side is one output's
        return outputs * int(np.prod(shapes[1][1:]))
    if name == "DEPTHWISE_CONV_2D":  # weights (1, kh, kw, out)
        return outputs * shapes[1][1] * shapes[1][2]
    if name == "BATCH_MATMUL":
        return outputs * shapes[0][-2 if op.builtinOptions.adjX else -1]
    return 0


def resolver_method(operator: str) -> str:
    """Return the ``MicroMutableOpResolver`` method that registers an operator: ``CONV_2D`` -> ``AddConv2D``."""
    irregular = {
        "BATCH_MATMUL": "BatchMatMul",
        "CUMSUM": "CumSum",
        "UNIDIRECTIONAL_SEQUENCE_LSTM": "UnidirectionalSequenceLSTM",
    }
    if operator in irregular:
        return f"Add{irregular[operator]}"
    words = "".join(word.capitalize() for word in operator.split("_"))
    return "Add" + re.sub(r"\dd$|v\d$", lambda found: found[0].upper(), words)
