/* DIV of two rows. */
#ifndef SAPOOL_DIV_H
#define SAPOOL_DIV_H

#include "sapool_reciprocal.h"

/* out[i] = a[i] / b[(i / inner) % period], or the other way round where swapped, all real values; the factor is
 * multiplier * 2^(-31 - shift). No divisor may be 0: the interpreter stops there, this gives the largest value. */
typedef struct {
  uint32_t count;
  uint16_t inner, period;
  int16_t a_zero, b_zero, out_zero;
  int8_t act_min, act_max;
  int32_t multiplier, shift;
  uint8_t swapped;
} sapool_div;

static inline int32_t sapool_quotient(int32_t a, int32_t b, int32_t multiplier, int32_t shift) {
  int32_t headroom, zeros, scaled;
  if (b < 0) {
    a = -a;
    b = -b;
  }
  zeros = sapool_leading_zeros(b == 0 ? 1u : (uint32_t)b);
  scaled = sapool_one_over_one_plus((int32_t)(((uint32_t)(b == 0 ? 1 : b) << zeros) - (UINT32_C(1) << 31)));
  headroom = a == 0 ? 31 : sapool_leading_zeros(a > 0 ? (uint32_t)a : 2u * (uint32_t)(-a) - 1u) - (a > 0 ? 1 : 0);
  scaled = sapool_high_mul((int32_t)((uint32_t)a << headroom), scaled);
  scaled = sapool_high_mul(scaled, multiplier);
  headroom += 31 - zeros + shift;
  if (headroom > 31) { /* what the interpreter's rounding makes of such a shift */
    return (scaled >> (headroom & 31)) + (scaled < 0 ? 0 : 1);
  }
  return sapool_divide_by_power(scaled, headroom < 0 ? 0 : headroom);
}

/* out may be a. */
SAPOOL_KERNEL void sapool_div_row(const sapool_div *op, const int8_t *a, const int8_t *b, int8_t *out) {
  uint32_t i = 0;
  while (i < op->count) {
    for (int32_t p = 0; p < op->period; p++) {
      for (int32_t r = 0; r < op->inner; r++, i++) {
        const int32_t one = a[i] - op->a_zero, other = b[p] - op->b_zero;
        const int32_t value = op->swapped ? sapool_quotient(other, one, op->multiplier, op->shift)
                                          : sapool_quotient(one, other, op->multiplier, op->shift);
        out[i] = (int8_t)sapool_clamp(value + op->out_zero, op->act_min, op->act_max);
      }
    }
  }
}

#endif
