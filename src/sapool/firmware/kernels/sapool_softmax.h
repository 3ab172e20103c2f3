/* SOFTMAX over the last axis, in fixed point. */
#ifndef SAPOOL_SOFTMAX_H
#define SAPOOL_SOFTMAX_H

#include "sapool_reciprocal.h"

/* exponentials[d]: e^(-d * scale * beta) as a fraction of 2^31, for differences d below entries; beyond, it is 0. */
typedef struct {
  const int32_t *exponentials;
  uint16_t rows, depth, entries;
} sapool_softmax;

/* out may be in. */
SAPOOL_KERNEL void sapool_softmax_row(const sapool_softmax *op, const int8_t *in, int8_t *out) {
  for (int32_t row = 0; row < op->rows; row++, in += op->depth, out += op->depth) {
    int32_t highest = -128, sum = 0;
    for (int32_t i = 0; i < op->depth; i++) {
      highest = in[i] > highest ? in[i] : highest;
    }
    for (int32_t i = 0; i < op->depth; i++) {
      const int32_t difference = highest - in[i];
      if (difference < op->entries) {
        sum += sapool_divide_by_power(op->exponentials[difference], 12);
      }
    }
    const int32_t headroom = sapool_leading_zeros((uint32_t)sum);
    const int32_t scale =
        sapool_one_over_one_plus((int32_t)(((uint32_t)sum << headroom) - (UINT32_C(1) << 31)));
    const int32_t shift = 12 - headroom + 31 - 8 > 31 ? 31 : 12 - headroom + 31 - 8;
    for (int32_t i = 0; i < op->depth; i++) {
      const int32_t difference = highest - in[i];
      int32_t value = 0;
      if (difference < op->entries) {
        value = sapool_divide_by_power(sapool_high_mul(scale, op->exponentials[difference]), shift);
      }
      out[i] = (int8_t)sapool_clamp(value - 128, -128, 127);
    }
  }
}

#endif
