/* SOFTMAX over the last axis, in fixed point. */
#ifndef SAPOOL_SOFTMAX_H
#define SAPOOL_SOFTMAX_H

#include "sapool_base.h"

/* exponentials[d]: e^(-d * scale * beta) as a fraction of 2^31, for differences d below entries; beyond, it is 0. */
typedef struct {
  const int32_t *exponentials;
  uint16_t rows, depth, entries;
} sapool_softmax;

/* round(a * b / 2^31), as gemmlowp's fixed-point product. */
static inline int32_t sapool_fixed_mul(int32_t a, int32_t b) { return sapool_high_mul(a, b); }

static inline int32_t sapool_fixed_shift_left(int32_t value, int32_t exponent) {
  const int32_t limit = INT32_MAX >> exponent;
  return value > limit ? INT32_MAX : (value < -limit - 1 ? INT32_MIN : (int32_t)((uint32_t)value << exponent));
}

/* 1 / (1 + a) for a in [0, 1) as a fraction of 2^31, by three steps of Newton. */
static inline int32_t sapool_one_over_one_plus(int32_t a) {
  const int32_t half = (int32_t)(((int64_t)a + INT32_MAX + 1) / 2);
  int32_t x = 1515870810 + sapool_fixed_mul(half, -1010580540);
  for (int32_t i = 0; i < 3; i++) {
    const int32_t rest = (INT32_C(1) << 29) - sapool_fixed_mul(half, x);
    x += sapool_fixed_shift_left(sapool_fixed_mul(x, rest), 2);
  }
  return sapool_fixed_shift_left(x, 1);
}

static inline int32_t sapool_leading_zeros(uint32_t value) {
  int32_t count = 0;
  while (value < UINT32_C(0x80000000)) {
    value <<= 1;
    count++;
  }
  return count;
}

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
        value = sapool_divide_by_power(sapool_fixed_mul(scale, op->exponentials[difference]), shift);
      }
      out[i] = (int8_t)sapool_clamp(value - 128, -128, 127);
    }
  }
}

#endif
