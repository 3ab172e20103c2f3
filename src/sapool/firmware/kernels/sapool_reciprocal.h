/* Reciprocals in fixed point: what soft-max and division share. */
#ifndef SAPOOL_RECIPROCAL_H
#define SAPOOL_RECIPROCAL_H

#include "sapool_base.h"

static inline int32_t sapool_fixed_shift_left(int32_t value, int32_t exponent) {
  const int32_t limit = INT32_MAX >> exponent;
  return value > limit ? INT32_MAX : (value < -limit - 1 ? INT32_MIN : (int32_t)((uint32_t)value << exponent));
}

/* 1 / (1 + a) for a in [0, 1) as a fraction of 2^31, by three steps of Newton. */
static inline int32_t sapool_one_over_one_plus(int32_t a) {
  const int32_t half = (int32_t)(((int64_t)a + INT32_MAX + 1) / 2);
  int32_t x = 1515870810 + sapool_high_mul(half, -1010580540);
  for (int32_t i = 0; i < 3; i++) {
    const int32_t rest = (INT32_C(1) << 29) - sapool_high_mul(half, x);
    x += sapool_fixed_shift_left(sapool_high_mul(x, rest), 2);
  }
  return sapool_fixed_shift_left(x, 1);
}

/* Of a value that is not 0. */
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

#endif
