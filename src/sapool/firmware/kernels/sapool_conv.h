/* CONV_2D and FULLY_CONNECTED: one output row. */
#ifndef SAPOOL_CONV_H
#define SAPOOL_CONV_H

#include "sapool_base.h"

/* Weights: K = kernel_h * kernel_w * in_channels in the order (y, x, channel), padded with 0 to even; channels padded to
 * even. In flash: for every two channels n, n + 1, for every two k: w[n][k], w[n+1][k], w[n][k+1], w[n+1][k+1]. */
typedef struct {
  const int8_t *weights;
  const sapool_channel *channels;
  uint16_t in_width, in_channels, out_width, out_channels;
  uint8_t kernel_h, kernel_w, stride_w, dilation_w;
  int16_t pad_left;
  int8_t in_zero, out_zero, act_min, act_max;
  uint8_t short_requant;
} sapool_conv;

/* rows: kernel_h of them, NULL where one lies in the padding; scratch: 2 * min(4, out_width) * K bytes. */
SAPOOL_KERNEL void sapool_conv_row(const sapool_conv *op, const int8_t *const *rows, int8_t *out, int16_t *scratch) {
  const int32_t in_channels = op->in_channels, taps = op->kernel_w * in_channels;
  const int32_t depth = (op->kernel_h * taps + 1) & ~1;
  for (int32_t x = 0; x < op->out_width; x++) {
    int16_t *to = scratch;
    for (int32_t ky = 0; ky < op->kernel_h; ky++) {
      for (int32_t kx = 0; kx < op->kernel_w; kx++) {
        const int32_t at = x * op->stride_w + kx * op->dilation_w - op->pad_left;
        const int8_t *from = NULL;
        if (rows[ky] != NULL && at >= 0 && at < op->in_width) {
          from = rows[ky] + at * in_channels;
        }
        for (int32_t c = 0; c < in_channels; c++) {
          *to++ = from != NULL ? from[c] : op->in_zero;
        }
      }
    }
    if (op->kernel_h * taps < depth) {
      *to = 0;
    }
    for (int32_t n = 0; n < op->out_channels; n++) {
      const int8_t *weight = op->weights + (n / 2) * 2 * depth + n % 2;
      const sapool_channel *channel = op->channels + n;
      int32_t sum = channel->bias;
      for (int32_t k = 0; k < depth; k++) {
        sum += scratch[k] * weight[2 * k];
      }
      sum = sapool_requantize(sum, channel->multiplier, channel->shift) + op->out_zero;
      *out++ = (int8_t)sapool_clamp(sum, op->act_min, op->act_max);
    }
  }
}

#endif
