/* Steps of Adam in one pass: of whole parameters, and those of Utils/training/rows.py for the rows that a batch needs;
 * and sums of bags of rows.
 *
 * Every number is rounded as by torch's calls, in their order and with their fused multiply-adds; so the bits are equal.
 */
#include <float.h>
#include <math.h>
#include <stdint.h>

enum { TILE = 1024, LINE = 16, AHEAD = 8 }; /* numbers that stay in the first-level cache, of a line of it; rows */
enum { WIDE = 64 };                         /* numbers that stay in registers */
#define ALWAYS static inline __attribute__((always_inline)) void
#define LESSER(a, b) ((a) < (b) ? (a) : (b))

/* torch's square root, which may not round as the processor's does; NULL: it does. */
typedef void Root(int count, const float *from, float *to);

ALWAYS roots(Root *torchs, int count, const float *from, float *to)
{
    if (torchs)
        torchs(count, from, to);
    else
        for (int l = 0; l < count; l++)
            to[l] = sqrtf(from[l]);
}

/* A step of a whole parameter. keep: what stays of the square; scale: its root at the end of a run of equal gradients;
 * rate: of the step, negative. */
void dense(int64_t count, float *parameter, const float *gradient, float *average, float *square, float first,
           float keep, float second, float scale, float eps, float rate, Root *root, int threads)
{
#pragma omp parallel for num_threads(threads) schedule(static)
    for (int64_t from = 0; from < count; from += TILE) {
        int wide = LESSER(TILE, count - from);
        float v[TILE], root_of[TILE];
        for (int l = 0; l < wide; l++) {
            float slope = gradient[from + l], m = average[from + l];
            average[from + l] = fmaf(first, slope - m, m);
            v[l] = square[from + l] = fmaf(second * slope, slope, square[from + l] * keep);
            v[l] += FLT_MIN;
        }
        roots(root, wide, v, root_of);
        for (int l = 0; l < wide; l++)
            parameter[from + l] += rate * average[from + l] / (root_of[l] / scale + eps);
    }
}

typedef struct {
    int64_t height, width;
    float *average, *square; /* [height, width] each */
    int64_t *last;           /* [height] */
    const float *decay1, *decay2;
    int64_t most1, most2; /* the last places of these two */
    float eps;
    Root *root;
} Table;

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

/* x += sign * weight * m / (eps + node * sqrt(v)) for each of a rule's terms: its nodes, then its weights. */
ALWAYS move(const Table *table, int64_t terms, const float *rule, float sign, int count, const float *m,
            const float *v, float *x)
{
    float root[TILE];
    roots(table->root, count, v, root);
    for (int64_t k = 0; k < terms; k++) {
        float node = rule[k], weight = sign * rule[terms + k], eps = table->eps;
        for (int l = 0; l < count; l++)
            x[l] += weight * m[l] / fmaf(root[l], node, eps);
    }
}

/* Copy, also times a factor. */
ALWAYS copy(int64_t count, const float *restrict from, float *restrict to)
{
    for (int64_t l = 0; l < count; l++)
        to[l] = from[l];
}

ALWAYS times(int64_t count, const float *restrict from, float factor, float *restrict to)
{
    for (int64_t l = 0; l < count; l++)
        to[l] = from[l] * factor;
}

/* Tiles of `high` rows and `wide` columns, of `rows` and `width`; a row that is wider than a tile is cut. */
typedef struct {
    int64_t rows, width, high, wide, across, all;
} Tiling;

typedef struct {
    int64_t top, left, high, wide;
} Tile;

static Tiling tiling(int64_t rows, int64_t width)
{
    int64_t wide = LESSER(width, TILE), high = TILE / wide, across = (width + wide - 1) / wide;
    return (Tiling){rows, width, high, wide, across, (rows + high - 1) / high * across};
}

static inline Tile tile_of(const Tiling *all, int64_t t)
{
    int64_t top = t / all->across * all->high, left = t % all->across * all->wide;
    return (Tile){top, left, LESSER(all->high, all->rows - top), LESSER(all->wide, all->width - left)};
}

/* The rows at the start of a step: to value go start moved by the rule, to average and square (NULL: nowhere) the
 * moments. rows: [count], or NULL for all; start is as high as the table, what is written has a row for each of rows. */
void begin(const Table *table, const int64_t *rows, int64_t count, const float *start, int64_t step, int64_t terms,
           const float *rule, float sign, float *average, float *square, float *value, int threads)
{
    int64_t width = table->width;
    Tiling tiles = tiling(count, width);
#pragma omp parallel for num_threads(threads) schedule(static)
    for (int64_t t = 0; t < tiles.all; t++) {
        const Tile tile = tile_of(&tiles, t);
        const int64_t top = tile.top, left = tile.left, high = tile.high, wide = tile.wide;
        float m[TILE], v[TILE], x[TILE];
        for (int64_t i = 0; i < high; i++) {
            int64_t row = rows ? rows[top + i] : top + i, from = row * width + left, rest = step - table->last[row];
            if (rows && top + i + AHEAD < count)
                for (int64_t l = 0, next = rows[top + i + AHEAD] * width + left; l < wide; l += LINE) {
                    __builtin_prefetch(table->average + next + l, 1);
                    __builtin_prefetch(table->square + next + l, 1);
                    __builtin_prefetch(start + next + l, 1);
                }
            times(wide, table->average + from, table->decay1[LESSER(rest, table->most1)], m + i * wide);
            times(wide, table->square + from, table->decay2[LESSER(rest, table->most2)], v + i * wide);
            copy(wide, start + from, x + i * wide);
        }
        move(table, terms, rule, sign, high * wide, m, v, x);
        for (int64_t i = 0, to = top * width + left; i < high; i++, to += width) {
            copy(wide, x + i * wide, value + to);
            if (average) {
                copy(wide, m + i * wide, average + to);
                copy(wide, v + i * wide, square + to);
            }
        }
    }
}

/* The step of these rows with its gradient: moments and, to limit, value moved by the rule. first, second: the shares
 * of the gradient and of its square in the moments. average, square: what `begin` gave; NULL: what it would give now.
 * All but limit have a row for each of rows. */
void finish(const Table *table, const int64_t *rows, int64_t count, const float *gradient, const float *average,
            const float *square, const float *value, float first, float second, int64_t step, int64_t terms,
            const float *rule, float *limit, int threads)
{
    int64_t width = table->width;
    Tiling tiles = tiling(count, width);
#pragma omp parallel for num_threads(threads) schedule(static)
    for (int64_t t = 0; t < tiles.all; t++) {
        const Tile tile = tile_of(&tiles, t);
        const int64_t top = tile.top, left = tile.left, high = tile.high, wide = tile.wide;
        float m[TILE], v[TILE], x[TILE], slope[TILE];
        for (int64_t i = 0, from = top * width + left; i < high; i++, from += width) {
            int64_t row = rows[top + i], rest = step - table->last[row], at = row * width + left;
            float one = average ? 1 : table->decay1[LESSER(rest, table->most1)];
            float other = average ? 1 : table->decay2[LESSER(rest, table->most2)];
            times(wide, average ? average + from : table->average + at, one, m + i * wide);
            times(wide, average ? square + from : table->square + at, other, v + i * wide);
            copy(wide, value + from, x + i * wide);
            copy(wide, gradient + from, slope + i * wide);
        }
        for (int l = 0; l < high * wide; l++) {
            m[l] = fmaf(slope[l], first, m[l]);
            v[l] = fmaf(second * slope[l], slope[l], v[l]);
        }
        move(table, terms, rule, -1, high * wide, m, v, x);
        for (int64_t i = 0; i < high; i++) {
            int64_t at = rows[top + i] * width + left;
            copy(wide, m + i * wide, table->average + at);
            copy(wide, v + i * wide, table->square + at);
            copy(wide, x + i * wide, limit + at);
        }
    }
    for (int64_t i = 0; i < count; i++)
        table->last[rows[i]] = step;
}

/* Of some columns, at most WIDE: the sum of the entries' rows, divided by `size`. */
ALWAYS sum(int wide, const int64_t *indices, int64_t entries, const float *rows, int64_t width, float size, float *output)
{
    float sums[WIDE];
    for (int l = 0; l < wide; l++)
        sums[l] = 0;
    for (int64_t p = 0; p < entries; p++)
        for (int l = 0; l < wide; l++)
            sums[l] += rows[indices[p] * width + l];
    for (int l = 0; l < wide; l++)
        output[l] = sums[l] / size;
}

/* Bag b has the entries offsets[b] up to the next one's. Write to output, [bags, width], the sum or mean of the rows
 * that its indices name, and to scale, [bags], what an entry counts in its bag. Return 0; -1 if offsets or indices are
 * wrong. */
int64_t bags(const int64_t *indices, int64_t entries, const int64_t *offsets, int64_t bags, const float *rows,
             int64_t height, int64_t width, int mean, float *scale, float *output, int threads)
{
    for (int64_t b = 0; b < bags; b++) {
        int64_t end = b + 1 < bags ? offsets[b + 1] : entries;
        if ((b == 0 && offsets[b]) || offsets[b] > end || end > entries)
            return -1;
        scale[b] = mean && end > offsets[b] ? 1 / (float)(end - offsets[b]) : 1;
    }
    for (int64_t p = 0; p < entries; p++)
        if (indices[p] < 0 || indices[p] >= height)
            return -1;
#pragma omp parallel for num_threads(threads) schedule(static)
    for (int64_t b = 0; b < bags; b++) {
        int64_t begin = offsets[b], count = (b + 1 < bags ? offsets[b + 1] : entries) - begin, l = 0;
        float size = mean && count ? count : 1, *to = output + b * width;
        for (; l + WIDE <= width; l += WIDE)
            sum(WIDE, indices + begin, count, rows + l, width, size, to + l);
        if (l < width)
            sum(width - l, indices + begin, count, rows + l, width, size, to + l);
    }
    return 0;
}

/* The gradient of these sums or means, [height, width], where slopes, [bags, width], is that of an entry in each bag:
 * a row's entries are added in their order, by one thread. owner, [entries], and ends, [height], are of any content. */
void spread(const int64_t *indices, int64_t entries, const int64_t *offsets, int64_t bags, const float *slopes,
            int64_t height, int64_t width, int64_t *owner, int64_t *ends, float *output, int threads)
{
    for (int64_t row = 0; row < height; row++)
        ends[row] = 0;
    for (int64_t p = 0; p < entries; p++)
        ends[indices[p]]++;
    for (int64_t row = 0, before = 0, count; row < height; row++, before += count) {
        count = ends[row];
        ends[row] = before; /* where its entries begin; each that is put there moves it on */
    }
    for (int64_t b = 0; b < bags; b++)
        for (int64_t p = offsets[b], end = b + 1 < bags ? offsets[b + 1] : entries; p < end; p++)
            owner[ends[indices[p]]++] = b;
#pragma omp parallel for num_threads(threads) schedule(dynamic, 64)
    for (int64_t row = 0; row < height; row++) {
        int64_t begin = row ? ends[row - 1] : 0, count = ends[row] - begin, l = 0;
        float *to = output + row * width;
        for (; l + WIDE <= width; l += WIDE)
            sum(WIDE, owner + begin, count, slopes + l, width, 1, to + l);
        if (l < width)
            sum(width - l, owner + begin, count, slopes + l, width, 1, to + l);
    }
}
