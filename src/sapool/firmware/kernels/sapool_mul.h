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

static inline int8_t sapool_mul_end(const sapool_mul *op, int32_t product) {
  /* A product is at most 255 * 255. */
  const int32_t scaled = op->shift >= 0
                             ? sapool_divide_short(sapool_high_mul_short(product, op->multiplier), op->shift & 31)
                             : sapool_requantize(product, op->multiplier, op->shift);
  return (int8_t)sapool_clamp(scaled + op->out_zero, op->act_min, op->act_max);
}

/* out may be a. */
SAPOOL_KERNEL void sapool_mul_row(const sapool_mul *layer, const int8_t *a, const int8_t *b, int8_t *out) {
  const sapool_mul op = *layer; /* what is written to out cannot change a copy */
  uint32_t i = 0;
  while (i < op.count) {
    for (uint32_t p = 0; p < op.period; p++) {
      const int32_t right = b[p] - op.b_zero;
      for (uint32_t r = 0; r < op.inner; r++, i++) {
        out[i] = sapool_mul_end(&op, (a[i] - op.a_zero) * right);
      }
    }
  }
}

#endif
