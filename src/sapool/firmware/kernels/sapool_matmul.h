/* BATCH_MATMUL of two computed tensors: some rows of the left one times the whole right one. */
#ifndef SAPOOL_MATMUL_H
#define SAPOOL_MATMUL_H

#include "sapool_base.h"

/* out[m][n] = sum over k of (left[m][k] - left_zero) * (right[n * stride_n + k * stride_k] - right_zero): one of the
 * strides is 1. The factor is multiplier * 2^(-31 - shift). */
typedef struct {
  uint16_t rows, columns, depth, stride_n, stride_k;
  int16_t left_zero, right_zero, out_zero;
  int32_t multiplier, shift;
} sapool_matmul;

SAPOOL_KERNEL void sapool_matmul_row(const sapool_matmul *op, const int8_t *left, const int8_t *right, int8_t *out) {
  for (int32_t m = 0; m < op->rows; m++, left += op->depth) {
    for (int32_t n = 0; n < op->columns; n++) {
      const int8_t *column = right + n * op->stride_n;
      int32_t sum = 0;
      for (int32_t k = 0; k < op->depth; k++) {
        sum += (left[k] - op->left_zero) * (column[k * op->stride_k] - op->right_zero);
      }
      sum = sapool_requantize(sum, op->multiplier, op->shift) + op->out_zero;
      *out++ = (int8_t)sapool_clamp(sum, -128, 127);
    }
  }
}

#endif
