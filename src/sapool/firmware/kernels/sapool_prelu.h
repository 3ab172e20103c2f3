/* PRELU: a slope of its own for values below 0. */
#ifndef SAPOOL_PRELU_H
#define SAPOOL_PRELU_H

#include "sapool_base.h"

/* out[i] = a[i], or below 0 a[i] * b[(i / inner) % period], all real values. */
typedef struct {
  uint32_t count;
  uint16_t inner, period;
  int16_t a_zero, b_zero, out_zero;
  int32_t multiplier, shift, slope_multiplier, slope_shift;
} sapool_prelu;

/* out may be a. */
SAPOOL_KERNEL void sapool_prelu_row(const sapool_prelu *op, const int8_t *a, const int8_t *b, int8_t *out) {
  uint32_t i = 0;
  while (i < op->count) {
    for (int32_t p = 0; p < op->period; p++) {
      for (int32_t r = 0; r < op->inner; r++, i++) {
        int32_t value = a[i] - op->a_zero;
        if (value >= 0) {
          value = sapool_requantize(value, op->multiplier, op->shift);
        } else {
          value = sapool_requantize(value * (b[p] - op->b_zero), op->slope_multiplier, op->slope_shift);
        }
        out[i] = (int8_t)sapool_clamp(value + op->out_zero, -128, 127);
      }
    }
  }
}

#endif
