/* Runs a generated program on this machine: images from standard input, outputs to standard output, one after the other;
   the seconds that the fastest image took go to standard error. Compiled with -DHEADER, -DNAME(f) and -DCONSTANT(c). */
#include <stdio.h>
#include <time.h>

#include HEADER

static NAME(t) state;

int main(void) {
  double best = 1e30;
  int full = 1;
  NAME(init)(&state);
  while (full) {
    const void *result = NULL;
    clock_t spent = 0;
    int row;
    for (row = 0; row < CONSTANT(HEIGHT) && full; row++) {
      full = fread(NAME(row)(&state), 1, CONSTANT(ROW_BYTES), stdin) == CONSTANT(ROW_BYTES);
      if (full) {
        const clock_t start = clock();
        result = NAME(push)(&state);
        spent += clock() - start;
      }
    }
    if (full && (result == NULL || fwrite(result, 1, CONSTANT(OUTPUT_BYTES), stdout) != CONSTANT(OUTPUT_BYTES))) return 1;
    if (full && (double)spent / CLOCKS_PER_SEC < best) best = (double)spent / CLOCKS_PER_SEC;
  }
  fprintf(stderr, "seconds %.6f\n", best);
  return 0;
}
