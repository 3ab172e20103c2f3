/* Any function of one 8-bit value: a table. */
#ifndef SAPOOL_TABLE_H
#define SAPOOL_TABLE_H

#include "sapool_base.h"

/* values[v + 128]; out may be in. */
typedef struct {
  const int8_t *values;
  uint32_t count;
} sapool_table;

SAPOOL_KERNEL void sapool_table_row(const sapool_table *op, const int8_t *in, int8_t *out) {
  for (uint32_t i = 0; i < op->count; i++) {
    out[i] = op->values[in[i] + 128];
  }
}

#endif
