/* AVERAGE_POOL_2D: one output row. */
#ifndef SAPOOL_AVERAGE_POOL_H
#define SAPOOL_AVERAGE_POOL_H

#include "sapool_pool.h"

/* rows: kernel_h of them, NULL where one lies in the padding, which doesn't count. */
SAPOOL_KERNEL void sapool_average_pool_row(const sapool_pool *op, const int8_t *const *rows, int8_t *out) {
  const int32_t channels = op->channels;
  for (int32_t x = 0; x < op->out_width; x++) {
    const int32_t left = x * op->stride_w - op->pad_left;
    const int32_t from = left < 0 ? 0 : left;
    const int32_t to = left + op->kernel_w > op->in_width ? op->in_width : left + op->kernel_w;
    for (int32_t c = 0; c < channels; c++) {
      int32_t sum = 0, count = 0;
      for (int32_t ky = 0; ky < op->kernel_h; ky++) {
        if (rows[ky] == NULL) {
          continue;
        }
        for (int32_t at = from; at < to; at++) {
          sum += rows[ky][at * channels + c];
        }
        count += to - from;
      }
      sum = sum > 0 ? (sum + count / 2) / count : (sum - count / 2) / count;
      *out++ = (int8_t)sapool_clamp(sum, op->act_min, op->act_max);
    }
  }
}

#endif
