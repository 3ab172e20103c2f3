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
#if defined(__GNUC__)
  return __builtin_clz(value);
#else
  int32_t count = 0;
  while (value < UINT32_C(0x80000000)) {
    value <<= 1;
    count++;
  }
  return count;
#endif
}

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
