/* What all kernels share: how an accumulator becomes an 8-bit value. All functions are static: every network has its
 * own, so that several can be linked together. C99 and C++; no library, no floating point. */
#ifndef SAPOOL_BASE_H
#define SAPOOL_BASE_H

#include <stddef.h>
#include <stdint.h>

#if defined(__GNUC__)
#define SAPOOL_KERNEL static __attribute__((noinline))
#else
#define SAPOOL_KERNEL static
#endif

/* An output channel: what its accumulator starts with (the input's zero point folded in over all taps), and the factor
 * multiplier * 2^(-31 - shift) that makes it an output. A shift above 0 is to the right, one below 0 to the left. */
typedef struct {
  int32_t bias;
  int32_t multiplier;
  int32_t shift;
} sapool_channel;

static inline int32_t sapool_clamp(int32_t value, int32_t low, int32_t high) {
  return value < low ? low : (value > high ? high : value);
}

/* round(a * b / 2^31), halves upwards; both -2^31 saturate. */
static inline int32_t sapool_high_mul(int32_t a, int32_t b) {
  if (a == INT32_MIN && b == INT32_MIN) {
    return INT32_MAX;
  }
  return (int32_t)(((int64_t)a * (int64_t)b + (INT64_C(1) << 30)) >> 31);
}

/* round(value / 2^exponent), halves away from zero; exponent 0 to 31. */
static inline int32_t sapool_divide_by_power(int32_t value, int32_t exponent) {
  const int32_t mask = (int32_t)((UINT32_C(1) << exponent) - 1u);
  const int32_t remainder = value & mask;
  const int32_t threshold = (mask >> 1) + (value < 0 ? 1 : 0);
  return (value >> exponent) + (remainder > threshold ? 1 : 0);
}

/* value * multiplier * 2^(-31 - shift), rounded twice as the interpreter does. */
static inline int32_t sapool_requantize(int32_t value, int32_t multiplier, int32_t shift) {
  if (shift >= 0) {
    return sapool_divide_by_power(sapool_high_mul(value, multiplier), shift);
  }
  return sapool_high_mul((int32_t)((uint32_t)value << -shift), multiplier);
}

/* The same where |value| < 2^30 and shift >= 1 are proven: the shortest form of both roundings. */
static inline int32_t sapool_requantize_short(int32_t value, int32_t multiplier, int32_t shift) {
  const int32_t product = (int32_t)(((int64_t)value * (int64_t)multiplier + (INT64_C(1) << 30)) >> 31);
  return (product + (product >> 31) + (INT32_C(1) << (shift - 1))) >> shift;
}

#endif
