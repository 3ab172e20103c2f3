/* MEAN and SUM over rows and columns: sums grow row by row. */
#ifndef SAPOOL_MEAN_H
#define SAPOOL_MEAN_H

#include "sapool_base.h"

/* A row holds width positions of channels values; offset is taken off the sum at the end: rows * width * in_zero. */
typedef struct {
  uint16_t width, channels;
  int16_t out_zero;
  int32_t offset, multiplier, shift;
} sapool_mean;

/* Adds a row to sums (channels of them). */
SAPOOL_KERNEL void sapool_mean_row(const sapool_mean *op, const int8_t *row, int32_t *sums, int32_t first) {
  for (int32_t c = 0; first && c < op->channels; c++) {
    sums[c] = 0;
  }
  for (int32_t x = 0; x < op->width; x++) {
    for (int32_t c = 0; c < op->channels; c++) {
      sums[c] += *row++;
    }
  }
}

SAPOOL_KERNEL void sapool_mean_end(const sapool_mean *op, const int32_t *sums, int8_t *out) {
  for (int32_t c = 0; c < op->channels; c++) {
    const int32_t value = sapool_requantize(sums[c] - op->offset, op->multiplier, op->shift) + op->out_zero;
    out[c] = (int8_t)sapool_clamp(value, -128, 127);
  }
}

#endif
