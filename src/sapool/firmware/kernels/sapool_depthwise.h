/* DEPTHWISE_CONV_2D: one output row. */
#ifndef SAPOOL_DEPTHWISE_H
#define SAPOOL_DEPTHWISE_H

#include "sapool_base.h"
#if SAPOOL_USE_DSP
#include "sapool_columns.h"
#endif

/* Weights as in the file: (y, x, channel of the output). Of 3 x 3 kernels with one output a channel they lie by channel
 * instead, 9 bytes each: w[0][0], w[0][1], w[1][0], w[1][1], w[0][2], w[2][0], w[1][2], w[2][1], w[2][2]. */
typedef struct {
  const int8_t *weights;
  const sapool_channel *channels;
  uint16_t in_width, in_channels, out_width, multiplier;
  uint8_t kernel_h, kernel_w, stride_w, dilation_w;
  int16_t pad_left;
  int8_t in_zero, out_zero, act_min, act_max;
  uint8_t short_requant;
  uint8_t tile; /* pairs of columns that the scratch holds of four channels, 48 bytes each: at least 2; 0: no scratch */
} sapool_depthwise;

/* Whether the weights lie by channel. */
static inline int sapool_is_3x3(const sapool_depthwise *op) {
  return op->kernel_h == 3 && op->kernel_w == 3 && op->dilation_w == 1 && op->multiplier == 1;
}

static inline int8_t sapool_depthwise_end(const sapool_depthwise *op, const sapool_channel *channel, int32_t sum) {
  const int32_t scaled = op->short_requant ? sapool_requantize_short(sum, channel->multiplier, channel->shift)
                                           : sapool_requantize(sum, channel->multiplier, channel->shift);
  return (int8_t)sapool_clamp(scaled + op->out_zero, op->act_min, op->act_max);
}

/* Any kernel, a tap at a time. */
SAPOOL_REST void sapool_depthwise_any(const sapool_depthwise *op, const int8_t *const *rows, int8_t *out) {
  static const uint8_t order[9] = {0, 1, 4, 2, 3, 6, 5, 7, 8};
  const int32_t in_channels = op->in_channels, multiplier = op->multiplier, channels = in_channels * multiplier;
  const int packed = sapool_is_3x3(op);
  for (int32_t x = 0; x < op->out_width; x++) {
    const int32_t left = x * op->stride_w - op->pad_left;
    const sapool_channel *channel = op->channels;
    for (int32_t c = 0; c < in_channels; c++) {
      for (int32_t m = 0; m < multiplier; m++, channel++) {
        const int8_t *weight = packed ? op->weights + 9 * c : op->weights + c * multiplier + m;
        int32_t sum = channel->bias, tap = 0;
        for (int32_t ky = 0; ky < op->kernel_h; ky++) {
          int32_t at = left;
          for (int32_t kx = 0; kx < op->kernel_w; kx++, at += op->dilation_w, tap++) {
            const int inside = rows[ky] != NULL && at >= 0 && at < op->in_width;
            const int32_t value = inside ? rows[ky][at * in_channels + c] : op->in_zero;
            sum += value * weight[packed ? order[tap] : tap * channels];
          }
        }
        *out++ = sapool_depthwise_end(op, channel, sum);
      }
    }
  }
}

#if SAPOOL_USE_DSP
/* A pair of columns that does not lie in the row whole, as sapool_spread_pairs makes it: `first` and `second` say which
 * column does. */
static void sapool_spread_edge(const int8_t *const *rows, int32_t at, int first, int second, uint32_t zeros,
                               uint32_t *to) {
  const uint32_t top = first || second ? sapool_load_word(rows[0] + at) : zeros;
  const uint32_t middle = first || second ? sapool_load_word(rows[1] + at) : zeros;
  const uint32_t bottom = first || second ? sapool_load_word(rows[2] + at) : zeros;
  const uint32_t zero = sapool_widen_even(zeros);
  for (int32_t odd = 0; odd < 2; odd++, to += 3) {
    const uint32_t a = odd ? sapool_widen_odd(top) : sapool_widen_even(top);
    const uint32_t b = odd ? sapool_widen_odd(middle) : sapool_widen_even(middle);
    const uint32_t c = odd ? sapool_widen_odd(bottom) : sapool_widen_even(bottom);
    to[0] = first ? sapool_pack_bottom(a, b) : zero;
    to[1] = second ? sapool_pack_bottom(a, b) : zero;
    to[2] = sapool_pack_bottom(first ? c : zero, second ? c : zero);
    to[6] = first ? sapool_pack_top(a, b) : zero;
    to[7] = second ? sapool_pack_top(a, b) : zero;
    to[8] = sapool_pack_top(first ? c : zero, second ? c : zero);
  }
}

/* Puts zero points where pairs hold a row that lies in the padding. */
static void sapool_spread_zeros(uint32_t *to, const uint32_t *end, int32_t row, uint32_t zero) {
  for (; to < end; to += 3) {
    if (row == 0) {
      to[0] = (to[0] & 0xFFFF0000u) | (zero & 0xFFFFu);
      to[1] = (to[1] & 0xFFFF0000u) | (zero & 0xFFFFu);
    } else if (row == 1) {
      to[0] = (to[0] & 0xFFFFu) | (zero & 0xFFFF0000u);
      to[1] = (to[1] & 0xFFFFu) | (zero & 0xFFFF0000u);
    } else {
      to[2] = zero;
    }
  }
}

/* Spreads `pairs` pairs of columns from column `x` on, channels c to c + 3. */
static void sapool_spread(const sapool_depthwise *op, const int8_t *const *rows, int32_t c, int32_t x, int32_t pairs,
                          uint32_t *to) {
  const int32_t channels = op->in_channels, width = op->in_width;
  const uint32_t zeros = (uint8_t)op->in_zero * UINT32_C(0x01010101), zero = sapool_widen_even(zeros);
  const int8_t *const some = rows[1] != NULL ? rows[1] : (rows[0] != NULL ? rows[0] : rows[2]);
  const int8_t *there[3];
  uint32_t *const start = to, *const end = to + 12 * pairs;
  for (int32_t i = 0; i < 3; i++) {
    there[i] = rows[i] != NULL ? rows[i] : some; /* what is not there is put right behind */
  }
  while (to < end) {
    const int32_t inside = x >= 0 ? (width - x) >> 1 : 0, left = (int32_t)(end - to) / 12;
    const int32_t count = inside < left ? inside : left;
    const int32_t at = x * channels + c;
    if (count > 0) {
      sapool_spread_pairs(there[0] + at, there[1] + at, there[2] + at, to, channels, to + 12 * count);
      x += 2 * count;
      to += 12 * count;
    } else {
      const int first = x >= 0 && x < width, second = x + 1 >= 0 && x + 1 < width;
      sapool_spread_edge(there, first ? at : at + channels, first, second, zeros, to);
      x += 2;
      to += 12;
    }
  }
  for (int32_t i = 0; i < 3; i++) {
    if (rows[i] == NULL) {
      sapool_spread_zeros(start, end, i, zero);
    }
  }
}

static void sapool_depthwise_columns(const sapool_depthwise *op, const int8_t *const *rows, int8_t *out,
                                     uint32_t *pairs) {
  const int32_t channels = op->in_channels, stride = op->stride_w, most = (op->tile - 1) * 2 / stride;
  sapool_columns columns;
  columns.pairs = pairs;
  columns.stride = channels;
  columns.zero = 1 + 2 * op->out_zero;
  for (int32_t x = 0; x < op->out_width; x += most) {
    columns.count = op->out_width - x < most ? op->out_width - x : most;
    for (int32_t block = 0; block < channels; block += 4) {
      const int32_t c = block + 4 <= channels ? block : channels - 4;
      const int32_t count = stride == 1 ? (columns.count + 3) >> 1 : columns.count + 1;
      sapool_spread(op, rows, c, x * stride - op->pad_left, count, pairs);
      columns.out = out + x * channels + c;
      columns.weights = op->weights + 9 * c;
      columns.channels = op->channels + c;
      if (stride == 1) {
        sapool_columns_1(&columns);
      } else {
        sapool_columns_2(&columns);
      }
    }
  }
}
#else
static inline int32_t sapool_tap(const sapool_depthwise *op, const int8_t *row, int32_t at, int32_t c) {
  return row != NULL && at >= 0 && at < op->in_width ? row[at * op->in_channels + c] : op->in_zero;
}

/* 3 x 3. */
static void sapool_depthwise_3x3(const sapool_depthwise *op, const int8_t *const *rows, int8_t *out) {
  const int32_t channels = op->in_channels;
  const int8_t *top = rows[0], *middle = rows[1], *bottom = rows[2];
  for (int32_t x = 0; x < op->out_width; x++) {
    const int32_t left = x * op->stride_w - op->pad_left;
    const int inside = top != NULL && middle != NULL && bottom != NULL && left >= 0 && left + 2 < op->in_width;
    const int32_t a = left * channels, b = a + channels, d = b + channels;
    const int8_t *w = op->weights;
    for (int32_t c = 0; c < channels; c++, w += 9) {
      int32_t sum = op->channels[c].bias;
      if (inside) {
        sum += top[a + c] * w[0] + top[b + c] * w[1] + top[d + c] * w[4];
        sum += middle[a + c] * w[2] + middle[b + c] * w[3] + middle[d + c] * w[6];
        sum += bottom[a + c] * w[5] + bottom[b + c] * w[7] + bottom[d + c] * w[8];
      } else {
        sum += sapool_tap(op, top, left, c) * w[0] + sapool_tap(op, top, left + 1, c) * w[1];
        sum += sapool_tap(op, top, left + 2, c) * w[4] + sapool_tap(op, middle, left, c) * w[2];
        sum += sapool_tap(op, middle, left + 1, c) * w[3] + sapool_tap(op, middle, left + 2, c) * w[6];
        sum += sapool_tap(op, bottom, left, c) * w[5] + sapool_tap(op, bottom, left + 1, c) * w[7];
        sum += sapool_tap(op, bottom, left + 2, c) * w[8];
      }
      *out++ = sapool_depthwise_end(op, op->channels + c, sum);
    }
  }
}
#endif

/* rows: kernel_h of them, NULL where one lies in the padding; scratch: 48 * tile bytes. */
SAPOOL_KERNEL void sapool_depthwise_row(const sapool_depthwise *op, const int8_t *const *rows, int8_t *out,
                                        int16_t *scratch) {
#if SAPOOL_USE_DSP
  if (sapool_is_3x3(op) && op->short_requant && op->act_min == -128 && op->act_max == 127 && op->in_channels >= 4 &&
      op->stride_w <= 2 && op->tile >= 2 && (rows[0] != NULL || rows[1] != NULL || rows[2] != NULL)) {
    sapool_depthwise_columns(op, rows, out, (uint32_t *)(void *)scratch);
    return;
  }
#else
  (void)scratch;
  if (sapool_is_3x3(op)) {
    sapool_depthwise_3x3(op, rows, out);
    return;
  }
#endif
  sapool_depthwise_any(op, rows, out);
}

#endif
