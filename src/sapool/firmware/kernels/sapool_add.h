/* ADD and SUB of two rows. */
#ifndef SAPOOL_ADD_H
#define SAPOOL_ADD_H

#include "sapool_base.h"

/* out[i] = a[i] + b[(i / inner) % period], all real values; the multiplier of b is negative for a difference. Shifts to
 * the right. */
typedef struct {
  uint32_t count;
  uint16_t inner, period;
  int16_t a_zero, b_zero, out_zero;
  int8_t act_min, act_max;
  int32_t a_multiplier, b_multiplier, out_multiplier;
  uint8_t a_shift, b_shift, out_shift;
} sapool_add;

/* At most 255 * 2^20 goes in, and no multiplier of an input is above one half: the short forms are exact. */
static inline int32_t sapool_add_scaled(int32_t value, int32_t multiplier, int32_t shift) {
  return sapool_divide_short(sapool_high_mul_short(value * (INT32_C(1) << 20), multiplier), shift);
}

static inline int8_t sapool_add_end(const sapool_add *op, int32_t sum) {
  const int32_t scaled = sapool_divide_short(sapool_high_mul_short(sum, op->out_multiplier), op->out_shift);
  return (int8_t)sapool_clamp(scaled + op->out_zero, op->act_min, op->act_max);
}

/* out may be a. */
SAPOOL_KERNEL void sapool_add_row(const sapool_add *layer, const int8_t *a, const int8_t *b, int8_t *out) {
  const sapool_add op = *layer; /* what is written to out cannot change a copy */
  uint32_t i = 0;
  if (op.inner == 1) {
    while (i < op.count) {
      for (uint32_t p = 0; p < op.period; p++, i++) {
        const int32_t right = sapool_add_scaled(b[p] - op.b_zero, op.b_multiplier, op.b_shift);
        out[i] = sapool_add_end(&op, right + sapool_add_scaled(a[i] - op.a_zero, op.a_multiplier, op.a_shift));
      }
    }
    return;
  }
  while (i < op.count) {
    for (uint32_t p = 0; p < op.period; p++) {
      const int32_t right = sapool_add_scaled(b[p] - op.b_zero, op.b_multiplier, op.b_shift);
      for (uint32_t r = 0; r < op.inner; r++, i++) {
        out[i] = sapool_add_end(&op, right + sapool_add_scaled(a[i] - op.a_zero, op.a_multiplier, op.a_shift));
      }
    }
  }
}

#endif
