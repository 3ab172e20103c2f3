"""``model.h``: what firmware needs to run a model on TensorFlow Lite Micro."""

from __future__ import annotations

import math
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

from sapool.base.c_text import c_comment, c_float, c_string
from sapool.base.records import ArenaRecord
from sapool.memory import profile_tflite
from sapool.tflite import Tensor, read_graph
from sapool.tflite.file import resolver_method

_ALIGNMENT = 16
_PEAK = 255.0  # of an 8-bit pixel


def model_header(
    model: bytes | str | Path,
    arena: ArenaRecord,
    *,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    classes: Sequence[str] = (),
) -> str:
    """Return a C header with the model and all that firmware needs to feed it and to read its answer.

    That is: shapes and layout of input and output, their scale and zero point, how an 8-bit pixel becomes an input
    value, the classes' names, the arena to reserve on 64 and on 32 bits, and the operators for the resolver. It
    compiles as C11 and as C++.

    Args:
        model: the ``.tflite``: its bytes, or its path.
        arena: its measurement.
        mean: of a colour, in units where a pixel is 0 to 1, that the network's images are normalised with; None: 0.
        std: as ``mean``; None: 1.
        classes: names of the outputs, in order.

    Raises:
        ValueError: as many means, deviations or classes as the model has no channels or outputs.
        TfliteError: no ``.tflite``.

    Example:
        >>> header = model_header("model.tflite", measure_arena("model.tflite"))  # doctest: +SKIP
    """
    data = model if isinstance(model, bytes) else Path(model).read_bytes()
    graph = read_graph(data)
    source, result = graph.tensors[graph.inputs[0]], graph.tensors[graph.outputs[0]]
    parts = [
        _opening(arena),
        _arena(data, arena),
        _input(source, mean, std),
        _output(result, classes),
        _model(data),
        "#endif  // SAPOOL_MODEL_H_\n",
    ]
    return "\n".join(parts)


def _opening(arena: ArenaRecord) -> str:
    resolver = "\n".join(f"//   resolver.{resolver_method(name)}();" for name in arena.operators)
    return f"""// A network for TensorFlow Lite Micro, written by sapool {version("sapool")}.
// Measured with {c_comment(arena.interpreter)}: head {arena.head_bytes}, tail {arena.tail_bytes} bytes of arena.
//
// The operators it needs:
//   tflite::MicroMutableOpResolver<{len(arena.operators)}> resolver;
{resolver}
#ifndef SAPOOL_MODEL_H_
#define SAPOOL_MODEL_H_

#include <stdint.h>

#ifdef __cplusplus
#define SAPOOL_ALIGNED alignas({_ALIGNMENT})
#else
#define SAPOOL_ALIGNED _Alignas({_ALIGNMENT})
#endif
"""


def _reserve(count: int) -> int:
    """Round up, with one alignment more: the runtime aligns the buffer it is given."""
    return -(-count // _ALIGNMENT) * _ALIGNMENT + _ALIGNMENT


def _arena(data: bytes, arena: ArenaRecord) -> str:
    small = _reserve(min(profile_tflite(data).arena_bytes_32bit, arena.arena_bytes))
    return f"""// Reserve at least this much: SAPOOL_ALIGNED uint8_t arena[SAPOOL_ARENA_BYTES];
// On 32 bits it is predicted for the runtime's reference kernels. CMSIS-NN and ESP-NN take scratch on top: see
// sapool profile --board, or reserve the 64-bit figure and call arena_used_bytes().
#define SAPOOL_ARENA_BYTES_64BIT {_reserve(arena.arena_bytes)}
#define SAPOOL_ARENA_BYTES_32BIT {small}
#if UINTPTR_MAX > 0xffffffffu
#define SAPOOL_ARENA_BYTES SAPOOL_ARENA_BYTES_64BIT
#else
#define SAPOOL_ARENA_BYTES SAPOOL_ARENA_BYTES_32BIT
#endif
"""


def _facts(prefix: str, tensor: Tensor) -> list[str]:
    """Return the macros of an input or output: ``real = (q - zero point) * scale``."""
    shape = ", ".join(map(str, tensor.shape))
    return [
        f"#define {prefix}_SHAPE {{{shape or 1}}}",
        f"#define {prefix}_BYTES {tensor.bytes}",
        f"#define {prefix}_TYPE {_C_TYPES.get(tensor.dtype, tensor.dtype)}",
        f"#define {prefix}_SCALE {c_float(tensor.scale)}",
        f"#define {prefix}_ZERO_POINT ({tensor.zero_point})",
    ]


_C_TYPES = {"float32": "float", "bool": "uint8_t"} | {
    name: f"{name}_t" for name in ("int8", "uint8", "int16", "int32", "int64")
}


def _input(tensor: Tensor, mean: Sequence[float] | None, std: Sequence[float] | None) -> str:
    lines = ["// Input: real = (q - SAPOOL_INPUT_ZERO_POINT) * SAPOOL_INPUT_SCALE.", *_facts("SAPOOL_INPUT", tensor)]
    if len(tensor.shape) != 4:
        return "\n".join(lines) + "\n"
    _, height, width, channels = tensor.shape
    means, deviations = _by_channel("mean", mean, 0.0, channels), _by_channel("std", std, 1.0, channels)
    # real = (p / 255 - mean) / std and q = real / scale + zero point: one factor and one offset a channel.
    scale = tensor.scale or 1.0
    factors = [1.0 / (_PEAK * deviation * scale) for deviation in deviations]
    offsets = [tensor.zero_point - m / (deviation * scale) for m, deviation in zip(means, deviations, strict=True)]
    lines += [
        "// Pixels row by row, the channels of a pixel side by side (NHWC).",
        f"#define SAPOOL_INPUT_HEIGHT {height}",
        f"#define SAPOOL_INPUT_WIDTH {width}",
        f"#define SAPOOL_INPUT_CHANNELS {channels}",
        "// The images it was trained on: (pixel / 255 - mean) / std. From an 8-bit pixel p of channel c:",
        "// q = round(p * sapool_pixel_factor[c] + sapool_pixel_offset[c]), kept in the type's range.",
        f"static const float sapool_pixel_factor[{channels}] = {{{', '.join(map(c_float, factors))}}};",
        f"static const float sapool_pixel_offset[{channels}] = {{{', '.join(map(c_float, offsets))}}};",
        f"static const float sapool_mean[{channels}] = {{{', '.join(map(c_float, means))}}};",
        f"static const float sapool_std[{channels}] = {{{', '.join(map(c_float, deviations))}}};",
    ]
    return "\n".join(lines) + "\n"


def _by_channel(name: str, values: Sequence[float] | None, default: float, channels: int) -> list[float]:
    given = [default] if values is None else list(values)
    if len(given) not in (1, channels):
        raise ValueError(f"{name} must have 1 value or one for each of {channels} channels, got {len(given)}")
    return given * channels if len(given) == 1 else given


def _output(tensor: Tensor, classes: Sequence[str]) -> str:
    count = math.prod(tensor.shape)
    if classes and len(classes) != count:
        raise ValueError(f"classes must name each of {count} outputs, got {len(classes)}")
    lines = [
        "// Output: real = (q - SAPOOL_OUTPUT_ZERO_POINT) * SAPOOL_OUTPUT_SCALE.",
        *_facts("SAPOOL_OUTPUT", tensor),
    ]
    lines.append(f"#define SAPOOL_CLASSES {count}")
    if classes:
        names = ",\n  ".join(map(c_string, classes))
        lines.append(f"static const char *const sapool_labels[{count}] = {{\n  {names}\n}};")
    return "\n".join(lines) + "\n"


def _model(data: bytes) -> str:
    rows = [", ".join(f"0x{byte:02x}" for byte in data[i : i + 16]) for i in range(0, len(data), 16)]
    body = ",\n  ".join(rows)
    return f"""static const unsigned int sapool_model_len = {len(data)};
SAPOOL_ALIGNED static const unsigned char sapool_model[] = {{
  {body}
}};
"""
