/* The inner parts of a 3x3 DEPTHWISE_CONV_2D for cores with the DSP instructions: four channels along a row. In
 * assembly, for no compiler keeps two columns' windows in registers. */
#ifndef SAPOOL_COLUMNS_H
#define SAPOOL_COLUMNS_H

#include "sapool_base.h"

/* Pairs of columns, 48 bytes each: for each of four channels, (row 0, row 1) of the first column, of the second, and
 * (row 2 of the first, row 2 of the second); int16, the first in the lower half. `count` outputs of each channel lie
 * `stride` bytes apart from `out` on; `zero` is 1 + 2 * their zero point. */
typedef struct {
  const uint32_t *pairs;
  int8_t *out;
  int32_t stride, count;
  const int8_t *weights;
  const sapool_channel *channels;
  int32_t zero;
} sapool_columns;

#ifdef __cplusplus
extern "C" {
#endif
/* Makes the pairs from `to` up to `end`: rows at `top`, `middle` and `bottom`, columns `step` bytes apart. */
void sapool_spread_pairs(const int8_t *top, const int8_t *middle, const int8_t *bottom, uint32_t *to, int32_t step,
                         const uint32_t *end);
/* Makes the outputs, with a stride of 1 or 2 columns. */
void sapool_columns_1(const sapool_columns *columns);
void sapool_columns_2(const sapool_columns *columns);
#ifdef __cplusplus
}
#endif

__asm__(
    ".syntax unified\n"
    ".thumb\n"

    /* r0 to r2: rows, r3: to, r4: step. */
    ".section .text.sapool_spread_pairs,\"ax\",%progbits\n"
    ".p2align 2\n"
    ".type sapool_spread_pairs, %function\n"
    ".thumb_func\n"
    "sapool_spread_pairs:\n"
    "  push {r4-r11, lr}\n"
    "  ldr r4, [sp, #36]\n"
    "1:\n"
    "  ldr.w r6, [r0]\n"
    "  ldr.w r7, [r0, r4]\n"
    "  add.w r0, r0, r4, lsl #1\n"
    "  ldr.w r8, [r1]\n"
    "  ldr.w r9, [r1, r4]\n"
    "  add.w r1, r1, r4, lsl #1\n"
    "  sxtb16 r10, r6\n"
    "  sxtb16 r6, r6, ror #8\n"
    "  sxtb16 r12, r8\n"
    "  sxtb16 r8, r8, ror #8\n"
    "  pkhbt r11, r10, r12, lsl #16\n"
    "  pkhtb r12, r12, r10, asr #16\n"
    "  pkhbt r10, r6, r8, lsl #16\n"
    "  pkhtb r8, r8, r6, asr #16\n"
    "  sxtb16 r6, r7\n"
    "  sxtb16 r7, r7, ror #8\n"
    "  sxtb16 lr, r9\n"
    "  sxtb16 r9, r9, ror #8\n"
    "  pkhbt r5, r6, lr, lsl #16\n"
    "  pkhtb lr, lr, r6, asr #16\n"
    "  pkhbt r6, r7, r9, lsl #16\n"
    "  pkhtb r9, r9, r7, asr #16\n"
    "  strd r11, r5, [r3]\n"
    "  strd r10, r6, [r3, #12]\n"
    "  strd r12, lr, [r3, #24]\n"
    "  strd r8, r9, [r3, #36]\n"
    "  ldr.w r6, [r2]\n"
    "  ldr.w r7, [r2, r4]\n"
    "  add.w r2, r2, r4, lsl #1\n"
    "  sxtb16 r8, r6\n"
    "  sxtb16 r6, r6, ror #8\n"
    "  sxtb16 r9, r7\n"
    "  sxtb16 r7, r7, ror #8\n"
    "  pkhbt r10, r8, r9, lsl #16\n"
    "  str.w r10, [r3, #8]\n"
    "  pkhbt r10, r6, r7, lsl #16\n"
    "  str.w r10, [r3, #20]\n"
    "  pkhtb r9, r9, r8, asr #16\n"
    "  str.w r9, [r3, #32]\n"
    "  pkhtb r7, r7, r6, asr #16\n"
    "  str.w r7, [r3, #44]\n"
    "  add.w r3, r3, #48\n"
    "  ldr r5, [sp, #40]\n"
    "  cmp r3, r5\n"
    "  bne 1b\n"
    "  pop {r4-r11, pc}\n"
    ".size sapool_spread_pairs, . - sapool_spread_pairs\n"
    ".text\n");

__asm__(
    /* The outputs. r0: pairs, r1: out, r2: its stride; two pairs in r3 to r8; sums in r9 and r10. The frame: weights
     * (w[0][x], w[1][x]) of each column x, (w[2][0], w[2][1]), (w[2][1], w[2][2]); twice the bias, multiplier,
     * rounding, shift; from #36 on the end of the pairs, whether an output is left over, weights, channels, zero, out,
     * pairs, count, stride, channels to do. */
    ".macro sapool_column_frame\n"
    "  push {r4-r11, lr}\n"
    "  sub sp, #76\n"
    "  ldmia.w r0, {r0-r6}\n"
    "  strd r4, r5, [sp, #44]\n"
    "  str r6, [sp, #52]\n"
    "  strd r1, r0, [sp, #56]\n"
    "  strd r3, r2, [sp, #64]\n"
    "  movs r7, #4\n"
    "  str r7, [sp, #72]\n"
    ".endm\n"

    ".macro sapool_column_channel\n"
    "  ldrd r8, r9, [sp, #44]\n"
    "  ldr r3, [r8], #4\n"
    "  ldr r5, [r8], #4\n"
    "  ldrsb r7, [r8], #1\n"
    "  sxtb16 r4, r3, ror #8\n"
    "  sxtb16 r3, r3\n"
    "  sxtb16 r6, r5, ror #8\n"
    "  sxtb16 r5, r5\n"
    "  lsls r7, r7, #16\n"
    "  pkhtb r7, r7, r6, asr #16\n"
    "  stmia.w sp, {r3-r7}\n"
    "  ldmia.w r9!, {r3, r4, r6}\n"
    "  strd r8, r9, [sp, #44]\n"
    "  lsls r3, r3, #1\n"
    "  ldr r5, [sp, #52]\n"
    "  subs r7, r6, #1\n"
    "  lsls r5, r7\n"
    "  strd r3, r4, [sp, #20]\n"
    "  strd r5, r6, [sp, #28]\n"
    "  ldrd r1, r0, [sp, #56]\n"
    "  adds r3, r1, #1\n"
    "  add.w r4, r0, #12\n"
    "  strd r3, r4, [sp, #56]\n"
    "  ldrd r3, r2, [sp, #64]\n"
    ".endm\n"

    ".macro sapool_column_end\n"
    "  ldr r3, [sp, #72]\n"
    "  subs r3, #1\n"
    "  str r3, [sp, #72]\n"
    "  bne 7b\n"
    "  add sp, #76\n"
    "  pop {r4-r11, pc}\n"
    ".endm\n"

    /* r11: twice the bias, r12: multiplier, lr: rounding. */
    ".macro sapool_column_output sum, shift, t\n"
    "  add.w \\sum, r11, \\sum, lsl #1\n"
    "  add.w \\t, lr, \\sum, asr #31\n"
    "  smmlar \\sum, \\sum, r12, \\t\n"
    "  asr.w \\sum, \\sum, \\shift\n"
    "  ssat \\sum, #8, \\sum\n"
    ".endm\n"

    /* Two outputs: the columns a, b of one pair, c, d of the next; e, f: the third rows of the pairs. The second output
     * is written first: with a stride of 0 it is one that must not stay. */
    ".macro sapool_two a, b, e, c, d, f\n"
    "  ldmia.w r0, {\\c, \\d, \\f}\n"
    "  add.w r0, r0, #48\n"
    "  ldmia.w sp, {r11, r12, lr}\n"
    "  smuad r9, \\a, r11\n"
    "  smuad r10, \\b, r11\n"
    "  smlad r9, \\b, r12, r9\n"
    "  smlad r10, \\c, r12, r10\n"
    "  smlad r9, \\c, lr, r9\n"
    "  smlad r10, \\d, lr, r10\n"
    "  ldrd r11, r12, [sp, #12]\n"
    "  smlad r9, \\e, r11, r9\n"
    "  smlatb r10, \\e, r11, r10\n"
    "  smlabt r9, \\f, r12, r9\n"
    "  smlad r10, \\f, r12, r10\n"
    "  ldrd r11, r12, [sp, #20]\n"
    "  ldrd lr, \\a, [sp, #28]\n"
    "  sapool_column_output r9, \\a, \\b\n"
    "  sapool_column_output r10, \\a, \\b\n"
    "  strb.w r10, [r1, r2]\n"
    "  strb r9, [r1]\n"
    "  add.w r1, r1, r2, lsl #1\n"
    ".endm\n"

    /* On to the next turn while there are columns; then once more, without the second output, for one left over. */
    ".macro sapool_on turn\n"
    "  ldr.w r11, [sp, #36]\n"
    "  cmp r0, r11\n"
    "  bne \\turn\n"
    "  ldr.w r12, [sp, #40]\n"
    "  cmp.w r12, #0\n"
    "  beq 9f\n"
    "  add.w r11, r11, #48\n"
    "  str.w r11, [sp, #36]\n"
    "  movs r2, #0\n"
    "  str.w r2, [sp, #40]\n"
    "  b \\turn\n"
    ".endm\n"

    ".section .text.sapool_columns_1,\"ax\",%progbits\n"
    ".p2align 2\n"
    ".type sapool_columns_1, %function\n"
    ".thumb_func\n"
    "sapool_columns_1:\n"
    "  sapool_column_frame\n"
    "7:\n"
    "  sapool_column_channel\n"
    "  and r4, r3, #1\n"
    "  lsrs r3, r3, #1\n"
    "  adds r3, #1\n"
    "  add.w r5, r3, r3, lsl #1\n"
    "  add.w r5, r0, r5, lsl #4\n"
    "  strd r5, r4, [sp, #36]\n"
    "  ldmia.w r0, {r3-r5}\n"
    "  adds r0, #48\n"
    "  sapool_on 1f\n"
    "1:\n"
    "  sapool_two r3, r4, r5, r6, r7, r8\n"
    "  sapool_on 2f\n"
    "2:\n"
    "  sapool_two r6, r7, r8, r3, r4, r5\n"
    "  sapool_on 1b\n"
    "9:\n"
    "  sapool_column_end\n"
    ".size sapool_columns_1, . - sapool_columns_1\n"

    /* With a stride of 2, a pair makes one output. */
    ".macro sapool_one a, b, e, c, d, f\n"
    "  ldmia.w r0, {\\c, \\d, \\f}\n"
    "  add.w r0, r0, #48\n"
    "  ldmia.w sp, {r11, r12, lr}\n"
    "  smuad r9, \\a, r11\n"
    "  smlad r9, \\b, r12, r9\n"
    "  smlad r9, \\c, lr, r9\n"
    "  ldrd r11, r12, [sp, #12]\n"
    "  smlad r9, \\e, r11, r9\n"
    "  smlabt r9, \\f, r12, r9\n"
    "  ldrd r11, r12, [sp, #20]\n"
    "  ldrd lr, \\a, [sp, #28]\n"
    "  sapool_column_output r9, \\a, \\b\n"
    "  strb r9, [r1]\n"
    "  add r1, r2\n"
    ".endm\n"

    ".section .text.sapool_columns_2,\"ax\",%progbits\n"
    ".p2align 2\n"
    ".type sapool_columns_2, %function\n"
    ".thumb_func\n"
    "sapool_columns_2:\n"
    "  sapool_column_frame\n"
    "7:\n"
    "  sapool_column_channel\n"
    "  adds r3, #1\n"
    "  add.w r5, r3, r3, lsl #1\n"
    "  add.w r5, r0, r5, lsl #4\n"
    "  str r5, [sp, #36]\n"
    "  ldmia.w r0, {r3-r5}\n"
    "  adds r0, #48\n"
    "1:\n"
    "  sapool_one r3, r4, r5, r6, r7, r8\n"
    "  ldr.w r11, [sp, #36]\n"
    "  cmp r0, r11\n"
    "  beq 9f\n"
    "  sapool_one r6, r7, r8, r3, r4, r5\n"
    "  ldr.w r11, [sp, #36]\n"
    "  cmp r0, r11\n"
    "  bne 1b\n"
    "9:\n"
    "  sapool_column_end\n"
    ".size sapool_columns_2, . - sapool_columns_2\n"
    ".text\n");

#endif
