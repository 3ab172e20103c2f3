/* AVERAGE_POOL_2D: one output row. */
#ifndef SAPOOL_AVERAGE_POOL_H
#define SAPOOL_AVERAGE_POOL_H

#include "sapool_pool.h"

/* Halves away from zero. */
static inline int8_t sapool_average(const sapool_pool *op, int32_t sum, int32_t count) {
  const int32_t half = count / 2;
  return (int8_t)sapool_clamp((sum > 0 ? sum + half : sum - half) / count, op->act_min, op->act_max);
}

/* rows: kernel_h of them, NULL where one lies in the padding, which doesn't count. */
SAPOOL_KERNEL void sapool_average_pool_row(const sapool_pool *op, const int8_t *const *rows, int8_t *out) {
  const int32_t channels = op->channels;
  for (int32_t x = 0; x < op->out_width; x++, out += channels) {
    const int32_t left = x * op->stride_w - op->pad_left;
    const int32_t from = left < 0 ? 0 : left;
    const int32_t to = left + op->kernel_w > op->in_width ? op->in_width : left + op->kernel_w;
    int32_t count = 0, c = 0;
    for (int32_t ky = 0; ky < op->kernel_h; ky++) {
      count += rows[ky] != NULL ? to - from : 0;
    }
#if SAPOOL_USE_DSP
    for (; count <= 255 && c + 4 <= channels; c += 4) { /* as many values fit an int16's sum */
      uint32_t even = 0, odd = 0;
      for (int32_t ky = 0; ky < op->kernel_h; ky++) {
        const int8_t *tap = rows[ky] != NULL ? rows[ky] + from * channels + c : NULL;
        for (int32_t at = from; tap != NULL && at < to; at++, tap += channels) {
          const uint32_t word = sapool_load_word(tap);
          even = sapool_add_even(even, word);
          odd = sapool_add_odd(odd, word);
        }
      }
      out[c] = sapool_average(op, (int16_t)even, count);
      out[c + 1] = sapool_average(op, (int16_t)odd, count);
      out[c + 2] = sapool_average(op, (int32_t)even >> 16, count);
      out[c + 3] = sapool_average(op, (int32_t)odd >> 16, count);
    }
#endif
    for (; c < channels; c++) {
      int32_t sum = 0;
      for (int32_t ky = 0; ky < op->kernel_h; ky++) {
        for (int32_t at = from; rows[ky] != NULL && at < to; at++) {
          sum += rows[ky][at * channels + c];
        }
      }
      out[c] = sapool_average(op, sum, count);
    }
  }
}

#endif
