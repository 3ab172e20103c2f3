/* What a C compiler takes for granted: the three memory functions it may call. Words at a time where both sides allow. */
#include <stddef.h>
#include <stdint.h>

void *memcpy(void *target, const void *source, size_t count);
void *memmove(void *target, const void *source, size_t count);
void *memset(void *target, int value, size_t count);

typedef uint32_t __attribute__((may_alias)) word;

void *memcpy(void *target, const void *source, size_t count) {
  uint8_t *to = (uint8_t *)target;
  const uint8_t *from = (const uint8_t *)source;
  if ((((uintptr_t)to | (uintptr_t)from) & 3U) == 0U) {
    for (; count >= 16U; count -= 16U, to += 16, from += 16) {
      const word *in = (const word *)(const void *)from;
      word *out = (word *)(void *)to;
      word a = in[0], b = in[1], c = in[2], d = in[3];
      out[0] = a, out[1] = b, out[2] = c, out[3] = d;
    }
    for (; count >= 4U; count -= 4U, to += 4, from += 4) *(word *)(void *)to = *(const word *)(const void *)from;
  }
  while (count-- > 0U) *to++ = *from++;
  return target;
}

void *memmove(void *target, const void *source, size_t count) {
  uint8_t *to = (uint8_t *)target + count;
  const uint8_t *from = (const uint8_t *)source + count;
  if ((uintptr_t)target <= (uintptr_t)source) return memcpy(target, source, count);
  while (count-- > 0U) *--to = *--from;
  return target;
}

void *memset(void *target, int value, size_t count) {
  uint8_t *to = (uint8_t *)target;
  const word filled = (word)(uint8_t)value * 0x01010101U;
  for (; count > 0U && ((uintptr_t)to & 3U) != 0U; count--) *to++ = (uint8_t)value;
  for (; count >= 4U; count -= 4U, to += 4) *(word *)(void *)to = filled;
  while (count-- > 0U) *to++ = (uint8_t)value;
  return target;
}
