/* MINIMUM and MAXIMUM of two rows. */
#ifndef SAPOOL_EXTREMUM_H
#define SAPOOL_EXTREMUM_H

#include "sapool_base.h"

/* out[i] = the smaller or larger of a[i] and b[(i / inner) % period], which have one quantisation. */
typedef struct {
  uint32_t count;
  uint16_t inner, period;
  uint8_t is_max;
} sapool_extremum;

/* out may be a. */
SAPOOL_KERNEL void sapool_extremum_row(const sapool_extremum *op, const int8_t *a, const int8_t *b, int8_t *out) {
  uint32_t i = 0;
  while (i < op->count) {
    for (int32_t p = 0; p < op->period; p++) {
      for (int32_t r = 0; r < op->inner; r++, i++) {
        const int takes_a = op->is_max ? a[i] > b[p] : a[i] < b[p];
        out[i] = takes_a ? a[i] : b[p];
      }
    }
  }
}

#endif
