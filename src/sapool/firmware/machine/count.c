/* Counts the instructions that an emulated core runs: unicorn calls on_block for each basic block it enters.

   Compiled for the host and handed to unicorn through ctypes; a hook in Python would be a thousand times slower. Where
   the function that makes an operator's rows is entered, its instructions and those of what it calls are booked on the
   operator that its second argument names, until it returns. */
#include <stdint.h>
#include <stdlib.h>

typedef int (*read_register)(void *engine, int number, void *value);

enum { DEEPEST = 64 };

typedef struct {
  uint64_t total;
  uint64_t *by_operator;   /* [operators + 1]; the last is what belongs to none */
  const uint8_t *code;     /* a copy of the code, `length` bytes from `base` */
  uint32_t *seen;          /* [length / 2]: size in bytes << 16 | instructions, of the block that starts here */
  uint64_t base, length;
  uint64_t entry;          /* where the operators' function starts; 0 where there is none */
  read_register read;
  int32_t link_register, stack_register, argument_register, none, riscv;
  int32_t depth, current;
  struct { uint32_t back, stack; int32_t operator_; } calls[DEEPEST];
} counter;

static uint32_t instructions(const counter *c, uint64_t at, uint32_t size) {
  uint32_t count = 0, i = 0;
  while (i < size) {
    const uint32_t half = (uint32_t)c->code[at + i] | (uint32_t)c->code[at + i + 1] << 8;
    const int long_one = c->riscv ? (half & 3U) == 3U : (half >> 11) >= 0x1DU;
    i += long_one ? 4U : 2U;
    count++;
  }
  return count;
}

static uint32_t value_of(const counter *c, void *engine, int32_t number) {
  uint64_t value = 0;
  c->read(engine, number, &value);
  return (uint32_t)value;
}

void on_block(void *engine, uint64_t address, uint32_t size, void *data) {
  counter *c = (counter *)data;
  const uint64_t at = address - c->base;
  uint32_t count;
  if (at >= c->length) return;
  if (c->seen[at / 2] >> 16 != size) c->seen[at / 2] = size << 16 | instructions(c, at, size);
  count = c->seen[at / 2] & 0xFFFFU;
  while (c->depth > 0 && c->calls[c->depth - 1].back == (uint32_t)address &&
         c->calls[c->depth - 1].stack == value_of(c, engine, c->stack_register)) {
    c->depth--;
    c->current = c->depth > 0 ? c->calls[c->depth - 1].operator_ : c->none;
  }
  if (c->entry == address && c->depth < DEEPEST) {
    const uint32_t operator_ = value_of(c, engine, c->argument_register);
    c->current = operator_ < (uint32_t)c->none ? (int32_t)operator_ : c->none;
    c->calls[c->depth].back = value_of(c, engine, c->link_register) & ~1U;
    c->calls[c->depth].stack = value_of(c, engine, c->stack_register);
    c->calls[c->depth].operator_ = c->current;
    c->depth++;
  }
  c->total += count;
  c->by_operator[c->current] += count;
}
