/* A translator's encoder and the steps of its decoder, for `w` sentences side by side.
 *
 * A vector of n features of w sentences is n rows of w floats, so that every loop over sentences is one over a register's
 * lanes. w is 1, or a multiple of a register; each exported function is compiled for some such w.
 */
#include <math.h>
#include <string.h>

#include "runs.h"

enum { RUNS = LANES / 4, NARROW = 16, WIDE = 64, OUTPUTS = 6, WORDS = 16 * OUTPUTS, MANY = 10 * WORDS, PAD = 64 };
typedef int32_t Whole __attribute__((vector_size(4 * LANES), aligned(4), may_alias));
typedef uint32_t Bytes __attribute__((vector_size(4 * LANES), aligned(4), may_alias));
typedef int16_t Short __attribute__((vector_size(4 * LANES), aligned(4), may_alias));
#ifdef __AVX512BW__
#define PAIRS(a, b) (Whole) _mm512_madd_epi16((__m512i)(a), (__m512i)(b))
#else
#define PAIRS(a, b) (Whole) _mm256_madd_epi16((__m256i)(a), (__m256i)(b))
#endif
#define INLINE static inline __attribute__((always_inline))

/* A matrix [outputs, inputs]; sparse if it has ends, of its rows: then columns says where the weights stand. The rows are
 * in an order in which their numbers of weights rise, so that the end of a loop over them is foreseen by the processor;
 * order says which output each is of. If it has scales, of its outputs, the weights are whole numbers of 8 bits, and a row
 * of them is filled up with zeros to a multiple of PAD; sums are those of its rows. */
typedef struct {
    const float *bias, *weights;
    const int32_t *ends, *order;
    const uint16_t *columns;
    int64_t outputs, inputs;
    const float *scales;
    const int32_t *sums;
} Matrix;

enum Kind { SELF, SOURCE, FEED, CONSTANT };

typedef struct {
    int64_t kind, heads, query, value;
    Matrix in, out, memory;
    const float *scale, *shift; /* of the normalisation */
} Sublayer;

typedef struct {
    int64_t width, count;
    double eps;
    const Sublayer *sublayers;
    const float *scale, *shift;
} Stack;

/* What a group of w sentences holds, in rows: the padding of its source, keys and values of the source by position, and
 * those of the target by position, of all sublayers side by side. */
typedef struct {
    int64_t sources; /* positions of the source */
    int64_t of_source, of_target; /* rows of a position */
} Plan;

/* A run that a sum begins with: the output's bias, or, without any, what stands there. */
INLINE Run before(const Matrix *m, int64_t o, const float *y)
{
    if (m->bias)
        return m->bias[o] + (Run){0};
    return *(const Run *)y;
}

/* y = bias + weights x; without a bias, y = y + weights x. */
INLINE void sparse(const Matrix *m, int64_t o, int64_t last, const float *x, float *all, int packed, int w)
{
    for (int64_t first = o; o < last; o++) {
        const int64_t output = m->order[o];
        float *y = all + (packed ? o - first : output) * w;
        if (w == 1) {
            float sums[4] = {m->bias ? m->bias[output] : *y};
            int32_t k = m->ends[o];
            for (; k + 4 <= m->ends[o + 1]; k += 4)
                for (int j = 0; j < 4; j++)
                    sums[j] += m->weights[k + j] * x[m->columns[k + j]];
            for (; k < m->ends[o + 1]; k++)
                sums[0] += m->weights[k] * x[m->columns[k]];
            *y = sums[0] + sums[1] + (sums[2] + sums[3]);
        } else
            for (int c = 0; c < w; c += RUNS * LANES) {
                Run sums[RUNS];
                const int runs = w < RUNS * LANES ? w / LANES : RUNS;
                for (int j = 0; j < runs; j++)
                    sums[j] = before(m, output, y + c + j * LANES);
                for (int32_t k = m->ends[o]; k < m->ends[o + 1]; k++)
                    for (int j = 0; j < runs; j++)
                        sums[j] += m->weights[k] * *(const Run *)(x + m->columns[k] * w + c + j * LANES);
                for (int j = 0; j < runs; j++)
                    *(Run *)(y + c + j * LANES) = sums[j];
            }
    }
}

/* The same of a matrix without zeros, `rows` outputs from o on: weights are read once for all sentences. */
INLINE void tile(const Matrix *m, int64_t o, const float *x, float *y, int w, const int rows)
{
    const float *weights = m->weights + o * m->inputs;
    for (int c = 0; c < w; c += RUNS * LANES) {
        Run sums[OUTPUTS][RUNS];
        const int runs = w < RUNS * LANES ? w / LANES : RUNS;
        for (int r = 0; r < rows; r++)
            for (int j = 0; j < runs; j++)
                sums[r][j] = before(m, o + r, y + r * w + c + j * LANES);
        for (int64_t k = 0; k < m->inputs; k++)
            for (int j = 0; j < runs; j++) {
                Run from = *(const Run *)(x + k * w + c + j * LANES);
                for (int r = 0; r < rows; r++)
                    sums[r][j] += weights[r * m->inputs + k] * from;
            }
        for (int r = 0; r < rows; r++)
            for (int j = 0; j < runs; j++)
                *(Run *)(y + r * w + c + j * LANES) = sums[r][j];
    }
}

INLINE void dense(const Matrix *m, int64_t o, int64_t last, const float *x, float *y, int w)
{
    if (w == 1)
        for (; o < last; o++, y++) {
            float sum = m->bias ? m->bias[o] : *y;
            for (int64_t k = 0; k < m->inputs; k++)
                sum += m->weights[o * m->inputs + k] * x[k];
            *y = sum;
        }
    else {
        for (; o + OUTPUTS <= last; o += OUTPUTS, y += OUTPUTS * w)
            tile(m, o, x, y, w, OUTPUTS);
        for (; o < last; o++, y += w)
            tile(m, o, x, y, w, 1);
    }
}

/* sum + a b, of four numbers of 8 bits in each lane; those of a have no sign. */
INLINE Whole dot(Whole sum, Whole a, Whole b)
{
#if defined(__AVX512VNNI__)
    return (Whole)_mm512_dpbusd_epi32((__m512i)sum, (__m512i)a, (__m512i)b);
#elif defined(__AVXVNNI__) && !defined(__AVX512F__)
    return (Whole)_mm256_dpbusd_avx_epi32((__m256i)sum, (__m256i)a, (__m256i)b);
#elif defined(__AVX512BW__) || (defined(__AVX2__) && !defined(__AVX512F__))
    /* Two products of neighbours need not fit into 16 bits. So every other number is widened to them at a time. */
    const Short evens = (Short)((Bytes)a & 0x00FF00FF), odds = (Short)((Bytes)a >> 8 & 0x00FF00FF);
    return sum + PAIRS(evens, (Short)b << 8 >> 8) + PAIRS(odds, (Short)b >> 8);
#else
    for (int k = 0; k < 32; k += 8)
        sum += (Whole)((Bytes)a << (24 - k) >> 24) * ((Whole)((Bytes)b << (24 - k)) >> 24);
    return sum;
#endif
}

/* Round x to whole numbers from -127 to 127 times a scale of each sentence, and add 128; four inputs to a lane. */
INLINE void round_of(const Matrix *m, const float *x, uint32_t *rounded, float *scales, int w)
{
    float most[WIDE] = {0}, times[WIDE];
    for (int64_t k = 0; k < m->inputs; k++)
        for (int j = 0; j < w; j++)
            most[j] = most[j] < fabsf(x[k * w + j]) ? fabsf(x[k * w + j]) : most[j];
    for (int j = 0; j < w; j++) {
        times[j] = most[j] > 0 ? 127 / most[j] : 0;
        scales[j] = most[j] / 127;
    }
    if (w == 1) {
        uint8_t *bytes = (uint8_t *)rounded;
        for (int64_t k = 0; k < m->inputs; k++)
            bytes[k] = (uint8_t)((int32_t)rintf(x[k] * times[0]) + 128);
        for (int64_t k = m->inputs; k % PAD; k++)
            bytes[k] = 128;
    } else
        for (int64_t k = 0; k < m->inputs; k += 4)
            for (int j = 0; j < w; j++) {
                uint32_t four = 0;
                for (int b = 0; b < 4 && k + b < m->inputs; b++)
                    four |= (uint32_t)((int32_t)rintf(x[(k + b) * w + j] * times[j]) + 128) << (8 * b);
                rounded[k / 4 * w + j] = four;
            }
}

/* `tile` in whole numbers of 8 bits. */
INLINE void tile8(const Matrix *m, int64_t o, const uint32_t *x, const float *scales, float *y, int w, const int rows)
{
    const int64_t fours = (m->inputs + 3) / 4, step = (m->inputs + PAD - 1) / PAD * (PAD / 4);
    const int32_t *weights = (const int32_t *)m->weights + o * step;
    for (int c = 0; c < w; c += RUNS * LANES) {
        Whole sums[OUTPUTS][RUNS];
        const int runs = w < RUNS * LANES ? w / LANES : RUNS;
        for (int r = 0; r < rows; r++)
            for (int j = 0; j < runs; j++)
                sums[r][j] = -128 * m->sums[o + r] + (Whole){0};
        for (int64_t k = 0; k < fours; k++)
            for (int j = 0; j < runs; j++) {
                Whole from = *(const Whole *)(x + k * w + c + j * LANES);
                for (int r = 0; r < rows; r++)
                    sums[r][j] = dot(sums[r][j], from, weights[r * step + k] + (Whole){0});
            }
        for (int r = 0; r < rows; r++)
            for (int j = 0; j < runs; j++) {
                float *out = y + r * w + c + j * LANES;
                Run sum = __builtin_convertvector(sums[r][j], Run);
                *(Run *)out = before(m, o + r, out) + sum * (m->scales[o + r] * *(const Run *)(scales + c + j * LANES));
            }
    }
}

INLINE void dense8(const Matrix *m, int64_t o, int64_t last, const float *x, float *y, int w)
{
    const int64_t step = (m->inputs + PAD - 1) / PAD * (PAD / 4);
    uint32_t rounded[step * w];
    float scales[WIDE];
    round_of(m, x, rounded, scales, w);
    if (w == 1)
        for (; o < last; o++, y++) {
            Whole lanes = {0};
            int32_t sum = -128 * m->sums[o];
            for (int64_t k = 0; k < step; k += LANES)
                lanes = dot(lanes, *(const Whole *)(rounded + k), *(const Whole *)((const int32_t *)m->weights + o * step + k));
            for (int j = 0; j < LANES; j++)
                sum += lanes[j];
            *y = (m->bias ? m->bias[o] : *y) + sum * (m->scales[o] * scales[0]);
        }
    else {
        for (; o + OUTPUTS <= last; o += OUTPUTS, y += OUTPUTS * w)
            tile8(m, o, rounded, scales, y, w, OUTPUTS);
        for (; o < last; o++, y += w)
            tile8(m, o, rounded, scales, y, w, 1);
    }
}

/* Rows o up to `last` alone. packed: into adjacent rows of y also if they are in another order. */
INLINE void product_of(const Matrix *m, int64_t o, int64_t last, const float *x, float *y, int packed, int w)
{
    if (m->scales)
        dense8(m, o, last, x, y, w);
    else if (m->ends)
        sparse(m, o, last, x, y, packed, w);
    else
        dense(m, o, last, x, y, w);
}

/* Call a function with a w that the compiler knows. */
#define KNOWN(function, ...) \
    (w == 1 ? function(__VA_ARGS__, 1) : w == NARROW ? function(__VA_ARGS__, NARROW) : function(__VA_ARGS__, WIDE))

static void product(const Matrix *m, const float *x, float *y, int w)
{
    KNOWN(product_of, m, 0, m->outputs, x, y, 0);
}

/* The same of single vectors, `count` of them, whose outputs are `step` floats apart: some at a time become lanes. */
static void turned(const Matrix *m, int64_t count, const float *x, float *y, int64_t step, float *room, int threads)
{
    const int64_t lanes = count > NARROW ? WIDE : NARROW, inputs = m->inputs, outputs = m->outputs;
#pragma omp parallel for num_threads(threads) schedule(static) if (threads > 1)
    for (int64_t p = 0; p < count; p += lanes) {
        const int64_t some = count - p < lanes ? count - p : lanes;
        float *in = room + p * (inputs + outputs), *out = in + inputs * lanes;
        for (int64_t k = 0; k < inputs; k++)
            for (int64_t j = 0; j < lanes; j++)
                in[k * lanes + j] = x[(p + (j < some ? j : 0)) * inputs + k];
        if (!m->bias)
            for (int64_t k = 0; k < outputs; k++)
                for (int64_t j = 0; j < lanes; j++)
                    out[k * lanes + j] = y[(p + (j < some ? j : 0)) * step + k];
        product(m, in, out, lanes);
        for (int64_t j = 0; j < some; j++)
            for (int64_t k = 0; k < outputs; k++)
                y[(p + j) * step + k] = out[k * lanes + j];
    }
}

/* The same at `count` positions. */
static void products(const Matrix *m, int64_t count, const float *x, float *y, int64_t step, float *room, int w)
{
    if (w == 1 && count > 1)
        turned(m, count, x, y, step, room, 1);
    else
        for (int64_t p = 0; p < count; p++)
            product(m, x + p * m->inputs * w, y + p * step, w);
}

/* e^x of an x that is not positive, by a polynomial on [-ln 2 / 2, ln 2 / 2] (Cephes, expf). */
static inline float exponential(float x)
{
    union { int32_t bits; float number; } power;
    x = x < -87 ? -87 : x;
    float n = floorf(x * 1.44269504f + 0.5f), r = x - n * 0.693147181f;
    float sum = 1.9875691500e-4f;
    sum = sum * r + 1.3981999507e-3f;
    sum = sum * r + 8.3334519073e-3f;
    sum = sum * r + 4.1665795894e-2f;
    sum = sum * r + 1.6666665459e-1f;
    sum = sum * r + 5.0000001201e-1f;
    power.bits = ((int32_t)n + 127) << 23;
    return (sum * r * r + r + 1) * power.number;
}

/* Heads of one position over `seen` others, whose keys are `step` floats apart; heads in `across` rows of the keys'. */
INLINE void attend_of(const Sublayer *s, const float *query, int64_t rows, const float *key, int64_t across,
                      int64_t step, int64_t seen, const float *padding, float *heads, float *scores, int w)
{
    memset(heads, 0, sizeof(float) * s->heads * s->value * w);
    for (int64_t h = 0; h < s->heads; h++, query += rows * w, key += across * w, heads += s->value * w) {
        float most[WIDE], total[WIDE] = {0};
        for (int j = 0; j < w; j++)
            most[j] = -INFINITY;
        for (int64_t p = 0; p < seen; p++) {
            float *score = scores + p * w;
            if (w == 1) {
                float sum = 0;
                for (int64_t d = 0; d < s->query; d++)
                    sum += query[d] * key[p * step + d];
                *score = sum;
            } else
                for (int c = 0; c < w; c += RUNS * LANES) {
                    const int runs = w < RUNS * LANES ? w / LANES : RUNS;
                    Run sums[RUNS] = {{0}};
                    for (int64_t d = 0; d < s->query; d++)
                        for (int j = 0; j < runs; j++)
                            sums[j] += *(const Run *)(query + d * w + c + j * LANES) *
                                       *(const Run *)(key + p * step + d * w + c + j * LANES);
                    for (int j = 0; j < runs; j++)
                        *(Run *)(score + c + j * LANES) = sums[j];
                }
            for (int j = 0; j < w; j++) {
                score[j] += padding ? padding[p * w + j] : 0;
                most[j] = most[j] < score[j] ? score[j] : most[j];
            }
        }
        for (int64_t p = 0; p < seen; p++)
            for (int j = 0; j < w; j++)
                total[j] += scores[p * w + j] = exponential(scores[p * w + j] - most[j]);
        for (int j = 0; j < w; j++)
            total[j] = 1 / total[j];
        for (int64_t p = 0; p < seen; p++) {
            const float *value = key + s->query * w + p * step;
            for (int j = 0; j < w; j++)
                scores[p * w + j] *= total[j];
            for (int64_t d = 0; d < s->value; d++)
                for (int j = 0; j < w; j++)
                    heads[d * w + j] += scores[p * w + j] * value[d * w + j];
        }
    }
}

static void attend(const Sublayer *s, const float *query, int64_t rows, const float *key, int64_t across, int64_t step,
                   int64_t seen, const float *padding, float *heads, float *scores, int w)
{
    KNOWN(attend_of, s, query, rows, key, across, step, seen, padding, heads, scores);
}

INLINE void normalise_of(float *x, const float *scale, const float *shift, int64_t width, double eps, int w)
{
    float mean[WIDE] = {0}, square[WIDE] = {0};
    for (int64_t i = 0; i < width; i++)
        for (int j = 0; j < w; j++)
            mean[j] += x[i * w + j];
    for (int j = 0; j < w; j++)
        mean[j] /= width;
    for (int64_t i = 0; i < width; i++)
        for (int j = 0; j < w; j++)
            square[j] += (x[i * w + j] - mean[j]) * (x[i * w + j] - mean[j]);
    for (int j = 0; j < w; j++)
        square[j] = 1 / sqrtf(square[j] / width + eps);
    for (int64_t i = 0; i < width; i++)
        for (int j = 0; j < w; j++)
            x[i * w + j] = (x[i * w + j] - mean[j]) * square[j] * scale[i] + shift[i];
}

static void normalise(float *x, const float *scale, const float *shift, int64_t width, double eps, int w)
{
    KNOWN(normalise_of, x, scale, shift, width, eps);
}

/* A sublayer at `count` positions x, the first of which is `first`, with its normalisation. Keys and values of an
 * attention lie at `keys`, `step` floats from one position to the next; those of its own positions are written. */
static void apply(const Stack *stack, const Sublayer *s, float *x, int64_t count, float *keys, int64_t first,
                  int64_t step, int64_t seen, const float *padding, float *room, int w)
{
    const int64_t width = stack->width * w, each = s->heads * s->value * w;
    float *heads = room, *scores = heads + count * each;
    if (s->kind == FEED) {
        const int64_t hidden = s->in.outputs * w;
        products(&s->in, count, x, room, hidden, room + count * hidden, w);
        for (int64_t i = 0; i < count * hidden; i++)
            room[i] = room[i] < 0 ? 0 : room[i];
        products(&s->out, count, room, x, width, room + count * hidden, w);
    } else if (s->kind != CONSTANT) {
        const int64_t own = s->kind == SELF ? s->query : 0, across = own + s->query + s->value;
        float *queries = s->kind == SELF ? keys + first * step : scores + seen * w;
        const int64_t apart = s->kind == SELF ? step : s->in.outputs * w;
        products(&s->in, count, x, queries, apart, room, w);
        for (int64_t p = 0; p < count; p++)
            attend(s, queries + p * apart, s->kind == SELF ? across : s->query, keys + own * w, across, step, seen,
                   padding, heads + p * each, scores, w);
        products(&s->out, count, heads, x, width, scores, w);
    }
    for (int64_t p = 0; p < count; p++)
        normalise(x + p * width, s->scale, s->shift, stack->width, stack->eps, w);
}

/* The embeddings of w tokens, a row of the table each, plus what belongs to their position. */
static void embed(const float *table, const int64_t *rows, int64_t apart, int64_t sentences, const float *position,
                  int64_t width, float *x, int w)
{
    for (int j = 0; j < w; j++) {
        const float *from = table + rows[(j < sentences ? j : sentences - 1) * apart] * width;
        for (int64_t i = 0; i < width; i++)
            x[i * w + j] = from[i] + position[i];
    }
}

/* Encode sentences, tokens [sentences, sources], and write padding, keys and values of their group to `held`. */
static void begin(const Stack *encoder, const Stack *decoder, const Plan *plan, const float *table, const float *places,
                  const int64_t *rows, const uint8_t *words, int64_t sentences, float *held, float *room, int w)
{
    const int64_t width = encoder->width * w, sources = plan->sources;
    int64_t count = 0;
    for (int64_t p = 0; p < sources; p++)
        for (int j = 0; j < w; j++) {
            int word = words[(j < sentences ? j : sentences - 1) * sources + p];
            held[p * w + j] = word ? 0 : -INFINITY;
            count = word ? p + 1 : count;
        }
    float *x = room, *keys = x + count * width;
    for (int64_t p = 0; p < count; p++)
        embed(table, rows + p, sources, sentences, places + p * encoder->width, encoder->width, x + p * width, w);
    for (const Sublayer *s = encoder->sublayers; s < encoder->sublayers + encoder->count; s++) {
        const int64_t step = s->kind == SELF ? s->in.outputs * w : 0;
        apply(encoder, s, x, count, keys, 0, step, count, held, keys + count * step, w);
    }
    for (int64_t p = 0; p < count; p++)
        normalise(x + p * width, encoder->scale, encoder->shift, encoder->width, encoder->eps, w);
    float *cache = held + sources * w;
    memset(cache + count * plan->of_source * w, 0, sizeof(float) * (sources - count) * plan->of_source * w);
    for (const Sublayer *s = decoder->sublayers; s < decoder->sublayers + decoder->count; s++)
        if (s->kind == SOURCE) {
            products(&s->memory, count, x, cache, plan->of_source * w, keys, w);
            cache += s->memory.outputs * w;
        }
}

/* One step of a group's sentences: latest tokens, as rows of the table, to x [width] after the last normalisation. */
static void advance(const Stack *decoder, const Plan *plan, const float *table, const float *place, const int64_t *rows,
                    int64_t sentences, int64_t position, float *held, float *x, float *room, int w)
{
    float *sources = held + plan->sources * w, *own = sources + plan->sources * plan->of_source * w;
    int64_t seen = 0; /* positions of the source, without those that are padding in all sentences */
    for (int64_t i = 0; i < plan->sources * w; i++)
        seen = held[i] == 0 ? i / w + 1 : seen;
    embed(table, rows, 1, sentences, place, decoder->width, x, w);
    for (const Sublayer *s = decoder->sublayers; s < decoder->sublayers + decoder->count; s++)
        if (s->kind == SOURCE) {
            apply(decoder, s, x, 1, sources, 0, plan->of_source * w, seen, held, room, w);
            sources += s->memory.outputs * w;
        } else {
            apply(decoder, s, x, 1, own, position, plan->of_target * w, position + 1, 0, room, w);
            own += s->kind == SELF ? s->in.outputs * w : 0;
        }
    normalise(x, decoder->scale, decoder->shift, decoder->width, decoder->eps, w);
}

/* The word with the highest logit, of each sentence; of equal ones the first. */
static void likeliest(const Matrix *generator, int64_t sentences, const float *x, int64_t *words, float *room, int w)
{
    float most[WIDE];
    int32_t best[WIDE] = {0};
    for (int j = 0; j < w; j++)
        most[j] = -INFINITY;
    const int64_t some = generator->scales ? MANY : WORDS; /* x is rounded anew for each lot */
    for (int64_t o = 0; o < generator->outputs; o += some) {
        int64_t last = o + some < generator->outputs ? o + some : generator->outputs;
        KNOWN(product_of, generator, o, last, x, room, 1);
        for (int64_t k = o; k < last; k++) {
            const int32_t word = generator->ends ? generator->order[k] : k;
            for (int j = 0; j < w; j++) {
                float logit = room[(k - o) * w + j];
                best[j] = logit > most[j] || (logit == most[j] && word < best[j]) ? word : best[j];
                most[j] = logit > most[j] ? logit : most[j];
            }
        }
    }
    for (int64_t j = 0; j < sentences; j++)
        words[j] = best[j];
}

void encode(const Stack *encoder, const Stack *decoder, const Plan *plan, const float *table, const float *places,
            const int64_t *rows, const uint8_t *words, int64_t sentences, float *held, int64_t holds, float *room,
            int64_t has, int64_t w, int64_t threads)
{
#pragma omp parallel for num_threads(threads) schedule(dynamic)
    for (int64_t first = 0; first < sentences; first += w) {
        int64_t g = first / w, from = first * plan->sources, some = sentences - first < w ? sentences - first : w;
        float *own = held + g * holds, *free = room + g * has;
        begin(encoder, decoder, plan, table, places, rows + from, words + from, some, own, free, w);
    }
}

/* A step that gives the likeliest words; where no words are asked for, the last hidden vectors [sentences, width]. */
void step(const Stack *decoder, const Matrix *generator, const Plan *plan, const float *table, const float *place,
          const int64_t *rows, int64_t sentences, int64_t position, float *held, int64_t holds, float *room, int64_t has,
          int64_t *words, float *hidden, int64_t w, int64_t threads)
{
    const int64_t width = decoder->width;
#pragma omp parallel for num_threads(threads) schedule(dynamic)
    for (int64_t first = 0; first < sentences; first += w) {
        int64_t g = first / w, some = sentences - first < w ? sentences - first : w;
        float *x = room + g * has, *free = x + width * w;
        advance(decoder, plan, table, place, rows + first, some, position, held + g * holds, x, free, w);
        if (words)
            likeliest(generator, some, x, words + first, free, w);
        else
            for (int64_t j = 0; j < some; j++)
                for (int64_t i = 0; i < width; i++)
                    hidden[(first + j) * width + i] = x[i * w + j];
    }
}

/* Copy what sentences hold, the first `filled` rows of it, to groups of another size. */
void keep(const float *from, int64_t holds, int64_t w, float *to, int64_t held, int64_t lanes, const int64_t *sentences,
          int64_t count, int64_t filled, int64_t threads)
{
#pragma omp parallel for num_threads(threads) schedule(dynamic)
    for (int64_t first = 0; first < count; first += lanes) {
        const float *begins[WIDE];
        for (int64_t j = 0; j < lanes; j++) {
            int64_t k = sentences[first + j < count ? first + j : count - 1];
            begins[j] = from + k / w * holds + k % w;
        }
        float *out = to + first / lanes * held;
        for (int64_t r = 0; r < filled; r++)
            for (int64_t j = 0; j < lanes; j++)
                out[r * lanes + j] = begins[j][r * w];
    }
}

/* y [count, outputs] of x [count, inputs]. */
void linear(const Matrix *m, int64_t count, const float *x, float *y, float *room, int64_t threads)
{
    if (count == 1)
        product(m, x, y, 1);
    else
        turned(m, count, x, y, m->outputs, room, threads);
}
