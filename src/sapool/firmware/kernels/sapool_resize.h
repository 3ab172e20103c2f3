/* RESIZE_BILINEAR: one output row between two input rows. */
#ifndef SAPOOL_RESIZE_H
#define SAPOOL_RESIZE_H

#include "sapool_base.h"

/* rows and columns: for each of the output's, the one before it, the one behind it, and how far it is from the first in
 * 1024ths. */
typedef struct {
  const int16_t *rows, *columns;
  uint16_t out_width, channels;
} sapool_resize;

SAPOOL_KERNEL void sapool_resize_row(const sapool_resize *op, int32_t row, const int8_t *above, const int8_t *below,
                                     int8_t *out) {
  const int32_t y = op->rows[3 * row + 2];
  for (int32_t i = 0; i < op->out_width; i++) {
    const int32_t left = op->columns[3 * i] * op->channels, right = op->columns[3 * i + 1] * op->channels;
    const int32_t x = op->columns[3 * i + 2];
    for (int32_t c = 0; c < op->channels; c++) {
      int32_t sum = above[left + c] * (1024 - y) * (1024 - x) + below[left + c] * y * (1024 - x);
      sum += above[right + c] * (1024 - y) * x + below[right + c] * y * x;
      *out++ = (int8_t)((sum + (sum > 0 ? 1 << 19 : -(1 << 19))) / (1 << 20));
    }
  }
}

#endif
