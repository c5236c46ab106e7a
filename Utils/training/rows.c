/* The steps of Utils/training/rows.py for the rows that a batch needs, each in one pass, and sums of bags of rows.
 *
 * Every number is rounded as by torch's calls, in their order and with their fused multiply-adds; so the bits are equal.
 */
#include <math.h>
#include <stdint.h>

enum { TILE = 1024, LINE = 16, AHEAD = 8 }; /* numbers that stay in the first-level cache, of a line of it; rows */
#define LESSER(a, b) ((a) < (b) ? (a) : (b))

typedef void Root(int count, const float *from, float *to);

typedef struct {
    int64_t height, width;
    float *average, *square; /* [height, width] each */
    int64_t *last;           /* [height] */
    const float *decay1, *decay2;
    int64_t most1, most2; /* the last places of these two */
    float eps;
    Root *root; /* torch's, which may not round as the processor's does; NULL: the processor's */
} Table;

/* Parts of a quadrature rule: x += weights[k] * m / (eps + nodes[k] * sqrt(v)), k after k. */
typedef struct {
    int64_t terms;
    const float *nodes, *weights;
} Rule;

/* Write to rows the ids without repeats, to indices the place in rows of each; return how many there are, or -1 if an
 * id is not in [0, height). place: [height], of any content. */
int64_t distinct(const int64_t *ids, int64_t count, int64_t height, int64_t *place, int64_t *rows, int64_t *indices)
{
    int64_t found = 0;
    for (int64_t i = 0; i < count; i++)
        if (ids[i] < 0 || ids[i] >= height)
            return -1;
        else
            place[ids[i]] = i;
    for (int64_t i = 0; i < count; i++)
        if (place[ids[i]] == i)
            rows[found++] = ids[i];
    for (int64_t k = 0; k < found; k++)
        place[rows[k]] = k;
    for (int64_t i = 0; i < count; i++)
        indices[i] = place[ids[i]];
    return found;
}

static void move(const Table *table, const Rule *rule, int count, const float *m, const float *v, float *x)
{
    float root[TILE];
    if (table->root)
        table->root(count, v, root);
    else
        for (int l = 0; l < count; l++)
            root[l] = sqrtf(v[l]);
    for (int64_t k = 0; k < rule->terms; k++) {
        float node = rule->nodes[k], weight = rule->weights[k], eps = table->eps;
        for (int l = 0; l < count; l++)
            x[l] += weight * m[l] / fmaf(root[l], node, eps);
    }
}

/* Tiles of `high` rows and `wide` columns; one that is wider than a tile is cut. */
typedef struct {
    int64_t high, wide, across, all;
} Tiling;

static Tiling tiling(int64_t rows, int64_t width)
{
    int64_t wide = LESSER(width, TILE), high = TILE / wide, across = (width + wide - 1) / wide;
    return (Tiling){high, wide, across, (rows + high - 1) / high * across};
}

/* The rows at the start of a step: to value go start moved by the rule, to average and square (NULL: nowhere) the
 * moments. rows: [count], or NULL for all; start is as high as the table, what is written has a row for each of rows. */
void begin(const Table *table, const int64_t *rows, int64_t count, const float *start, int64_t step, const Rule *rule,
           float *average, float *square, float *value, int threads)
{
    int64_t width = table->width;
    Tiling tiles = tiling(count, width);
#pragma omp parallel for num_threads(threads) schedule(static)
    for (int64_t t = 0; t < tiles.all; t++) {
        int64_t top = t / tiles.across * tiles.high, left = t % tiles.across * tiles.wide;
        int64_t high = LESSER(tiles.high, count - top), wide = LESSER(tiles.wide, width - left);
        float m[TILE], v[TILE], x[TILE];
        for (int64_t i = 0; i < high; i++) {
            int64_t row = rows ? rows[top + i] : top + i, from = row * width + left, to = i * wide;
            int64_t rest = step - table->last[row];
            float first = table->decay1[LESSER(rest, table->most1)], second = table->decay2[LESSER(rest, table->most2)];
            if (rows && top + i + AHEAD < count)
                for (int64_t l = 0, next = rows[top + i + AHEAD] * width + left; l < wide; l += LINE) {
                    __builtin_prefetch(table->average + next + l);
                    __builtin_prefetch(table->square + next + l);
                    __builtin_prefetch(start + next + l);
                }
            for (int64_t l = 0; l < wide; l++) {
                m[to + l] = table->average[from + l] * first;
                v[to + l] = table->square[from + l] * second;
                x[to + l] = start[from + l];
            }
        }
        move(table, rule, high * wide, m, v, x);
        for (int64_t i = 0; i < high; i++)
            for (int64_t l = 0, to = (top + i) * width + left; l < wide; l++) {
                value[to + l] = x[i * wide + l];
                if (average) {
                    average[to + l] = m[i * wide + l];
                    square[to + l] = v[i * wide + l];
                }
            }
    }
}

/* The step of these rows with its gradient: moments and, to limit, value moved by the rule. first, second: the shares
 * of the gradient and of its square in the moments. All but limit have a row for each of rows. */
void finish(const Table *table, const int64_t *rows, int64_t count, const float *gradient, const float *average,
            const float *square, const float *value, float first, float second, int64_t step, const Rule *rule,
            float *limit, int threads)
{
    int64_t width = table->width;
    Tiling tiles = tiling(count, width);
#pragma omp parallel for num_threads(threads) schedule(static)
    for (int64_t t = 0; t < tiles.all; t++) {
        int64_t top = t / tiles.across * tiles.high, left = t % tiles.across * tiles.wide;
        int64_t high = LESSER(tiles.high, count - top), wide = LESSER(tiles.wide, width - left);
        float m[TILE], v[TILE], x[TILE];
        for (int64_t i = 0; i < high; i++)
            for (int64_t l = 0, from = (top + i) * width + left, to = i * wide; l < wide; l++) {
                float slope = gradient[from + l];
                m[to + l] = fmaf(slope, first, average[from + l]);
                v[to + l] = fmaf(second * slope, slope, square[from + l]);
                x[to + l] = value[from + l];
            }
        move(table, rule, high * wide, m, v, x);
        for (int64_t i = 0; i < high; i++) {
            table->last[rows[top + i]] = step;
            for (int64_t l = 0, to = rows[top + i] * width + left, from = i * wide; l < wide; l++) {
                table->average[to + l] = m[from + l];
                table->square[to + l] = v[from + l];
                limit[to + l] = x[from + l];
            }
        }
    }
}

/* Bag b has the entries offsets[b] up to the next one's. Write to output, [bags, width], the sum or mean of the rows
 * that its indices name, and to owner, [entries], the bag of each entry. Return 0; -1 if offsets or indices are wrong. */
int bags(const int64_t *indices, int64_t entries, const int64_t *offsets, int64_t bags, const float *rows,
         int64_t height, int64_t width, int mean, int64_t *owner, float *output, int threads)
{
    for (int64_t b = 0; b < bags; b++) {
        int64_t end = b + 1 < bags ? offsets[b + 1] : entries;
        if ((b == 0 && offsets[b]) || offsets[b] > end || end > entries)
            return -1;
        for (int64_t p = offsets[b]; p < end; p++) {
            owner[p] = b;
            if (indices[p] < 0 || indices[p] >= height)
                return -1;
        }
    }
#pragma omp parallel for num_threads(threads) schedule(static)
    for (int64_t b = 0; b < bags; b++) {
        int64_t end = b + 1 < bags ? offsets[b + 1] : entries;
        for (int64_t left = 0; left < width; left += TILE) {
            int64_t wide = LESSER(TILE, width - left);
            float sums[TILE], size = mean && end > offsets[b] ? end - offsets[b] : 1;
            for (int64_t l = 0; l < wide; l++)
                sums[l] = 0;
            for (int64_t p = offsets[b]; p < end; p++)
                for (int64_t l = 0, from = indices[p] * width + left; l < wide; l++)
                    sums[l] += rows[from + l];
            for (int64_t l = 0; l < wide; l++)
                output[b * width + left + l] = sums[l] / size;
        }
    }
    return 0;
}

/* The gradient of these sums or means by rows, added to output. order: the entries sorted by their index; a row's
 * entries are added in it, by one thread. */
void spread(const int64_t *indices, int64_t entries, const int64_t *offsets, int64_t bags, const int64_t *owner,
            const int64_t *order, const float *gradient, int64_t width, int mean, float *output, int threads)
{
#pragma omp parallel for num_threads(threads) schedule(static)
    for (int t = 0; t < threads; t++) {
        int64_t at = entries * t / threads, end = entries * (t + 1) / threads;
        while (at > 0 && at < entries && indices[order[at]] == indices[order[at - 1]])
            at++;
        while (end > 0 && end < entries && indices[order[end]] == indices[order[end - 1]])
            end++;
        for (; at < end; at++) {
            int64_t bag = owner[order[at]], next = bag + 1 < bags ? offsets[bag + 1] : entries;
            float scale = mean ? 1 / (float)(next - offsets[bag]) : 1;
            const float *from = gradient + bag * width;
            float *to = output + indices[order[at]] * width;
            for (int64_t l = 0; l < width; l++)
                to[l] = fmaf(scale, from[l], to[l]);
        }
    }
}
