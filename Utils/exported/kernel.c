/* Sums of a few numbers of many: y[o] = bias[o] + sum over k of weight[k] * x[tap[k] ...], for runs of floats that lie
 * side by side. What is not a weight costs nothing. The accumulators of UNROLL runs stay in registers.
 */
#include "runs.h"

/* PAST_CACHES writes a run without reading the place into the caches first; until FENCE other threads may not see it. */
#ifdef __AVX512F__
#define PAST_CACHES(place, run) _mm512_stream_ps((float *)(place), (__m512)(run))
#define FENCE _mm_sfence()
#elif defined(__AVX__)
#define PAST_CACHES(place, run) _mm256_stream_ps((float *)(place), (__m256)(run))
#define FENCE _mm_sfence()
#else
#define PAST_CACHES(place, run) (*(place) = (run))
#define FENCE
#endif
enum { UNROLL = 8, LARGE = 1 << 16 }; /* LARGE: runs of an output that the caches would not keep for its reader */

int lanes(void) { return LANES; }

int unroll(void) { return UNROLL; }

/* The weights of a product, in tiles of inputs, so that what a tile reads of x stays in the first-level cache; those of
 * output o in tile t are values[ends[t * outputs + o]] up to the next end. */
typedef struct {
    int64_t outputs, tiles;
    const float *bias;
    const int32_t *ends, *taps;
    const float *values;
} Weights;

/* `count` runs of all outputs. They begin at in[...] in x less the tap, and at at[...] in y, an output's plane having
 * `step` floats; if `joined`, they lie side by side in x. From tile to tile the sums are in `held`, side by side, as
 * the caches would not hold so many places of y, which are written past them if `past`. Where there are few runs, each
 * has several sums, as a multiplication would wait for the one before. */
static inline __attribute__((always_inline)) void
some(int count, int each, int joined, const float *x, const int64_t *in, const int64_t *at, float *y, int64_t step,
     int past, Run *held, const Weights *of)
{
    const int32_t *ends = of->ends, *taps = of->taps;
    const float *values = of->values;
#define READ(from, j) *(const Run *)((from) + (joined ? in[0] + (j) * LANES : in[j]))
    for (int64_t t = 0; t < of->tiles; t++)
        for (int64_t o = 0; o < of->outputs; o++, ends++) {
            int last = t == of->tiles - 1;
            Run sums[UNROLL] = {{0}}, *kept = held + o * count;
            int32_t k = ends[0];
            if (t && !last && ends[0] == ends[1])
                continue;
            for (int j = 0; j < count; j++)
                if (t)
                    sums[j] = kept[j];
                else
                    sums[j] = of->bias[o] + (Run){0};
            for (; k + each <= ends[1]; k += each)
                for (int i = 0; i < each; i++)
                    for (int j = 0; j < count; j++)
                        sums[i * count + j] += values[k + i] * READ(x + taps[k + i], j);
            for (; each > 1 && k < ends[1]; k++)
                for (int j = 0; j < count; j++)
                    sums[j] += values[k] * READ(x + taps[k], j);
            for (int j = 0; j < count; j++) {
                for (int i = 1; i < each; i++)
                    sums[j] += sums[i * count + j];
                Run *place = last ? (Run *)(y + o * step + at[j]) : kept + j;
                if (last && past)
                    PAST_CACHES(place, sums[j]);
                else
                    *place = sums[j];
            }
        }
}

/* `held` has UNROLL runs of each output for each thread. */
void scattered(const float *x, const int64_t *in, const int64_t *at, int64_t runs, int64_t threads, float *y, int64_t step,
               float *held, int64_t outputs, int64_t tiles, const float *bias, const int32_t *ends, const int32_t *taps,
               const float *values)
{
    const Weights of = {outputs, tiles, bias, ends, taps, values};
    int64_t groups = runs / UNROLL, j = groups * UNROLL;
    int past = runs * outputs > LARGE && ((intptr_t)y | step * sizeof(float)) % sizeof(Run) == 0;
    for (int64_t i = 0; past && i < runs; i++)
        past = at[i] % LANES == 0;
#pragma omp parallel for num_threads(threads) schedule(static)
    for (int64_t g = 0; g < groups; g++) {
        const int64_t *begin = in + g * UNROLL, *end = at + g * UNROLL;
        Run *mine = (Run *)held + omp_get_thread_num() * outputs * UNROLL;
        if (begin[UNROLL - 1] - begin[0] == (UNROLL - 1) * LANES)
            some(UNROLL, 1, 1, x, begin, end, y, step, past, mine, &of);
        else
            some(UNROLL, 1, 0, x, begin, end, y, step, past, mine, &of);
        FENCE;
    }
#define REST(count, each) \
    case count: some(count, each, 0, x, in + j, at + j, y, step, 0, (Run *)held, &of); break;
    switch (runs - j) { REST(1, 4) REST(2, 4) REST(3, 2) REST(4, 2) REST(5, 1) REST(6, 1) REST(7, 1) }
}
