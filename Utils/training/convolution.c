/* Gradients of a convolution's weights that are left. That of a weight is the sum of the products of its output's
 * gradient with what it has read, over all runs of floats that lie side by side.
 */
#include "runs.h"

enum { UNROLL = 8, GROUP = 32 }; /* sums side by side; runs that are added up before the lanes of a sum are */

int group(void) { return GROUP; }

/* Add the products of `count` runs of g with those of x that `width` weights read, each to its sum. */
static inline __attribute__((always_inline)) void
some(int width, int count, const float *x, const int64_t *in, const Run *g, const int32_t *taps, float *sums)
{
    Run found[UNROLL] = {{0}};
    for (int j = 0; j < count; j++)
        for (int i = 0; i < width; i++)
            found[i] += g[j] * *(const Run *)(x + taps[i] + in[j]);
    float lanes[UNROLL][LANES];
    for (int i = 0; i < width; i++)
        *(Run *)lanes[i] = found[i];
    for (int half = LANES / 2; half; half /= 2)
        for (int i = 0; i < width; i++)
            for (int lane = 0; lane < half; lane++)
                lanes[i][lane] += lanes[i][lane + half];
    for (int i = 0; i < width; i++)
        sums[i] += lanes[i][0];
}

/* The runs begin at in[...] in x less the tap, and at at[...] in the plane of each output's gradient, which has `step`
 * floats. The weights are those of Utils/exported/kernel.c. Each thread has `held` for GROUP runs of each output, and
 * `sums` of all weights. */
void gradients(const float *x, const int64_t *in, const float *g, const int64_t *at, int64_t step, int64_t runs,
               int64_t threads, float *held, float *sums, int64_t outputs, int64_t tiles, const int32_t *ends,
               const int32_t *taps, int64_t weights)
{
#pragma omp parallel for num_threads(threads) schedule(static)
    for (int64_t begin = 0; begin < runs; begin += GROUP) {
        const int count = runs - begin < GROUP ? runs - begin : GROUP, thread = omp_get_thread_num();
        const int64_t *from = in + begin, *to = at + begin;
        Run *mine = (Run *)held + thread * outputs * GROUP;
        float *found = sums + thread * weights;
        for (int64_t o = 0; o < outputs; o++)
            for (int j = 0; j < count; j++)
                mine[o * GROUP + j] = *(const Run *)(g + o * step + to[j]);
        for (int64_t t = 0; t < tiles * outputs; t++) {
            const Run *of = mine + t % outputs * GROUP;
            int32_t k = ends[t];
            for (; k + UNROLL <= ends[t + 1]; k += UNROLL)
                some(UNROLL, count, x, from, of, taps + k, found + k);
            for (; k + 2 <= ends[t + 1]; k += 2)
                some(2, count, x, from, of, taps + k, found + k);
            if (k < ends[t + 1])
                some(1, count, x, from, of, taps + k, found + k);
        }
    }
}
