/* DEPTHWISE_CONV_2D: one output row. */
#ifndef SAPOOL_DEPTHWISE_H
#define SAPOOL_DEPTHWISE_H

#include "sapool_base.h"

/* Weights as in the file: (y, x, channel of the output). */
typedef struct {
  const int8_t *weights;
  const sapool_channel *channels;
  uint16_t in_width, in_channels, out_width, multiplier;
  uint8_t kernel_h, kernel_w, stride_w, dilation_w;
  int16_t pad_left;
  int8_t in_zero, out_zero, act_min, act_max;
  uint8_t short_requant;
} sapool_depthwise;

/* rows: kernel_h of them, NULL where one lies in the padding. */
SAPOOL_KERNEL void sapool_depthwise_row(const sapool_depthwise *op, const int8_t *const *rows, int8_t *out,
                                        int16_t *scratch) {
  const int32_t in_channels = op->in_channels, channels = in_channels * op->multiplier;
  (void)scratch;
  for (int32_t x = 0; x < op->out_width; x++) {
    for (int32_t c = 0; c < channels; c++) {
      const int8_t *weight = op->weights + c;
      const sapool_channel *channel = op->channels + c;
      int32_t sum = channel->bias;
      for (int32_t ky = 0; ky < op->kernel_h; ky++) {
        for (int32_t kx = 0; kx < op->kernel_w; kx++, weight += channels) {
          const int32_t at = x * op->stride_w + kx * op->dilation_w - op->pad_left;
          int32_t value = op->in_zero;
          if (rows[ky] != NULL && at >= 0 && at < op->in_width) {
            value = rows[ky][at * in_channels + c / op->multiplier];
          }
          sum += value * *weight;
        }
      }
      sum = sapool_requantize(sum, channel->multiplier, channel->shift) + op->out_zero;
      *out++ = (int8_t)sapool_clamp(sum, op->act_min, op->act_max);
    }
  }
}

#endif
