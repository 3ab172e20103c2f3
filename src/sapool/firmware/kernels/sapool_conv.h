/* CONV_2D and FULLY_CONNECTED: one output row. */
#ifndef SAPOOL_CONV_H
#define SAPOOL_CONV_H

#include "sapool_base.h"
#if SAPOOL_USE_DSP
#include "sapool_tile.h"
#endif

/* Weights: K = kernel_h * kernel_w * in_channels in the order (y, x, channel), padded with 0 to even; channels padded
 * to even. In flash: for every two channels n, n + 1, for every two k: w[n][k], w[n+1][k], w[n][k+1], w[n+1][k+1]. */
typedef struct {
  const int8_t *weights;
  const sapool_channel *channels;
  uint16_t in_width, in_channels, out_width, out_channels;
  uint8_t kernel_h, kernel_w, stride_w, dilation_w;
  int16_t pad_left;
  int8_t in_zero, out_zero, act_min, act_max;
  uint8_t short_requant;
  uint8_t tile; /* pixels that are gathered at once: 1, 2 or 4 */
} sapool_conv;

/* Where value k of a pixel lies among the gathered: two of each pixel side by side. */
static inline int16_t *sapool_gathered(int16_t *pixel, int32_t k, int32_t pixels) {
  return pixel + (k >> 1) * 2 * pixels + (k & 1);
}

/* Widens `count` values from `from`, or as many zero points where `from` is NULL, to the places k, k + 1, ... */
static void sapool_gather_run(int16_t *pixel, int32_t k, int32_t pixels, const int8_t *from, int32_t count,
                              int8_t zero) {
  if (from == NULL) {
    for (int32_t i = 0; i < count; i++) {
      *sapool_gathered(pixel, k + i, pixels) = zero;
    }
    return;
  }
  if ((k & 1) != 0 && count > 0) {
    *sapool_gathered(pixel, k, pixels) = *from;
    k++, from++, count--;
  }
  int16_t *to = sapool_gathered(pixel, k, pixels);
  const int32_t step = 2 * pixels;
#if SAPOOL_USE_DSP
  for (; count >= 4; count -= 4, from += 4, to += 2 * step) {
    const uint32_t word = sapool_load_word(from);
    const uint32_t even = sapool_widen_even(word), odd = sapool_widen_odd(word);
    sapool_store_word(to, sapool_pack_bottom(even, odd));
    sapool_store_word(to + step, sapool_pack_top(even, odd));
  }
#endif
  for (; count >= 2; count -= 2, from += 2, to += step) {
    to[0] = from[0];
    to[1] = from[1];
  }
  if (count > 0) {
    to[0] = from[0];
  }
}

/* Gathers one pixel's whole window. */
static void sapool_gather(const sapool_conv *op, const int8_t *const *rows, int32_t x, int16_t *pixel, int32_t pixels) {
  const int32_t channels = op->in_channels, kernel_w = op->kernel_w, dilation = op->dilation_w, width = op->in_width;
  const int32_t left = x * op->stride_w - op->pad_left;
  int32_t k = 0;
  for (int32_t ky = 0; ky < op->kernel_h; ky++) {
    const int8_t *row = rows[ky];
    if (row != NULL && left >= 0 && left + (kernel_w - 1) * dilation < width && (dilation == 1 || kernel_w == 1)) {
      sapool_gather_run(pixel, k, pixels, row + left * channels, kernel_w * channels, 0);
      k += kernel_w * channels;
      continue;
    }
    for (int32_t at = left; at < left + kernel_w * dilation; at += dilation) {
      const int inside = row != NULL && at >= 0 && at < width;
      sapool_gather_run(pixel, k, pixels, inside ? row + at * channels : NULL, channels, op->in_zero);
      k += channels;
    }
  }
  if ((k & 1) != 0) {
    *sapool_gathered(pixel, k, pixels) = 0;
  }
}

static inline int8_t sapool_finish(const sapool_conv *op, const sapool_channel *channel, int32_t sum) {
  const int32_t scaled = op->short_requant ? sapool_requantize_short(sum, channel->multiplier, channel->shift)
                                           : sapool_requantize(sum, channel->multiplier, channel->shift);
  return (int8_t)sapool_clamp(scaled + op->out_zero, op->act_min, op->act_max);
}

/* The channels from `first` on, of `pixels` gathered pixels: what has no faster way. */
SAPOOL_REST void sapool_conv_plain(const sapool_conv *op, const int16_t *gathered, int32_t pixels, int32_t first,
                              int32_t steps, int8_t *out) {
  const int32_t out_channels = op->out_channels;
  for (int32_t n = first; n < out_channels; n += 2) {
    const sapool_channel *channel = op->channels + n;
    const int two = n + 1 < out_channels;
    for (int32_t p = 0; p < pixels; p++) {
      const int8_t *weights = op->weights + n * 2 * steps;
      const int16_t *values = gathered + 2 * p;
      int32_t sum_a = channel[0].bias, sum_b = two ? channel[1].bias : 0;
      for (int32_t step = 0; step < steps; step++, weights += 4, values += 2 * pixels) {
        sum_a += values[0] * weights[0] + values[1] * weights[2];
        sum_b += values[0] * weights[1] + values[1] * weights[3];
      }
      out[p * out_channels + n] = sapool_finish(op, channel, sum_a);
      if (two) {
        out[p * out_channels + n + 1] = sapool_finish(op, channel + 1, sum_b);
      }
    }
  }
}

#if !SAPOOL_USE_DSP
/* The same of four pixels: each weight is loaded once for them. */
static void sapool_conv_four(const sapool_conv *op, const int16_t *gathered, int32_t steps, int8_t *out) {
  const int32_t out_channels = op->out_channels;
  const int8_t *weights = op->weights;
  int32_t n = 0;
  for (; n + 1 < out_channels; n += 2) {
    const sapool_channel *channel = op->channels + n;
    const int16_t *values = gathered;
    int32_t a0 = channel[0].bias, a1 = a0, a2 = a0, a3 = a0, b0 = channel[1].bias, b1 = b0, b2 = b0, b3 = b0;
    for (int32_t step = 0; step < steps; step++, weights += 4, values += 8) {
      const int32_t wa = weights[0], wb = weights[1], va = weights[2], vb = weights[3];
      a0 += values[0] * wa + values[1] * va;
      b0 += values[0] * wb + values[1] * vb;
      a1 += values[2] * wa + values[3] * va;
      b1 += values[2] * wb + values[3] * vb;
      a2 += values[4] * wa + values[5] * va;
      b2 += values[4] * wb + values[5] * vb;
      a3 += values[6] * wa + values[7] * va;
      b3 += values[6] * wb + values[7] * vb;
    }
    const int32_t sums_a[4] = {a0, a1, a2, a3}, sums_b[4] = {b0, b1, b2, b3};
    for (int32_t p = 0; p < 4; p++) {
      out[p * out_channels + n] = sapool_finish(op, channel, sums_a[p]);
      out[p * out_channels + n + 1] = sapool_finish(op, channel + 1, sums_b[p]);
    }
  }
  sapool_conv_plain(op, gathered, 4, n, steps, out);
}
#endif

static void sapool_conv_tile(const sapool_conv *op, const int16_t *gathered, int32_t pixels, int32_t steps,
                             int8_t *out) {
#if SAPOOL_USE_DSP
  const int32_t pairs = op->out_channels / 2;
  if (op->short_requant && op->act_min == -128 && op->act_max == 127 && pairs > 0) {
    sapool_tile tile;
    tile.pixels = gathered;
    tile.weights = op->weights;
    tile.weights_end = op->weights + pairs * 4 * steps;
    tile.channels = op->channels;
    tile.out = out;
    tile.out_stride = op->out_channels;
    tile.zero = 1 + 2 * op->out_zero;
    tile.steps = (uint32_t)steps;
    if (pixels == 4) {
      sapool_tile_4(&tile);
    } else if (pixels == 2) {
      sapool_tile_2(&tile);
    } else {
      sapool_tile_1(&tile);
    }
    if ((op->out_channels & 1) != 0) {
      sapool_conv_plain(op, gathered, pixels, op->out_channels - 1, steps, out);
    }
    return;
  }
#else
  if (pixels == 4) {
    sapool_conv_four(op, gathered, steps, out);
    return;
  }
#endif
  sapool_conv_plain(op, gathered, pixels, 0, steps, out);
}

/* rows: kernel_h of them, NULL where one lies in the padding; scratch: 2 * tile * K bytes. */
SAPOOL_KERNEL void sapool_conv_row(const sapool_conv *op, const int8_t *const *rows, int8_t *out, int16_t *scratch) {
  const int32_t steps = (op->kernel_h * op->kernel_w * op->in_channels + 1) >> 1;
  int32_t x = 0;
  while (x < op->out_width) {
    const int32_t rest = op->out_width - x, most = rest < op->tile ? rest : op->tile;
    const int32_t pixels = most >= 4 ? 4 : (most >= 2 ? 2 : 1);
    for (int32_t p = 0; p < pixels; p++) {
      sapool_gather(op, rows, x + p, scratch + 2 * p, pixels);
    }
    sapool_conv_tile(op, scratch, pixels, steps, out);
    x += pixels;
    out += pixels * op->out_channels;
  }
}

#endif
