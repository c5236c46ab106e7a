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
 * in tile t are weight[ends[t * outputs + o]] up to the next end. */
static inline __attribute__((always_inline)) void
some(int count, const float *x, const int64_t *at, float *y, int64_t step, int outputs, int tiles, const float *bias,
     const int32_t *ends, const int32_t *taps, const float *weights)
{
    for (int t = 0; t < tiles; t++)
        for (int o = 0; o < outputs; o++, ends++) {
            float *out = y + o * step;
            Run sums[UNROLL];
            if (t && ends[0] == ends[1])
                continue;
            for (int j = 0; j < count; j++)
                if (t)
                    sums[j] = *(const Run *)(out + at[j]);
                else
                    sums[j] = bias[o] + (Run){0};
            for (int32_t k = ends[0]; k < ends[1]; k++) {
                const float *from = x + taps[k];
                for (int j = 0; j < count; j++)
                    sums[j] += weights[k] * *(const Run *)(from + at[j]);
            }
            for (int j = 0; j < count; j++)
                *(Run *)(out + at[j]) = sums[j];
        }
}

/* The runs begin at at[...], in x less the tap, and in the plane of each output, which has `step` floats. */
void scattered(const float *x, const int64_t *at, int64_t runs, int64_t threads, float *y, int64_t step,
               int64_t outputs, int64_t tiles, const float *bias, const int32_t *ends, const int32_t *taps, const float *weights)
{
    int64_t groups = runs / UNROLL, j = groups * UNROLL;
#pragma omp parallel for num_threads(threads) schedule(static)
    for (int64_t g = 0; g < groups; g++)
        some(UNROLL, x, at + g * UNROLL, y, step, outputs, tiles, bias, ends, taps, weights);
    for (; j + 4 <= runs; j += 4)
        some(4, x, at + j, y, step, outputs, tiles, bias, ends, taps, weights);
    for (; j < runs; j++)
        some(1, x, at + j, y, step, outputs, tiles, bias, ends, taps, weights);
}
