"""``model.h``: what firmware needs to run a model."""

from __future__ import annotations

from sapool.base.records import ArenaRecord
from sapool.tflite.file import resolver_method

_ALIGNMENT = 16


def model_header(data: bytes, arena: ArenaRecord) -> str:
    """Return a C header with the model's bytes, the arena to reserve and the operators its resolver needs.

    Args:
        data: the ``.tflite``.
        arena: its measurement. The 64-bit total is reserved: a 32-bit target needs less, never more.
    """
    # One alignment more: TFLM aligns the buffer it is given.
    reserve = -(-arena.arena_bytes // _ALIGNMENT) * _ALIGNMENT + _ALIGNMENT
    resolver = "\n".join(f"//   resolver.{resolver_method(name)}();" for name in arena.operators)
    rows = [", ".join(f"0x{byte:02x}" for byte in data[i : i + 16]) for i in range(0, len(data), 16)]
    body = ",\n  ".join(rows)
    return f"""// An int8 network for TensorFlow Lite Micro, written by sapool.
// Measured with {arena.interpreter}: head {arena.head_bytes}, tail {arena.tail_bytes} bytes of arena.
//
// The operators it needs:
//   tflite::MicroMutableOpResolver<{len(arena.operators)}> resolver;
{resolver}
#ifndef SAPOOL_MODEL_H_
#define SAPOOL_MODEL_H_

// Reserve at least this much: alignas({_ALIGNMENT}) uint8_t arena[SAPOOL_ARENA_BYTES];
#define SAPOOL_ARENA_BYTES {reserve}

#ifdef __cplusplus
#define SAPOOL_ALIGNED alignas({_ALIGNMENT})
#else
#define SAPOOL_ALIGNED _Alignas({_ALIGNMENT})
#endif

static const unsigned int sapool_model_len = {len(data)};
SAPOOL_ALIGNED static const unsigned char sapool_model[] = {{
  {body}
}};

#endif  // SAPOOL_MODEL_H_
"""
