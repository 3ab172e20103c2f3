/* MEAN, SUM and REDUCE_MAX over axes inside a row. */
#ifndef SAPOOL_REDUCE_H
#define SAPOOL_REDUCE_H

#include "sapool_base.h"

/* out[o][i] = sum (or largest) over n of in[o][n][i]; offset is taken off a sum. */
typedef struct {
  uint16_t outer, count, inner;
  int16_t out_zero;
  int32_t offset, multiplier, shift;
  uint8_t is_max;
} sapool_reduce;

SAPOOL_KERNEL void sapool_reduce_row(const sapool_reduce *op, const int8_t *in, int8_t *out) {
  for (int32_t o = 0; o < op->outer; o++, in += op->count * op->inner) {
    for (int32_t i = 0; i < op->inner; i++) {
      int32_t sum = op->is_max ? -128 : 0;
      for (int32_t n = 0; n < op->count; n++) {
        const int32_t value = in[n * op->inner + i];
        sum = op->is_max ? (value > sum ? value : sum) : sum + value;
      }
      if (!op->is_max) {
        sum = sapool_requantize(sum - op->offset, op->multiplier, op->shift) + op->out_zero;
      }
      *out++ = (int8_t)sapool_clamp(sum, -128, 127);
    }
  }
}

#endif
