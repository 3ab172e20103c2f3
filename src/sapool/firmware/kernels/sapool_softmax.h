/* SOFTMAX over the last axis, in fixed point. */
#ifndef SAPOOL_SOFTMAX_H
#define SAPOOL_SOFTMAX_H

#include "sapool_reciprocal.h"

/* exponentials[d]: e^(-d * scale * beta) as a fraction of 2^31, for differences d below entries; beyond, it is 0. */
typedef struct {
  const int32_t *exponentials;
  uint16_t rows, depth, entries;
} sapool_softmax;

/* sapool_high_mul of two that are not negative. */
static inline uint32_t sapool_high_mul_positive(uint32_t a, uint32_t b) {
  return (uint32_t)(((uint64_t)a * (b << 1) + UINT32_C(0x80000000)) >> 32);
}

/* out may be in. */
SAPOOL_KERNEL void sapool_softmax_row(const sapool_softmax *op, const int8_t *in, int8_t *out) {
  const int32_t depth = op->depth, entries = op->entries;
  const int32_t *const exponentials = op->exponentials;
  for (int32_t row = 0; row < op->rows; row++, in += depth, out += depth) {
    int32_t highest = -128;
    uint32_t sum = 0;
    for (int32_t i = 0; i < depth; i++) {
      highest = in[i] > highest ? in[i] : highest;
    }
    for (int32_t i = 0; i < depth; i++) {
      const int32_t difference = highest - in[i];
      if (difference < entries) {
        sum += ((uint32_t)exponentials[difference] + (1u << 11)) >> 12;
      }
    }
    const int32_t headroom = sapool_leading_zeros(sum);
    const uint32_t scale =
        (uint32_t)sapool_one_over_one_plus((int32_t)((sum << headroom) - (UINT32_C(1) << 31)));
    const int32_t shift = 12 - headroom + 31 - 8 > 31 ? 31 : 12 - headroom + 31 - 8;
    const uint32_t half = UINT32_C(1) << shift >> 1;
    for (int32_t i = 0; i < depth; i++) {
      const int32_t difference = highest - in[i];
      uint32_t value = 0;
      if (difference < entries) {
        value = (sapool_high_mul_positive(scale, (uint32_t)exponentials[difference]) + half) >> shift;
      }
      out[i] = (int8_t)((int32_t)(value < 255 ? value : 255) - 128);
    }
  }
}

#endif
