/* MUL of two rows. */
#ifndef SAPOOL_MUL_H
#define SAPOOL_MUL_H

#include "sapool_base.h"

/* out[i] = a[i] * b[(i / inner) % period], all real values; the factor is multiplier * 2^(-31 - shift). */
typedef struct {
  uint32_t count;
  uint16_t inner, period;
  int16_t a_zero, b_zero, out_zero;
  int8_t act_min, act_max;
  int32_t multiplier, shift;
} sapool_mul;

/* out may be a. */
SAPOOL_KERNEL void sapool_mul_row(const sapool_mul *op, const int8_t *a, const int8_t *b, int8_t *out) {
  uint32_t i = 0;
  while (i < op->count) {
    for (int32_t p = 0; p < op->period; p++) {
      const int32_t right = b[p] - op->b_zero;
      for (int32_t r = 0; r < op->inner; r++, i++) {
        const int32_t product = (a[i] - op->a_zero) * right;
        const int32_t value = sapool_requantize(product, op->multiplier, op->shift) + op->out_zero;
        out[i] = (int8_t)sapool_clamp(value, op->act_min, op->act_max);
      }
    }
  }
}

#endif
