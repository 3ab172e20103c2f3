/* BATCH_MATMUL of two computed tensors: some rows of the left one times the whole right one. */
#ifndef SAPOOL_MATMUL_H
#define SAPOOL_MATMUL_H

#include "sapool_base.h"
#if SAPOOL_USE_DSP
#include "sapool_tile.h"
#endif

/* out[m][n] = sum over k of (left[m][k] - left_zero) * (right[n * stride_n + k * stride_k] - right_zero): one of the
 * strides is 1. The factor is multiplier * 2^(-31 - shift). */
typedef struct {
  uint16_t rows, columns, depth, stride_n, stride_k;
  int16_t left_zero, right_zero, out_zero;
  int32_t multiplier, shift;
  int32_t tile; /* rows of the left one that are gathered at once: 1, 2 or 4 */
} sapool_matmul;

/* Columns `first` up to `end` of `lines` rows. */
SAPOOL_REST void sapool_matmul_plain(const sapool_matmul *op, const int8_t *left, const int8_t *right, int8_t *out,
                                     int32_t lines, int32_t first) {
  for (int32_t m = 0; m < lines; m++, left += op->depth, out += op->columns) {
    for (int32_t n = first; n < op->columns; n++) {
      const int8_t *column = right + n * op->stride_n;
      int32_t sum = 0;
      for (int32_t k = 0; k < op->depth; k++) {
        sum += (left[k] - op->left_zero) * (column[k * op->stride_k] - op->right_zero);
      }
      sum = sapool_requantize(sum, op->multiplier, op->shift) + op->out_zero;
      out[n] = (int8_t)sapool_clamp(sum, -128, 127);
    }
  }
}

#if SAPOOL_USE_DSP
/* The left rows become a tile's pixels, four right columns its weights. Of every four k the first and the third are a
 * pair, the second and the fourth; what is left over, pairs as they come. The right zero point is one pair more: it
 * multiplies the sum of a row, with its sign turned and in two parts. */
static void sapool_matmul_gather(const sapool_matmul *op, const int8_t *from, int16_t *to, int32_t lines) {
  const uint32_t zero = sapool_pack_bottom((uint32_t)op->left_zero, (uint32_t)op->left_zero);
  const int32_t step = 2 * lines;
  int32_t k = op->depth, sum = 0;
  for (; k >= 4; k -= 4, from += 4, to += 2 * step) {
    const uint32_t word = sapool_load_word(from);
    const uint32_t even = sapool_subtract_pairs(sapool_widen_even(word), zero);
    const uint32_t odd = sapool_subtract_pairs(sapool_widen_odd(word), zero);
    sapool_store_word(to, even);
    sapool_store_word(to + step, odd);
    sum = sapool_add_products(odd, 0x00010001u, sapool_add_products(even, 0x00010001u, sum));
  }
  for (; k > 0; k -= 2, from += 2, to += step) {
    to[0] = (int16_t)(from[0] - op->left_zero);
    to[1] = (int16_t)(k > 1 ? from[1] - op->left_zero : 0);
    sum += to[0] + to[1];
  }
  to[0] = (int16_t)(-sum / 2);
  to[1] = (int16_t)(-sum - to[0]);
}

/* Two k of two columns as a tile takes them: a[k], b[k], a[k'], b[k']. */
static inline uint32_t sapool_interleave(const int8_t *a, const int8_t *b, int32_t next) {
  const uint32_t first = (uint8_t)a[0] | (uint32_t)(uint8_t)b[0] << 8;
  return first | (uint32_t)(uint8_t)a[next] << 16 | (uint32_t)(uint8_t)b[next] << 24;
}

/* Four columns from `from` on: two pairs of `steps` words each. */
static void sapool_matmul_pack(const sapool_matmul *op, const int8_t *from, uint32_t *to, int32_t steps) {
  const int32_t stride_n = op->stride_n, stride_k = op->stride_k;
  const uint32_t zero = (uint8_t)op->right_zero * UINT32_C(0x01010101);
  int32_t k = op->depth;
  if (stride_n == 1) {
    for (; k >= 4; k -= 4, from += 4 * stride_k, to += 2) {
      const uint32_t a = sapool_load_word(from), b = sapool_load_word(from + stride_k);
      const uint32_t c = sapool_load_word(from + 2 * stride_k), d = sapool_load_word(from + 3 * stride_k);
      to[0] = sapool_pack_bottom(a, c);
      to[1] = sapool_pack_bottom(b, d);
      to[steps] = sapool_pack_top(a, c);
      to[steps + 1] = sapool_pack_top(b, d);
    }
  } else {
    for (; k >= 4; k -= 4, from += 4, to += 2) {
      for (int32_t i = 0; i < 2; i++) {
        const int8_t *pair = from + 2 * i * stride_n;
        const uint32_t a = sapool_load_word(pair), b = sapool_load_word(pair + stride_n);
        to[i * steps] = (a & 0x00FF00FFu) | (b & 0x00FF00FFu) << 8;
        to[i * steps + 1] = (a >> 8 & 0x00FF00FFu) | (b & 0xFF00FF00u);
      }
    }
  }
  for (; k > 0; k -= 2, from += 2 * stride_k, to++) {
    const int32_t next = k > 1 ? stride_k : 0; /* a single k left over: its partner is multiplied by 0 */
    to[0] = sapool_interleave(from, from + stride_n, next);
    to[steps] = sapool_interleave(from + 2 * stride_n, from + 3 * stride_n, next);
  }
  to[0] = to[steps] = zero;
}

static void sapool_matmul_tiles(const sapool_matmul *op, const int8_t *left, const int8_t *right, int8_t *out,
                                int16_t *scratch) {
  const int32_t steps = ((op->depth + 1) >> 1) + 1, columns = op->columns, whole = columns & ~3;
  uint32_t *const packed = (uint32_t *)(void *)(scratch + 2 * op->tile * steps);
  sapool_channel channels[4];
  sapool_tile tile;
  for (int32_t i = 0; i < 4; i++) {
    channels[i].bias = 0;
    channels[i].multiplier = op->multiplier;
    channels[i].shift = op->shift;
  }
  tile.pixels = scratch;
  tile.weights = (const int8_t *)packed;
  tile.weights_end = tile.weights + 8 * steps;
  tile.channels = channels;
  tile.out_stride = columns;
  tile.zero = 1 + 2 * op->out_zero;
  tile.steps = (uint32_t)steps;
  for (int32_t m = 0; m < op->rows;) {
    const int32_t rest = op->rows - m, most = rest < op->tile ? rest : op->tile;
    const int32_t lines = most >= 4 ? 4 : (most >= 2 ? 2 : 1);
    for (int32_t p = 0; p < lines; p++) {
      sapool_matmul_gather(op, left + (m + p) * op->depth, scratch + 2 * p, lines);
    }
    for (int32_t n = 0; n < whole; n += 4) {
      sapool_matmul_pack(op, right + n * op->stride_n, packed, steps);
      tile.out = out + m * columns + n;
      if (lines == 4) {
        sapool_tile_4(&tile);
      } else if (lines == 2) {
        sapool_tile_2(&tile);
      } else {
        sapool_tile_1(&tile);
      }
    }
    if (whole < columns) {
      sapool_matmul_plain(op, left + m * op->depth, right, out + m * columns, lines, whole);
    }
    m += lines;
  }
}
#endif

/* scratch: 8 + 4 * tile bytes for every two k and for one more pair. */
SAPOOL_KERNEL void sapool_matmul_row(const sapool_matmul *op, const int8_t *left, const int8_t *right, int8_t *out,
                                     int16_t *scratch) {
#if SAPOOL_USE_DSP
  if (op->depth <= 256 && op->shift >= 1 && op->shift <= 22 && op->columns >= 4) {
    sapool_matmul_tiles(op, left, right, out, scratch);
    return;
  }
#endif
  (void)scratch;
  sapool_matmul_plain(op, left, right, out, op->rows, 0);
}

#endif
