/* Operators that only move values: padding, concatenation, slices, turns, nearest resizing, ... */
#ifndef SAPOOL_MOVE_H
#define SAPOOL_MOVE_H

#include "sapool_base.h"

/* rows: for each output row (stride numbers a row) the first piece, the piece behind the last, and where in every input
 * the row starts. */
typedef struct {
  const sapool_piece *pieces;
  const int32_t *rows;
  uint16_t stride;
  uint32_t count;
  uint8_t has_fill;
  int16_t fill;
} sapool_move;

SAPOOL_KERNEL void sapool_move_row(const sapool_move *op, const int32_t *row, const int8_t *const *inputs,
                                   int8_t *out) {
  for (uint32_t i = 0; op->has_fill && i < op->count; i++) {
    out[i] = (int8_t)op->fill;
  }
  for (int32_t n = row[0]; n < row[1]; n++) {
    const sapool_piece *p = op->pieces + n;
    for (int32_t a = 0; a < p->count0; a++) {
      for (int32_t b = 0; b < p->count1; b++) {
        for (int32_t c = 0; c < p->count2; c++) {
          const int8_t *from = inputs[p->source] + p->from + a * p->from0 + b * p->from1 + c * p->from2;
          int8_t *to = out + p->to + a * p->to0 + b * p->to1 + c * p->to2;
          for (int32_t d = 0; d < p->count3; d++, from += p->from3, to += p->to3) {
            *to = *from;
          }
        }
      }
    }
  }
}

#endif
