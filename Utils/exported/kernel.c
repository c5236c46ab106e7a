/* Sums of a few numbers of many: y[o] = bias[o] + sum over k of weight[k] * x[tap[k] ...], for runs of floats that lie
 * side by side. What is not a weight costs nothing. The accumulators of UNROLL runs stay in registers.
 */
#include <stdint.h>

#ifdef __AVX512F__
enum { LANES = 16 };
#else
enum { LANES = 8 };
#endif
enum { UNROLL = 8 };
typedef float Run __attribute__((vector_size(4 * LANES), aligned(4), may_alias));

int lanes(void) { return LANES; }

/* The weights come in tiles of inputs, so that what a tile reads of x stays in the first-level cache; those of output o
 * in tile t are weight[ends[t * outputs + o]] up to the next end. Where there are few runs, each has several sums, as a
 * multiplication would wait for the one before. */
static inline __attribute__((always_inline)) void
some(int count, int each, const float *x, const int64_t *at, float *y, int64_t step, int outputs, int tiles, const float *bias,
     const int32_t *ends, const int32_t *taps, const float *weights)
{
    for (int t = 0; t < tiles; t++)
        for (int o = 0; o < outputs; o++, ends++) {
            float *out = y + o * step;
            Run sums[UNROLL] = {{0}};
            int32_t k = ends[0];
            if (t && ends[0] == ends[1])
                continue;
            for (int j = 0; j < count; j++)
                if (t)
                    sums[j] = *(const Run *)(out + at[j]);
                else
                    sums[j] = bias[o] + (Run){0};
            for (; k + each <= ends[1]; k += each)
                for (int i = 0; i < each; i++) {
                    const float *from = x + taps[k + i];
                    for (int j = 0; j < count; j++)
                        sums[i * count + j] += weights[k + i] * *(const Run *)(from + at[j]);
                }
            for (; each > 1 && k < ends[1]; k++) {
                const float *from = x + taps[k];
                for (int j = 0; j < count; j++)
                    sums[j] += weights[k] * *(const Run *)(from + at[j]);
            }
            for (int j = 0; j < count; j++) {
                for (int i = 1; i < each; i++)
                    sums[j] += sums[i * count + j];
                *(Run *)(out + at[j]) = sums[j];
            }
        }
}

/* The runs begin at at[...], in x less the tap, and in the plane of each output, which has `step` floats. */
void scattered(const float *x, const int64_t *at, int64_t runs, int64_t threads, float *y, int64_t step,
               int64_t outputs, int64_t tiles, const float *bias, const int32_t *ends, const int32_t *taps, const float *weights)
{
    int64_t groups = runs / UNROLL, j = groups * UNROLL;
#pragma omp parallel for num_threads(threads) schedule(static)
    for (int64_t g = 0; g < groups; g++)
        some(UNROLL, 1, x, at + g * UNROLL, y, step, outputs, tiles, bias, ends, taps, weights);
#define REST(count, each) \
    case count: some(count, each, x, at + j, y, step, outputs, tiles, bias, ends, taps, weights); break;
    switch (runs - j) { REST(1, 4) REST(2, 4) REST(3, 2) REST(4, 2) REST(5, 1) REST(6, 1) REST(7, 1) }
}
