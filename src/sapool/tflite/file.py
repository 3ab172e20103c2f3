"""Reading, re-packing and writing ``.tflite`` files (TensorFlow Lite's flatbuffer schema)."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import flatbuffers
import numpy as np

from sapool.base.extras import require
from sapool.tflite.errors import TfliteError as TfliteError

IDENTIFIER = b"TFL3"
_DATA_ALIGNMENT = 16
_LEAST_BYTES = 8  # of a tensor or an operator: its place in the list, and a table


def schema() -> Any:
    """Return the generated module of TensorFlow Lite's schema (extra: ``deploy``)."""
    return require("ai_edge_litert.schema_py_generated", "deploy", "reading .tflite files")


def load_tflite(path: str | Path) -> bytes:
    """Return a ``.tflite`` file's bytes; :func:`sapool.tflite.read_graph` checks what is in them.

    Raises:
        TfliteError: no such file, or something else by its first bytes.
    """
    path = Path(path)
    if not path.is_file():
        raise TfliteError(f"{path}: {'a folder, no file' if path.is_dir() else 'no such file'}")
    data = path.read_bytes()
    if data[4:8] != IDENTIFIER:
        raise TfliteError(f"{path}: not a .tflite file: bytes 4 to 8 must be {IDENTIFIER!r}, got {data[4:8]!r}")
    return data


def parse(data: bytes) -> Any:
    """Return the schema's ``ModelT`` object of a flatbuffer, every constant inline.

    The quantiser writes large constants behind the flatbuffer (a buffer's offset and size); TensorFlow Lite Micro does
    not know such buffers and would take the weights for activations.
    """
    fb = schema()
    root = fb.Model.GetRootAsModel(data, 0)
    graphs = [root.Subgraphs(place) for place in range(min(root.SubgraphsLength(), len(data)))]
    entries = sum(graph.TensorsLength() + graph.OperatorsLength() for graph in graphs)
    if entries * _LEAST_BYTES > len(data):  # the same tables are named again and again
        raise TfliteError(f"it claims {entries:,} tensors and operators in {len(data):,} bytes")
    model = fb.ModelT.InitFromObj(root)
    for buffer in model.buffers:
        if buffer.offset > 1:  # 0: inline; 1: the format's marker for "not yet known"
            end = buffer.offset + buffer.size
            if end > len(data):
                raise TfliteError(f"a constant ends at byte {end} of a file of {len(data)}")
            buffer.data = np.frombuffer(data, np.uint8, buffer.size, buffer.offset)
        buffer.offset = buffer.size = 0
    return model


def count_external(data: bytes) -> int:
    """Return how many constants lie behind the flatbuffer, where TensorFlow Lite Micro doesn't look for them."""
    model = schema().Model.GetRootAsModel(data, 0)
    return sum(model.Buffers(place).Offset() > 1 for place in range(model.BuffersLength()))


class _AligningBuilder(flatbuffers.Builder):
    """The schema wants byte vectors (constants) at multiples of 16; the generated Python code leaves that out."""

    def StartVector(self, elemSize: int, numElems: int, alignment: int) -> Any:  # noqa: N802, N803
        return super().StartVector(elemSize, numElems, _DATA_ALIGNMENT if elemSize == 1 else alignment)


def pack(model: Any) -> bytes:
    """Serialise a ``ModelT`` object."""
    builder = _AligningBuilder(1 << 16)
    builder.Finish(model.Pack(builder), file_identifier=IDENTIFIER)
    return bytes(builder.Output())


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
