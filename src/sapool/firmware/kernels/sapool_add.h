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

/* out may be a. */
SAPOOL_KERNEL void sapool_add_row(const sapool_add *op, const int8_t *a, const int8_t *b, int8_t *out) {
  uint32_t i = 0;
  while (i < op->count) {
    for (int32_t p = 0; p < op->period; p++) {
      const int32_t right = sapool_divide_by_power(
          sapool_high_mul((b[p] - op->b_zero) * (INT32_C(1) << 20), op->b_multiplier), op->b_shift);
      for (int32_t r = 0; r < op->inner; r++, i++) {
        const int32_t left = sapool_divide_by_power(
            sapool_high_mul((a[i] - op->a_zero) * (INT32_C(1) << 20), op->a_multiplier), op->a_shift);
        const int32_t sum =
            sapool_divide_by_power(sapool_high_mul(left + right, op->out_multiplier), op->out_shift) + op->out_zero;
        out[i] = (int8_t)sapool_clamp(sum, op->act_min, op->act_max);
      }
    }
  }
}

#endif
