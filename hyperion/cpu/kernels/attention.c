/* Attention in tiles: softmax(scale q k^T + what is added, where it is seen) v and its pullback, without a table of scores.
   Compiled after workers.h and maths.h with -DREAL=float or double; and with -DMODIFIED after two functions that are generated: `modified`,
   what becomes of a score before anything is added, and `modified_slope`, its derivative.

   Rows are the queries of all heads that share a head of keys, one head after the other. A panel is up to PANEL rows, a block KEYS keys.
   Tables of a block are stored with the rows side by side, table[key][row], so that what is done to each row (its largest score, its sum)
   is done to vectors of rows, never across one; and all products have one form, sums of numbers times vectors (`tile`). Of keys and values
   nothing is packed or copied. Blocks in which nothing is seen are skipped, and those that are seen whole are not masked.

   Forward keeps for each row the largest score so far and the sum of exp(score - largest); when a block has a larger one, what was summed is
   scaled down (online softmax). Backward forms exp(score - lse) again. Each chunk of backward has some panels of one head of keys and sums
   of its own for the cotangents of keys and values, which are then added in order: no result depends on the number of threads.

   Source: Dao et al. 2022, arXiv:2205.14135, algorithms 1 and 4; Milakov and Gimelshein 2018, arXiv:1805.02867 (online softmax);
   Goto and van de Geijn 2008, ACM TOMS 34(3), 12 (products from registers). */
#include <stdlib.h>
#include <string.h>

#if defined(__AVX512F__)
enum { WIDTH = 64, HIGH = 8 };                           /* bytes of a vector; rows of a tile: HIGH * BROAD sums stay in registers */
#elif defined(__AVX__)
enum { WIDTH = 32, HIGH = 4 };
#else
enum { WIDTH = 16, HIGH = 6 };
#endif
enum { LANES = WIDTH / sizeof(real), BROAD = 3, PANEL = LANES * BROAD, KEYS = 64 };
typedef real vec __attribute__((vector_size(WIDTH), aligned(sizeof(real)), may_alias));
typedef whole wholes __attribute__((vector_size(WIDTH), aligned(sizeof(real)), may_alias));

typedef struct { const real *at; int64_t batch, head, row, column; } View;         /* strides in numbers; column: of the last axis */

typedef struct {
  int64_t batch, heads, kept_heads, queries, keys, width, depth;
  double scale;
  View q, k, v, bias;                                    /* bias.at: null if none */
  const real *slopes;                                    /* of ALiBi, (heads), or null */
  int64_t offset;                                        /* where query 0 stands among the keys, for ALiBi */
  const int32_t *first, *last;                           /* (batch or 1, heads or 1, queries): keys that are seen, or null */
  const uint32_t *bits;                                  /* (batch or 1, heads or 1, queries, words), or null */
  int64_t mask_batch, mask_head, words;                  /* strides in queries, 0 along an axis of length 1 */
  uint64_t random[2], limit;                             /* Philox's key; a score is kept if its 32 bits are not below the limit */
  int64_t random_rows;                                   /* rows of the batch after which the words begin again; 0: no dropout */
  double kept;                                           /* factor of what is kept */
  real *out, *lse;                                       /* (batch, heads, queries, depth), (batch, heads, queries) */
  View g, y;                                             /* cotangent of the output, and the output */
  const real *g_lse;                                     /* cotangent of lse, or null */
  real *to_q, *to_k, *to_v;                              /* contiguous */
  real *sums;                                            /* (chunks, keys, padded width + padded depth) */
  int64_t *ranges;                                       /* (chunks, 2): the keys that the rows of a chunk see, no others have sums */
  int64_t parts;                                         /* chunks of a head of keys */
  const int32_t *pages;                                  /* (batch, most_pages), or null: keys lie in pages, a multiple of KEYS in each */
  int64_t most_pages, page;                              /* then k and v are (pages, heads of keys, page, width or depth) */
  atomic_int *failed;
} Call;

struct Job {
  void (*work)(const Call *, long chunk);
  const Call *call;
};

static void run_chunk(const Job *job, long chunk) { job->work(job->call, chunk); }

INLINE long least(long a, long b) { return a < b ? a : b; }
INLINE long most(long a, long b) { return a > b ? a : b; }
INLINE long padded(long n) { return (n + LANES - 1) / LANES * LANES; }
INLINE vec *vectors(real *x) { return (vec *)x; }
INLINE vec all(real x) { return x - (vec){0}; }
INLINE vec pick(wholes yes, vec a, vec b) { return (vec)((yes & (wholes)a) | (~yes & (wholes)b)); }
INLINE vec larger(vec a, vec b) { return pick(a > b, a, b); }

/* exp of numbers that are not above 0 but for rounding: 0 below LOWEST, where exp_of would come near denormals. */
INLINE vec fall(vec x) {
  const union { real value; whole bits; } zero = {(real)ROUNDER};
  const vec turned = x * (real)1.4426950408889634 + (real)ROUNDER, n = turned - (real)ROUNDER;
  const vec r = (x - n * (real)LOG2_HIGH) - n * (real)LOG2_LOW, rest = r + r * r * EXP_REST(r);
  const vec scale = (vec)(((wholes)turned - zero.bits + BIAS) << BITS);
  return (vec)((wholes)(scale + scale * rest) & ~(wholes)(x < all(LOWEST)));
}

/* c[r][..] (+)= sum over i of a[r * down + i * along] * b[i * wide + ..], for `high` r and `broad` vectors of numbers. What c has is added last:
   a long sum is one of short ones, and its rounding error that of the short ones. */
INLINE void tile(int high, int broad, long n, const real *a, long down, long along, const real *b, long wide, real *c, long under, int add) {
  vec sum[HIGH][BROAD];
#pragma GCC unroll 8
  for (int r = 0; r < high; r++)
#pragma GCC unroll 3
    for (int x = 0; x < broad; x++) sum[r][x] = (vec){0};
  for (long i = 0; i < n; i++) {
    vec row[BROAD];
#pragma GCC unroll 3
    for (int x = 0; x < broad; x++) row[x] = *(const vec *)(b + i * wide + x * LANES);
#pragma GCC unroll 8
    for (int r = 0; r < high; r++) {
      const vec number = all(a[r * down + i * along]);
#pragma GCC unroll 3
      for (int x = 0; x < broad; x++) sum[r][x] += number * row[x];
    }
  }
#pragma GCC unroll 8
  for (int r = 0; r < high; r++)
#pragma GCC unroll 3
    for (int x = 0; x < broad; x++) {
      vec *to = (vec *)(c + r * under + x * LANES);
      if (add) sum[r][x] += *to;
      *to = sum[r][x];
    }
}

INLINE void strip(int broad, long rows, long n, const real *a, long down, long along, const real *b, long wide, real *c, long under, int add) {
  long r = 0;
  for (; r + HIGH <= rows; r += HIGH) tile(HIGH, broad, n, a + r * down, down, along, b, wide, c + r * under, under, add);
  for (; r + HIGH / 2 <= rows; r += HIGH / 2) tile(HIGH / 2, broad, n, a + r * down, down, along, b, wide, c + r * under, under, add);
  for (; r < rows; r++) tile(1, broad, n, a + r * down, down, along, b, wide, c + r * under, under, add);
}

/* The same of any number of rows, over vectors `columns` numbers wide. a's numbers follow each other along i, or (turned) along r. */
#define PRODUCT(name, down, along)                                                                                                    \
  static void name(long rows, long columns, long n, const real *a, long step, const real *b, long wide, real *c, long under, int add) {   \
    while (columns) {                                                                                                                 \
      const int broad = columns % (BROAD * LANES) == 0 || columns > 4 * LANES ? BROAD : columns >= 2 * LANES ? 2 : 1;                  \
      if (broad == BROAD) strip(BROAD, rows, n, a, down, along, b, wide, c, under, add);                                               \
      else if (broad == 2) strip(2, rows, n, a, down, along, b, wide, c, under, add);                                                  \
      else strip(1, rows, n, a, down, along, b, wide, c, under, add);                                                                  \
      columns -= broad * LANES;                                                                                                       \
      b += broad * LANES;                                                                                                             \
      c += broad * LANES;                                                                                                             \
    }                                                                                                                                 \
  }
PRODUCT(product, step, 1)
PRODUCT(product_turned, 1, step)

/* Where the rows of a panel come from. */
typedef struct {
  long batch, kept_head, rows, wide;                     /* rows; and padded, in numbers */
  long head[PANEL], query[PANEL];
  const int32_t *first, *last;                           /* of each row, in the panel's own memory */
  const uint32_t *bits[PANEL];
  int32_t ends[2 * PANEL];
  long low, high;                                        /* keys below low and from high on are seen by no row */
} Panel;

static void place(Panel *p, const Call *c, long batch, long kept_head, long begin) {
  const long group = c->heads / c->kept_heads, end = least(begin + PANEL, group * c->queries);
  p->batch = batch;
  p->kept_head = kept_head;
  p->rows = end - begin;
  p->wide = padded(p->rows);
  p->low = c->first ? c->keys : 0;
  p->high = c->first ? 0 : c->keys;
  for (long r = 0; r < p->rows; r++) {
    const long head = kept_head * group + (begin + r) / c->queries, query = (begin + r) % c->queries;
    const long row = batch * c->mask_batch + head * c->mask_head + query;
    p->head[r] = head;
    p->query[r] = query;
    if (c->bits) p->bits[r] = c->bits + row * c->words;
    if (!c->first) continue;
    p->ends[r] = c->first[row];
    p->ends[PANEL + r] = c->last[row];
    if (c->first[row] >= c->last[row]) continue;
    p->low = least(p->low, c->first[row]);
    p->high = most(p->high, c->last[row]);
  }
}

INLINE int seen(const Call *c, const Panel *p, long r, long key) {
  if (c->first) return p->ends[r] <= key && key < p->ends[PANEL + r];
  return p->bits[r][key >> 5] >> (key & 31) & 1;
}

/* Return 0 if no row of a panel sees any of n keys from `key` on (a multiple of 32), 2 if all see all, 1 otherwise. */
static int kind(const Call *c, const Panel *p, long key, long n) {
  if (!c->first && !c->bits) return 2;
  int some = 0, every = 1;
  for (long r = 0; r < p->rows; r++) {
    if (c->first) {
      const long first = p->ends[r], last = p->ends[PANEL + r];
      some |= first < last && first < key + n && last > key;
      every &= first <= key && last >= key + n;
      continue;
    }
    for (long i = 0; i < n; i += 32) {
      const uint32_t word = p->bits[r][(key + i) >> 5], full = n - i >= 32 ? UINT32_MAX : (UINT32_C(1) << (n - i)) - 1;
      some |= word != 0;
      every &= word == full;
    }
  }
  return some ? 1 + every : 0;
}

#ifdef MODIFIED
/* The modified scores, and (if bends is given) the slopes of the modifier. */
static void modify(const Call *c, const Panel *p, long key, long n, real *restrict table, real *restrict bends) {
  real head[PANEL], query[PANEL];
  const long wide = p->wide;
  for (long r = 0; r < wide; r++) {
    head[r] = r < p->rows ? (real)p->head[r] : 0;
    query[r] = r < p->rows ? (real)(p->query[r] + c->keys - c->queries) : 0;
  }
  for (long j = 0; j < n; j++) {
    const real place = (real)(key + j);
    if (bends)
#pragma omp simd
      for (long r = 0; r < wide; r++) bends[j * wide + r] = modified_slope(table[j * wide + r], head[r], query[r], place);
#pragma omp simd
    for (long r = 0; r < wide; r++) table[j * wide + r] = modified(table[j * wide + r], head[r], query[r], place);
  }
}
#endif

/* Modify scores, table[key][row], add what is added to them, and hide what is not seen. bends: see `modify`; 0 where it is not seen. */
static void adjust(const Call *c, const Panel *p, long key, long n, int what, real *table, real *bends) {
  const long wide = p->wide;
#ifdef MODIFIED
  modify(c, p, key, n, table, bends);
#endif
  for (long r = 0; r < p->rows && c->bias.at; r++) {
    const real *bias = c->bias.at + p->batch * c->bias.batch + p->head[r] * c->bias.head + p->query[r] * c->bias.row;
    for (long j = 0; j < n; j++) table[j * wide + r] += bias[(key + j) * c->bias.column];
  }
  for (long r = 0; r < p->rows && c->slopes; r++) {
    const real slope = c->slopes[p->head[r]];
    for (long j = 0; j < n; j++) table[j * wide + r] -= slope * (real)labs(p->query[r] + c->offset - key - j);
  }
  for (long r = 0; r < p->rows && what == 1; r++)
    for (long j = 0; j < n; j++)
      if (!seen(c, p, r, key + j)) {
        table[j * wide + r] = -(real)INFINITY;
        if (bends) bends[j * wide + r] = 0;
      }
}

/* Philox 4x64 with 10 rounds, as autograd/random/bits.py has it: the words of a block. */
static void philox(uint64_t block, const uint64_t key[2], uint64_t out[4]) {
  uint64_t a = block, b = 0, c = 0, d = 0, first = key[0], second = key[1];
  for (int i = 0; i < 10; i++) {
    const unsigned __int128 one = (unsigned __int128)a * UINT64_C(0xD2E7470EE14C6C93), two = (unsigned __int128)c * UINT64_C(0xCA5A826395121157);
    a = (uint64_t)(two >> 64) ^ b ^ first;
    b = (uint64_t)two;
    c = (uint64_t)(one >> 64) ^ d ^ second;
    d = (uint64_t)one;
    first += UINT64_C(0x9E3779B97F4A7C15);
    second += UINT64_C(0xBB67AE8584CAA73B);
  }
  out[0] = a, out[1] = b, out[2] = c, out[3] = d;
}

/* factors[key][row]: 0, or what is kept's. A block of Philox has the numbers of 8 keys of a row; `key` is a multiple of 8. */
static void draw(const Call *c, const Panel *p, long key, long n, real *factors) {
  const uint64_t each = (uint64_t)(c->keys + 7) / 8;     /* blocks of a row */
  for (long r = 0; r < p->rows; r++) {
    const uint64_t row = (uint64_t)((p->batch % c->random_rows * c->heads + p->head[r]) * c->queries + p->query[r]);
    uint64_t words[4];
    for (long j = 0; j < n; j++) {
      if (!(j & 7)) philox(row * each + (uint64_t)(key + j) / 8, c->random, words);
      factors[j * p->wide + r] = (uint32_t)(words[j >> 1 & 3] >> 32 * (j & 1)) >= c->limit ? (real)c->kept : 0;
    }
  }
}

/* turned[i][row] = factor * x's row: and, if straight is given, straight[row][i] too, padded with zeros. */
static void gather(const Panel *p, const View *x, long n, real factor, real *restrict turned, real *restrict straight) {
  const long pad = padded(n);
  memset(turned, 0, (size_t)(n * p->wide) * sizeof(real));
  if (straight) memset(straight, 0, (size_t)(p->wide * pad) * sizeof(real));
  for (long r = 0; r < p->rows; r++) {
    const real *row = x->at + p->batch * x->batch + p->head[r] * x->head + p->query[r] * x->row;
    for (long i = 0; i < n; i++) turned[i * p->wide + r] = factor * row[i];
    if (straight)
      for (long i = 0; i < n; i++) straight[r * pad + i] = factor * row[i];
  }
}

static real *scratch(const Call *c, long numbers) {
  real *made = aligned_alloc(64, ((size_t)numbers * sizeof(real) + 63) / 64 * 64);
  if (!made) atomic_store(c->failed, 1);
  return made;
}

static long panels(const Call *c) { return (c->heads / c->kept_heads * c->queries + PANEL - 1) / PANEL; }

/* One block of the online softmax: scores become exp(score - largest so far), and sums and outputs so far follow the largest. */
static void soften(long broad, long n, real *table, real *top, real *total, long depth, real *sums) {
  const long wide = broad * LANES;
  for (long x = 0; x < wide; x += LANES) {
    const vec before = *(vec *)(top + x);
    vec now = before, sum = {0};
    for (long j = 0; j < n; j++) now = larger(*(vec *)(table + j * wide + x), now);
    const vec base = pick(now == all(-(real)INFINITY), (vec){0}, now);          /* nothing seen so far: exp(-inf - 0) = 0 */
    for (long j = 0; j < n; j++) {
      const vec e = fall(*(vec *)(table + j * wide + x) - base);
      *(vec *)(table + j * wide + x) = e;
      sum += e;
    }
    *(vec *)(top + x) = now;
    const vec shrink = fall(before - base), old = *(vec *)(total + x);
    *(vec *)(total + x) = old * shrink + sum;
    const wholes moved = (wholes)(before != now);
    whole any = 0;
    for (int i = 0; i < LANES; i++) any |= moved[i];
    for (long i = 0; any && i < depth; i++) *(vec *)(sums + i * wide + x) *= shrink;
  }
}

/* Where the keys (or values) from a key on lie. */
INLINE const real *block_at(const Call *c, const View *x, const Panel *p, long key) {
  const long first = c->pages ? c->pages[p->batch * c->most_pages + key / c->page] : p->batch;
  return x->at + first * x->batch + p->kept_head * x->head + (c->pages ? key % c->page : key) * x->row;
}

static void forward_chunk(const Call *c, long chunk) {
  const long each = panels(c), head = chunk / each;
  Panel p;
  place(&p, c, head / c->kept_heads, head % c->kept_heads, chunk % each * PANEL);
  const long wide = p.wide;
  real *memory = scratch(c, wide * (c->width + c->depth + 2 * KEYS + 2));
  if (!memory) return;
  real *q = memory, *sums = q + c->width * wide, *table = sums + c->depth * wide, *factors = table + KEYS * wide;
  real *top = factors + KEYS * wide, *total = top + wide;
  gather(&p, &c->q, c->width, (real)c->scale, q, 0);
  memset(sums, 0, (size_t)(c->depth * wide) * sizeof(real));
  for (long r = 0; r < wide; r++) top[r] = -(real)INFINITY, total[r] = 0;
  for (long key = p.low / KEYS * KEYS; key < p.high; key += KEYS) {
    const long n = least(KEYS, c->keys - key);
    const int what = kind(c, &p, key, n);
    if (!what) continue;
    product(n, wide, c->width, block_at(c, &c->k, &p, key), c->k.row, q, wide, table, wide, 0);
    adjust(c, &p, key, n, what, table, 0);
    soften(wide / LANES, n, table, top, total, c->depth, sums);
    if (c->random_rows) {
      draw(c, &p, key, n, factors);
      for (long i = 0; i < n * wide; i += LANES) *(vec *)(table + i) *= *(vec *)(factors + i);
    }
    product_turned(c->depth, wide, n, block_at(c, &c->v, &p, key), c->v.row, table, wide, sums, wide, 1);
  }
  for (long r = 0; r < p.rows; r++) {
    const long row = (p.batch * c->heads + p.head[r]) * c->queries + p.query[r];
    const real share = total[r] == 0 ? 0 : 1 / total[r];
    for (long i = 0; i < c->depth; i++) c->out[row * c->depth + i] = share == 0 && total[r] == 0 ? 0 : sums[i * wide + r] * share;
    c->lse[row] = total[r] == 0 ? -(real)INFINITY : top[r] + (real)log((double)total[r]);
  }
  free(memory);
}

/* What a chunk of backward has in its own memory: of the panel, turned and straight, and two tables. */
typedef struct { real *q, *g, *q_rows, *g_rows, *pulled, *scores, *slopes, *factors, *bends, *base, *shift; } Desk;

static void prepare(const Call *c, const Panel *p, const Desk *d) {
  gather(p, &c->q, c->width, (real)c->scale, d->q, d->q_rows);
  gather(p, &c->g, c->depth, 1, d->g, d->g_rows);
  memset(d->pulled, 0, (size_t)(c->width * p->wide) * sizeof(real));
  for (long r = 0; r < p->wide; r++) d->base[r] = (real)INFINITY, d->shift[r] = 0;        /* rows beyond the last: exp(-inf) = 0 */
  for (long r = 0; r < p->rows; r++) {
    const long row = (p->batch * c->heads + p->head[r]) * c->queries + p->query[r];
    const real *y = c->y.at + p->batch * c->y.batch + p->head[r] * c->y.head + p->query[r] * c->y.row;
    const real *g = c->g.at + p->batch * c->g.batch + p->head[r] * c->g.head + p->query[r] * c->g.row;
    real along = c->g_lse ? -c->g_lse[row] : 0;
#pragma omp simd reduction(+ : along)
    for (long i = 0; i < c->depth; i++) along += g[i] * y[i];
    d->shift[r] = along;
    d->base[r] = c->lse[row] == -(real)INFINITY ? 0 : c->lse[row];
  }
}

/* scores -> probabilities (times the factors of dropout), slopes -> cotangents of the scores. */
static void steepen(const Call *c, const Panel *p, const Desk *d, long n) {
  for (long j = 0; j < n; j++)
    for (long x = 0; x < p->wide; x += LANES) {
      vec *score = (vec *)(d->scores + j * p->wide + x), *slope = (vec *)(d->slopes + j * p->wide + x);
      const vec e = fall(*score - *(vec *)(d->base + x)), shift = *(vec *)(d->shift + x);
      const vec factor = c->random_rows ? *(vec *)(d->factors + j * p->wide + x) : all(1);
      *score = e * factor;
      *slope = e * (*slope * factor - shift);
#ifdef MODIFIED
      *slope *= *(vec *)(d->bends + j * p->wide + x);
#endif
    }
}

static void pull_panel(const Call *c, const Panel *p, const Desk *d, real *to_k, real *to_v) {
  const long wide = p->wide, pad = padded(c->width), deep = padded(c->depth);
  const real *k = c->k.at + p->batch * c->k.batch + p->kept_head * c->k.head;
  const real *v = c->v.at + p->batch * c->v.batch + p->kept_head * c->v.head;
  prepare(c, p, d);
  for (long key = p->low / KEYS * KEYS; key < p->high; key += KEYS) {
    const long n = least(KEYS, c->keys - key);
    const int what = kind(c, p, key, n);
    if (!what) continue;
    product(n, wide, c->width, k + key * c->k.row, c->k.row, d->q, wide, d->scores, wide, 0);
    adjust(c, p, key, n, what, d->scores, d->bends);
    product(n, wide, c->depth, v + key * c->v.row, c->v.row, d->g, wide, d->slopes, wide, 0);
    if (c->random_rows) draw(c, p, key, n, d->factors);
    steepen(c, p, d, n);
    product(n, deep, p->rows, d->scores, wide, d->g_rows, deep, to_v + key * deep, deep, 1);
    product(n, pad, p->rows, d->slopes, wide, d->q_rows, pad, to_k + key * pad, pad, 1);
    product_turned(c->width, wide, n, k + key * c->k.row, c->k.row, d->slopes, wide, d->pulled, wide, 1);
  }
  for (long r = 0; r < p->rows; r++) {
    real *to = c->to_q + ((p->batch * c->heads + p->head[r]) * c->queries + p->query[r]) * c->width;
    for (long i = 0; i < c->width; i++) to[i] = (real)c->scale * d->pulled[i * wide + r];
  }
}

static void backward_chunk(const Call *c, long chunk) {
  const long head = chunk / c->parts, part = chunk % c->parts, all_panels = panels(c);
  const long pad = padded(c->width), deep = padded(c->depth);
  real *memory = scratch(c, PANEL * (2 * c->width + c->depth + pad + deep + 4 * KEYS + 2));
  if (!memory) return;
  real *next = memory;
  Desk d;
  real **pieces[] = {&d.q, &d.g, &d.q_rows, &d.g_rows, &d.pulled, &d.scores, &d.slopes, &d.factors, &d.bends, &d.base, &d.shift};
  const long sizes[] = {c->width, c->depth, pad, deep, c->width, KEYS, KEYS, KEYS, KEYS, 1, 1};
  for (int i = 0; i < 11; next += PANEL * sizes[i++]) *pieces[i] = next;
  real *to_k = c->sums + chunk * c->keys * (pad + deep), *to_v = to_k + c->keys * pad;
  const long first = all_panels * part / c->parts, last = all_panels * (part + 1) / c->parts;
  long low = c->keys, high = 0;
  Panel p;
  for (long i = first; i < last; i++) {
    place(&p, c, head / c->kept_heads, head % c->kept_heads, i * PANEL);
    low = least(low, p.low / KEYS * KEYS);
    high = most(high, least(c->keys, (p.high + KEYS - 1) / KEYS * KEYS));
  }
  if (high > low) {
    memset(to_k + low * pad, 0, (size_t)((high - low) * pad) * sizeof(real));
    memset(to_v + low * deep, 0, (size_t)((high - low) * deep) * sizeof(real));
  }
  c->ranges[2 * chunk] = low;
  c->ranges[2 * chunk + 1] = high;
  for (long i = first; i < last; i++) {
    place(&p, c, head / c->kept_heads, head % c->kept_heads, i * PANEL);
    pull_panel(c, &p, &d, to_k, to_v);
  }
  free(memory);
}

/* Add up what the parts of a head of keys found: for some of its keys, in order. */
static void collect_chunk(const Call *c, long chunk) {
  const long blocks = (c->keys + KEYS - 1) / KEYS, head = chunk / blocks, first = chunk % blocks * KEYS, last = least(first + KEYS, c->keys);
  const long pad = padded(c->width), deep = padded(c->depth);
  const real *sums = c->sums + head * c->parts * c->keys * (pad + deep);
  for (long j = first; j < last; j++) {
    real *to_k = c->to_k + (head * c->keys + j) * c->width, *to_v = c->to_v + (head * c->keys + j) * c->depth;
    memset(to_k, 0, (size_t)c->width * sizeof(real));
    memset(to_v, 0, (size_t)c->depth * sizeof(real));
    for (long part = 0; part < c->parts; part++) {
      const int64_t *range = c->ranges + 2 * (head * c->parts + part);
      if (j < range[0] || j >= range[1]) continue;
      const real *k = sums + part * c->keys * (pad + deep) + j * pad, *v = sums + part * c->keys * (pad + deep) + c->keys * pad + j * deep;
      for (long i = 0; i < c->width; i++) to_k[i] += k[i];
      for (long i = 0; i < c->depth; i++) to_v[i] += v[i];
    }
  }
}

static int run(Call *c, void (*work)(const Call *, long), long chunks, long threads) {
  atomic_int failed = 0;
  c->failed = &failed;
  const Job job = {work, c};
  spread(&job, chunks, threads);
  return atomic_load(&failed);
}

/* Share out the rows of each head of keys, so that there are `chunks` chunks or more; returns how many numbers c->sums must hold. */
int64_t attention_sums(Call *c, int64_t chunks) {
  const long heads = c->batch * c->kept_heads;
  c->parts = most(1, least(panels(c), (chunks + heads - 1) / most(1, heads)));
  return heads * c->parts * c->keys * (padded(c->width) + padded(c->depth));
}

/* Return whether there was too little memory. */
int attention_forward(Call *c, long threads) { return run(c, forward_chunk, c->batch * c->kept_heads * panels(c), threads); }

int attention_backward(Call *c, long threads) {
  const int failed = run(c, backward_chunk, c->batch * c->kept_heads * c->parts, threads);
  return failed || run(c, collect_chunk, c->batch * c->kept_heads * ((c->keys + KEYS - 1) / KEYS), threads);
}
