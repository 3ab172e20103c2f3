/* TRANSPOSE_CONV: one output row. */
#ifndef SAPOOL_TRANSPOSED_H
#define SAPOOL_TRANSPOSED_H

#include "sapool_base.h"

/* Weights as in the file: (output channel, y, x, input channel); biases without the input's zero point. */
typedef struct {
  const int8_t *weights;
  const sapool_channel *channels;
  uint16_t in_width, in_channels, out_width, out_channels;
  uint8_t kernel_h, kernel_w, stride_w;
  int16_t pad_left;
  int8_t in_zero, out_zero, act_min, act_max;
} sapool_transposed;

/* rows: for each row of the kernel the input row that it falls on, NULL where it falls between two or outside. */
SAPOOL_KERNEL void sapool_transposed_row(const sapool_transposed *op, const int8_t *const *rows, int8_t *out) {
  const int32_t depth = op->in_channels;
  for (int32_t x = 0; x < op->out_width; x++) {
    for (int32_t n = 0; n < op->out_channels; n++) {
      const sapool_channel *channel = op->channels + n;
      const int8_t *weight = op->weights + n * op->kernel_h * op->kernel_w * depth;
      int32_t sum = channel->bias;
      for (int32_t ky = 0; ky < op->kernel_h; ky++) {
        for (int32_t kx = 0; kx < op->kernel_w; kx++, weight += depth) {
          const int32_t at = x + op->pad_left - kx;
          if (rows[ky] == NULL || at < 0 || at % op->stride_w != 0 || at / op->stride_w >= op->in_width) {
            continue;
          }
          for (int32_t c = 0; c < depth; c++) {
            sum += (rows[ky][at / op->stride_w * depth + c] - op->in_zero) * weight[c];
          }
        }
      }
      sum = sapool_requantize(sum, channel->multiplier, channel->shift) + op->out_zero;
      *out++ = (int8_t)sapool_clamp(sum, op->act_min, op->act_max);
    }
  }
}

#endif
