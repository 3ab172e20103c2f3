/* What both pools are. */
#ifndef SAPOOL_POOL_H
#define SAPOOL_POOL_H

#include "sapool_base.h"

typedef struct {
  uint16_t in_width, channels, out_width;
  uint8_t kernel_h, kernel_w, stride_w;
  int16_t pad_left;
  int8_t act_min, act_max;
} sapool_pool;

#endif
