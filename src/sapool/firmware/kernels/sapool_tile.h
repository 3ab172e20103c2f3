/* The inner part of CONV_2D and FULLY_CONNECTED for cores with the DSP instructions (Cortex-M4, M7, M33, M55): all
 * channels of one, two or four pixels. In assembly, for no compiler keeps four pixels by two channels in registers. */
#ifndef SAPOOL_TILE_H
#define SAPOOL_TILE_H

#include "sapool_base.h"

/* Pixels are gathered as int16: for every two k, the two values of each pixel. `zero` is 1 + 2 * the output's zero
 * point; `steps` is K / 2. Channels are done in pairs, from `weights` to `weights_end`, by the short requantisation. */
typedef struct {
  const int16_t *pixels;
  const int8_t *weights, *weights_end;
  const sapool_channel *channels;
  int8_t *out;
  int32_t out_stride, zero;
  uint32_t steps;
} sapool_tile;

#ifdef __cplusplus
extern "C" {
#endif
void sapool_tile_1(const sapool_tile *tile);
void sapool_tile_2(const sapool_tile *tile);
void sapool_tile_4(const sapool_tile *tile);
#ifdef __cplusplus
}
#endif

/* Registers: r0 pixels, r1 weights; sums of the first channel in r2 to r5, of the second in r6 to r9. */
__asm__(
    ".syntax unified\n"
    ".thumb\n"

    /* A word of weights holds two k of two channels: r10 gets the first channel's, r11 the second's. */
    ".macro sapool_weights\n"
    "  ldr.w r10, [r1], #4\n"
    "  sxtb16 r11, r10, ror #8\n"
    "  sxtb16 r10, r10\n"
    ".endm\n"

    /* Two k of one pixel with both channels: by SMUAD at the start, by SMLAD then. */
    ".macro sapool_start pixel, a, b\n"
    "  smuad \\a, \\pixel, r10\n"
    "  smuad \\b, \\pixel, r11\n"
    ".endm\n"
    ".macro sapool_add pixel, a, b\n"
    "  smlad \\a, \\pixel, r10, \\a\n"
    "  smlad \\b, \\pixel, r11, \\b\n"
    ".endm\n"

    /* Two k of all pixels; every instruction has four bytes, for the loop is entered in its midst. */
    ".macro sapool_step4 use\n"
    "  sapool_weights\n"
    "  ldmia.w r0!, {r12, lr}\n"
    "  \\use r12, r2, r6\n"
    "  \\use lr, r3, r7\n"
    "  ldmia.w r0!, {r12, lr}\n"
    "  \\use r12, r4, r8\n"
    "  \\use lr, r5, r9\n"
    ".endm\n"
    ".macro sapool_step2 use\n"
    "  sapool_weights\n"
    "  ldmia.w r0!, {r12, lr}\n"
    "  \\use r12, r2, r6\n"
    "  \\use lr, r3, r7\n"
    ".endm\n"
    ".macro sapool_step1 use\n"
    "  sapool_weights\n"
    "  ldr.w r12, [r0], #4\n"
    "  \\use r12, r2, r6\n"
    ".endm\n"

    /* r11: twice the channel's bias, r12: multiplier, lr: shift, r10: (1 + 2 zero point) << (shift - 1). */
    ".macro sapool_channel\n"
    "  ldr r0, [sp, #12]\n"
    "  ldmia.w r0!, {r11, r12, lr}\n"
    "  str r0, [sp, #12]\n"
    "  ldr.w r10, [sp, #24]\n"
    "  sub.w r0, lr, #1\n"
    "  lsl.w r11, r11, #1\n"
    "  lsl.w r10, r10, r0\n"
    ".endm\n"
    /* A sum becomes an output. A negative product rounds its halves downwards: its sign goes in with the rounding. */
    ".macro sapool_requantize sum\n"
    "  add.w \\sum, r11, \\sum, lsl #1\n"
    "  add.w r0, r10, \\sum, asr #31\n"
    "  smmlar \\sum, \\sum, r12, r0\n"
    "  asr.w \\sum, \\sum, lr\n"
    "  ssat \\sum, #8, \\sum\n"
    ".endm\n"

    /* The frame: a copy of the tile; in place of `steps` where to enter the loop; where the pixels end. The first turn
     * of the loop does what is left over by fours, after the one step that starts the sums. */
    ".macro sapool_enter step, step_bytes, pixel_bytes, name\n"
    "  push {r4-r11, lr}\n"
    "  sub sp, #36\n"
    "  ldmia.w r0, {r1-r8}\n"
    "  stmia.w sp, {r1-r8}\n"
    "  lsl r0, r8, \\pixel_bytes\n"
    "  add r0, r0, r1\n"
    "  str r0, [sp, #32]\n"
    "  subs r0, r8, #1\n"
    "  and r0, r0, #3\n"
    "  movs r3, \\step_bytes\n"
    "  muls r0, r3, r0\n"
    "  adr.w r3, 2f\n"
    "  subs r3, r3, r0\n"
    "  adds r3, #1\n"
    "  str r3, [sp, #28]\n"
    "  mov r1, r2\n"
    ".p2align 2\n"
    "1:\n" /* two channels */
    "  ldr.w r0, [sp]\n"
    "  \\step sapool_start\n"
    "  ldr.w pc, [sp, #28]\n"
    "3:\n"
    "  .rept 4\n"
    "  \\step sapool_add\n"
    "  .endr\n"
    "2:\n"
    "  ldr.w r10, [sp, #32]\n"
    "  cmp r0, r10\n"
    "  bne 3b\n"
    ".endm\n"
    ".macro sapool_leave\n"
    "  ldr r0, [sp, #8]\n"
    "  cmp r1, r0\n"
    "  bne 1b\n"
    "  add sp, #36\n"
    "  pop {r4-r11, pc}\n"
    ".endm\n"

    ".section .text.sapool_tile_4,\"ax\",%progbits\n"
    ".p2align 2\n"
    ".type sapool_tile_4, %function\n"
    ".thumb_func\n"
    "sapool_tile_4:\n"
    "  sapool_enter sapool_step4, #52, #4\n"
    "  sapool_channel\n"
    "  sapool_requantize r2\n"
    "  sapool_requantize r3\n"
    "  sapool_requantize r4\n"
    "  sapool_requantize r5\n"
    "  sapool_channel\n"
    "  sapool_requantize r6\n"
    "  sapool_requantize r7\n"
    "  sapool_requantize r8\n"
    "  sapool_requantize r9\n"
    "  ldrd lr, r12, [sp, #16]\n"
    "  add.w r0, lr, r12, lsl #1\n"
    "  bfi r2, r6, #8, #8\n"
    "  strh.w r2, [lr]\n"
    "  bfi r3, r7, #8, #8\n"
    "  strh.w r3, [lr, r12]\n"
    "  bfi r4, r8, #8, #8\n"
    "  strh r4, [r0]\n"
    "  bfi r5, r9, #8, #8\n"
    "  strh.w r5, [r0, r12]\n"
    "  add.w lr, lr, #2\n"
    "  str.w lr, [sp, #16]\n"
    "  sapool_leave\n"
    ".size sapool_tile_4, . - sapool_tile_4\n"

    ".section .text.sapool_tile_2,\"ax\",%progbits\n"
    ".p2align 2\n"
    ".type sapool_tile_2, %function\n"
    ".thumb_func\n"
    "sapool_tile_2:\n"
    "  sapool_enter sapool_step2, #32, #3\n"
    "  sapool_channel\n"
    "  sapool_requantize r2\n"
    "  sapool_requantize r3\n"
    "  sapool_channel\n"
    "  sapool_requantize r6\n"
    "  sapool_requantize r7\n"
    "  ldrd lr, r12, [sp, #16]\n"
    "  bfi r2, r6, #8, #8\n"
    "  strh.w r2, [lr]\n"
    "  bfi r3, r7, #8, #8\n"
    "  strh.w r3, [lr, r12]\n"
    "  add.w lr, lr, #2\n"
    "  str.w lr, [sp, #16]\n"
    "  sapool_leave\n"
    ".size sapool_tile_2, . - sapool_tile_2\n"

    ".section .text.sapool_tile_1,\"ax\",%progbits\n"
    ".p2align 2\n"
    ".type sapool_tile_1, %function\n"
    ".thumb_func\n"
    "sapool_tile_1:\n"
    "  sapool_enter sapool_step1, #24, #2\n"
    "  sapool_channel\n"
    "  sapool_requantize r2\n"
    "  sapool_channel\n"
    "  sapool_requantize r6\n"
    "  ldr.w lr, [sp, #16]\n"
    "  bfi r2, r6, #8, #8\n"
    "  strh r2, [lr], #2\n"
    "  str.w lr, [sp, #16]\n"
    "  sapool_leave\n"
    ".size sapool_tile_1, . - sapool_tile_1\n"
    ".text\n");

#endif
