/* What all kernels share: how an accumulator becomes an 8-bit value. All functions are static: every network has its
 * own, so that several can be linked together. C99 and C++; no library, no floating point. */
#ifndef SAPOOL_BASE_H
#define SAPOOL_BASE_H

#include <stddef.h>
#include <stdint.h>

/* A program built for a core with the DSP instructions says #define SAPOOL_DSP 1: its kernels use them where the
 * compiler has them too. */
#if defined(SAPOOL_DSP) && defined(__ARM_FEATURE_DSP) && defined(__GNUC__)
#define SAPOOL_USE_DSP SAPOOL_DSP
#else
#define SAPOOL_USE_DSP 0
#endif

#if defined(__GNUC__)
#define SAPOOL_ALIGNED __attribute__((aligned(4))) /* flash that is read a word at a time */
#else
#define SAPOOL_ALIGNED
#endif

/* Plain C beside the DSP instructions is for what they leave over: small rather than fast. */
#if SAPOOL_USE_DSP
#define SAPOOL_REST static __attribute__((noinline, cold))
#else
#define SAPOOL_REST static
#endif

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

/* A move of values by four loops, the innermost last:
 * out[to + sum of i * to_stride] = inputs[source][from + sum of i * from_stride]. */
typedef struct {
  int32_t source, from, to;
  int32_t count0, count1, count2, count3;
  int32_t from0, from1, from2, from3;
  int32_t to0, to1, to2, to3;
} sapool_piece;

/* The DSP instructions of Cortex-M4, M7, M33 and M55, where the program is built for such a core. */
#if SAPOOL_USE_DSP
typedef uint32_t __attribute__((may_alias, aligned(1))) sapool_word_anywhere;
typedef uint32_t __attribute__((may_alias)) sapool_word;

static inline uint32_t sapool_load_word(const int8_t *from) {
  return *(const sapool_word_anywhere *)(const void *)from;
}

static inline void sapool_store_word(int16_t *to, uint32_t word) {
  *(sapool_word *)(void *)to = word;
}

/* Bytes 0 and 2, 1 and 3, as two int16. */
static inline uint32_t sapool_widen_even(uint32_t word) {
  uint32_t result;
  __asm__("sxtb16 %0, %1" : "=r"(result) : "r"(word));
  return result;
}

static inline uint32_t sapool_widen_odd(uint32_t word) {
  uint32_t result;
  __asm__("sxtb16 %0, %1, ror #8" : "=r"(result) : "r"(word));
  return result;
}

/* Both int16 of a less those of b. */
static inline uint32_t sapool_subtract_pairs(uint32_t a, uint32_t b) {
  uint32_t result;
  __asm__("ssub16 %0, %1, %2" : "=r"(result) : "r"(a), "r"(b));
  return result;
}

/* The products of both int16, added to a sum. */
static inline int32_t sapool_add_products(uint32_t a, uint32_t b, int32_t sum) {
  int32_t result;
  __asm__("smlad %0, %1, %2, %3" : "=r"(result) : "r"(a), "r"(b), "r"(sum));
  return result;
}

/* Bytes 0 and 2, 1 and 3, added to two int16. */
static inline uint32_t sapool_add_even(uint32_t sums, uint32_t word) {
  uint32_t result;
  __asm__("sxtab16 %0, %1, %2" : "=r"(result) : "r"(sums), "r"(word));
  return result;
}

static inline uint32_t sapool_add_odd(uint32_t sums, uint32_t word) {
  uint32_t result;
  __asm__("sxtab16 %0, %1, %2, ror #8" : "=r"(result) : "r"(sums), "r"(word));
  return result;
}

/* The lower halves of both, the upper halves of both: the first's comes first. */
static inline uint32_t sapool_pack_bottom(uint32_t first, uint32_t second) {
  uint32_t result;
  __asm__("pkhbt %0, %1, %2, lsl #16" : "=r"(result) : "r"(first), "r"(second));
  return result;
}

static inline uint32_t sapool_pack_top(uint32_t first, uint32_t second) {
  uint32_t result;
  __asm__("pkhtb %0, %1, %2, asr #16" : "=r"(result) : "r"(second), "r"(first));
  return result;
}
#endif

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

/* sapool_high_mul where |a| < 2^30 is proven. */
static inline int32_t sapool_high_mul_short(int32_t a, int32_t b) {
#if SAPOOL_USE_DSP
  int32_t result;
  __asm__("smmulr %0, %1, %2" : "=r"(result) : "r"(a * 2), "r"(b));
  return result;
#else
  return (int32_t)(((int64_t)a * (int64_t)b + (INT64_C(1) << 30)) >> 31);
#endif
}

/* sapool_divide_by_power where |value| < 2^30 is proven; exponent 0 to 30. */
static inline int32_t sapool_divide_short(int32_t value, int32_t exponent) {
  const int32_t half = (int32_t)((UINT32_C(1) << exponent) >> 1), down = exponent > 0 ? -1 : 0;
  return (value + ((value >> 31) & down) + half) >> exponent;
}

/* sapool_requantize where |value| < 2^30 and shift >= 1 are proven: the shortest form of both roundings. */
static inline int32_t sapool_requantize_short(int32_t value, int32_t multiplier, int32_t shift) {
  const int32_t product = sapool_high_mul_short(value, multiplier);
  return (product + (product >> 31) + (INT32_C(1) << (shift - 1))) >> shift;
}

#endif
