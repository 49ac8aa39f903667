/* Networks of single points, channels before space: y = act(W y + bias + gate x + added + waves basis), layer after layer, forward and
   backward, while a tile of points stays in the first caches; and transforms of rows to and from a few waves.
   Compiled after workers.h and maths.h with -DREAL=float or double.

   x, out, added (batch, channels, rows, columns); weight (outputs, inputs); waves (batch, rows, outputs, frequencies); basis (frequencies,
   columns). Products are of small matrices in registers: VECTORS vectors of LANES columns in 4 or 8 rows at once. A tile is copied to
   rows of `width` columns one behind the other: rows of a power of two of numbers would share a few lines of the first cache.

   The backward pass computes the tile again rather than read what the forward pass would have to write. Chunks of tiles depend on the sizes
   only and each sums its gradients of weights apart, so no result depends on the number of threads. */
#include <stdlib.h>
#include <string.h>

#if defined(__AVX512F__)
enum { BYTES = 64, VECTORS = 4, TALL = 8 };
#elif defined(__AVX__)
enum { BYTES = 32, VECTORS = 2, TALL = 4 };
#else
enum { BYTES = 16, VECTORS = 4, TALL = 4 };
#endif
enum { LANES = BYTES / sizeof(real), MOST_WIDTH = 6 * 16, MOST_CHUNKS = 32, MOST_LAYERS = 8 };
typedef real vector __attribute__((vector_size(BYTES), aligned(sizeof(real)), may_alias));

static long padded(long n) { return (n + LANES - 1) / LANES * LANES; }

/* Products. c (+)= a b: a (height, depth) with strides, b (depth, V vectors), c (height, V vectors). */
INLINE void block(const int R, const int V, long depth, const real *a, long row, long step, const real *b, long b_row, real *c, long c_row,
                  int add) {
  vector sum[TALL][VECTORS];
#pragma GCC unroll 8
  for (int r = 0; r < R; r++) {
#pragma GCC unroll 4
    for (int v = 0; v < V; v++) sum[r][v] = add ? *(const vector *)(c + r * c_row + v * LANES) : (vector){0};
  }
  for (long k = 0; k < depth; k++) {
    vector y[VECTORS];
#pragma GCC unroll 4
    for (int v = 0; v < V; v++) y[v] = *(const vector *)(b + k * b_row + v * LANES);
#pragma GCC unroll 8
    for (int r = 0; r < R; r++) {
      const real factor = a[r * row + k * step];
#pragma GCC unroll 4
      for (int v = 0; v < V; v++) sum[r][v] += factor * y[v];
    }
  }
#pragma GCC unroll 8
  for (int r = 0; r < R; r++) {
#pragma GCC unroll 4
    for (int v = 0; v < V; v++) *(vector *)(c + r * c_row + v * LANES) = sum[r][v];
  }
}

/* The same for any height, in rows of 8 (or 6, 4, 2, 1) at once: as many sums as registers can hold. */
INLINE void column(const int V, long height, long depth, const real *a, long row, long step, const real *b, long b_row, real *c, long c_row,
                   int add) {
  long i = 0;
#define ROWS_AT_ONCE(R)                                                                                                                  \
  for (; i + R <= height; i += R) block(R, V, depth, a + i * row, row, step, b, b_row, c + i * c_row, c_row, add)
#if defined(__AVX512F__)
  if (V == 4) ROWS_AT_ONCE(6);
  else ROWS_AT_ONCE(8);
#endif
  ROWS_AT_ONCE(4);
  ROWS_AT_ONCE(2);
  ROWS_AT_ONCE(1);
}

static void column_1(long h, long d, const real *a, long r, long s, const real *b, long br, real *c, long cr, int add) {
  if (add) column(1, h, d, a, r, s, b, br, c, cr, 1);
  else column(1, h, d, a, r, s, b, br, c, cr, 0);
}
static void column_2(long h, long d, const real *a, long r, long s, const real *b, long br, real *c, long cr, int add) {
  if (add) column(2, h, d, a, r, s, b, br, c, cr, 1);
  else column(2, h, d, a, r, s, b, br, c, cr, 0);
}
#if defined(__AVX512F__) || !defined(__AVX__)
static void column_3(long h, long d, const real *a, long r, long s, const real *b, long br, real *c, long cr, int add) {
  if (add) column(3, h, d, a, r, s, b, br, c, cr, 1);
  else column(3, h, d, a, r, s, b, br, c, cr, 0);
}
static void column_4(long h, long d, const real *a, long r, long s, const real *b, long br, real *c, long cr, int add) {
  if (add) column(4, h, d, a, r, s, b, br, c, cr, 1);
  else column(4, h, d, a, r, s, b, br, c, cr, 0);
}
#else
#define column_3 column_2
#define column_4 column_2
#endif

/* c (+)= a b for any number of columns, of which whole vectors are read from b and written to c. */
static void product(long height, long columns, long depth, const real *a, long row, long step, const real *b, long b_row, real *c,
                    long c_row, int add) {
  const long vectors = padded(columns) / LANES, blocks = (vectors + VECTORS - 1) / VECTORS;
  long from = 0;
  for (long i = 0; i < blocks; i++) {
    const long count = (vectors - from + blocks - i - 1) / (blocks - i);
    const real *right = b + from * LANES;
    real *to = c + from * LANES;
    if (count == 4) column_4(height, depth, a, row, step, right, b_row, to, c_row, add);
    else if (count == 3) column_3(height, depth, a, row, step, right, b_row, to, c_row, add);
    else if (count == 2) column_2(height, depth, a, row, step, right, b_row, to, c_row, add);
    else column_1(height, depth, a, row, step, right, b_row, to, c_row, add);
    from += count;
  }
}

/* to (columns, stride) = the transpose of from (rows, columns); rows up to a whole vector are filled with zeros. */
#if defined(__AVX512F__) && !defined(WIDE) && defined(__has_builtin)
#if __has_builtin(__builtin_shufflevector)
#define SHUFFLED
#define LOW(a, b) __builtin_shufflevector(a, b, 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23)
#define HIGH(a, b) __builtin_shufflevector(a, b, 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31)
#endif
#endif
static void transpose(long rows, long columns, const real *from, long from_row, real *to, long to_row) {
#ifdef SHUFFLED
  for (long j = 0; j < columns; j += LANES) {
    for (long i = 0; i < rows; i += LANES) {
      vector a[LANES], b[LANES];
#pragma GCC unroll 16
      for (int r = 0; r < LANES; r++) a[r] = i + r < rows ? *(const vector *)(from + (i + r) * from_row + j) : (vector){0};
#pragma GCC unroll 2
      for (int pass = 0; pass < 2; pass++) {           /* four times, rows r and r + 8 are interleaved: log2(16) perfect shuffles */
#pragma GCC unroll 8
        for (int r = 0; r < LANES / 2; r++) b[2 * r] = LOW(a[r], a[r + 8]), b[2 * r + 1] = HIGH(a[r], a[r + 8]);
#pragma GCC unroll 8
        for (int r = 0; r < LANES / 2; r++) a[2 * r] = LOW(b[r], b[r + 8]), a[2 * r + 1] = HIGH(b[r], b[r + 8]);
      }
#pragma GCC unroll 16
      for (int r = 0; r < LANES; r++) *(vector *)(to + (j + r) * to_row + i) = a[r];
    }
  }
#else
  for (long i = 0; i < padded(rows); i++) {
    for (long j = 0; j < columns; j++) to[j * to_row + i] = i < rows ? from[i * from_row + j] : 0;
  }
#endif
}

/* Activations of a tile: value, and value and slope. */
enum { NONE, GELU, SILU, TANH, RELU };

#define EACH(expression)                                                                                                                 \
  {                                                                                                                                      \
    _Pragma("omp simd") for (long i = 0; i < n; i++) {                                                                                   \
      const real x = from[i];                                                                                                            \
      to[i] = expression;                                                                                                                \
    }                                                                                                                                    \
    break;                                                                                                                               \
  }
static void activate(long kind, long n, const real *restrict from, real *restrict to) {
  switch (kind) {
    case GELU: EACH(x * phi_of(x))
    case SILU: EACH(x * sigmoid_of(x))
    case TANH: EACH(tanh_of(x))
    case RELU: EACH(x < 0 ? 0 : x)
    default: memcpy(to, from, n * sizeof(real));
  }
}

#define EACH_WITH_SLOPE(preparation, expression, derivative)                                                                             \
  {                                                                                                                                      \
    _Pragma("omp simd") for (long i = 0; i < n; i++) {                                                                                   \
      const real x = value[i];                                                                                                           \
      preparation;                                                                                                                       \
      value[i] = expression;                                                                                                             \
      slope[i] = derivative;                                                                                                             \
    }                                                                                                                                    \
    break;                                                                                                                               \
  }
static void activate_with_slope(long kind, long n, real *restrict value, real *restrict slope) {
  switch (kind) {
    case GELU:
      EACH_WITH_SLOPE(const real a = within_reach(x); const real bell = bell_of(a); const real below = tail_of(a) * bell;
                      const real phi = x < 0 ? below : 1 - below, x * phi, phi + x * bell * (real)0.39894228040143268)
    case SILU: EACH_WITH_SLOPE(const real s = sigmoid_of(x), x * s, s + x * sigmoid_slope_of(x))
    case TANH: EACH_WITH_SLOPE(const real t = tanh_of(x), t, 1 - t * t)
    case RELU: EACH_WITH_SLOPE(, x < 0 ? 0 : x, x > 0 ? 1 : 0)
  }
}

/* What Python hands over: tables of addresses and sizes, all of 8 bytes. */
typedef struct {
  int64_t inputs, outputs, kind;
  const real *weight, *bias, *gate, *added, *waves;
  real *of_added, *of_waves;
  int64_t sums;                                        /* where the cotangents of weight, bias and gate begin in those of a chunk; -1 */
} Layer;

struct Job {
  int64_t task, batch, channels, rows, columns, frequencies, count, width, tiles, units, step, sums_size, failed;
  const real *x, *g, *basis, *turned;                  /* turned (columns, padded frequencies): the transpose of the basis */
  real *out, *sums;
  const Layer *layers;
};
enum { FORWARD, BACKWARD, TO_WAVES, FROM_WAVES };

/* Scratch of a thread, kept for its next chunk. */
static pthread_key_t scratch_key;
static pthread_once_t scratch_once = PTHREAD_ONCE_INIT;
static void make_key(void) { pthread_key_create(&scratch_key, free); }
static real *scratch(const Job *job, long size) {
  typedef struct { long size; char fill[120]; } Head;
  pthread_once(&scratch_once, make_key);
  Head *head = pthread_getspecific(scratch_key);
  if (!head || head->size < size) {
    free(head);
    if (posix_memalign((void **)&head, 128, sizeof(Head) + size * sizeof(real))) head = 0;
    pthread_setspecific(scratch_key, head);
    if (!head) {
      ((Job *)job)->failed = 1;
      return 0;
    }
    head->size = size;
  }
  return (real *)(head + 1);
}

typedef struct { long batch, row, first, size, wide; } Tile;      /* wide: its columns, in whole vectors */
static Tile tile_of(const Job *job, long index) {
  const long row = index / job->tiles, first = index % job->tiles * job->width, left = job->columns - first;
  const long size = left < job->width ? left : job->width;
  return (Tile){row / job->rows, row % job->rows, first, size, padded(size)};
}

/* Where the row of a tile lies in an array (batch, channels, rows, columns), and from one channel to the next. */
static long place(const Job *job, Tile t, long channels) { return ((t.batch * channels * job->rows) + t.row) * job->columns + t.first; }

static void load_tile(const Job *job, Tile t, long channels, const real *from, real *restrict to) {
  const long w = t.wide, stride = job->rows * job->columns;
  from += place(job, t, channels);
  for (long c = 0; c < channels; c++) {
    memcpy(to + c * w, from + c * stride, t.size * sizeof(real));
    if (t.size < w) memset(to + c * w + t.size, 0, (w - t.size) * sizeof(real));
  }
}

static void store_tile(const Job *job, Tile t, long channels, const real *restrict from, real *to) {
  const long w = t.wide, stride = job->rows * job->columns;
  to += place(job, t, channels);
  for (long c = 0; c < channels; c++) memcpy(to + c * stride, from + c * w, t.size * sizeof(real));
}

/* z = weight y + bias + gate x + added + waves basis. */
static void affine(const Job *job, const Layer *layer, Tile t, const real *x, const real *y, const real *basis, real *z) {
  const long w = t.wide, stride = job->rows * job->columns;
  const real *added = layer->added ? layer->added + place(job, t, layer->outputs) : 0;
  const int starts = layer->bias || layer->gate || added;
  for (long o = 0; starts && o < layer->outputs; o++) {
    const real bias = layer->bias ? layer->bias[o] : 0, gate = layer->gate ? layer->gate[o] : 0;
    real *restrict row = z + o * w;
    if (layer->gate) {
#pragma omp simd
      for (long j = 0; j < w; j++) row[j] = bias + gate * x[o * w + j];
    } else {
#pragma omp simd
      for (long j = 0; j < w; j++) row[j] = bias;
    }
    if (added) {
#pragma omp simd
      for (long j = 0; j < t.size; j++) row[j] += added[o * stride + j];
    }
  }
  product(layer->outputs, t.size, layer->inputs, layer->weight, layer->inputs, 1, y, w, z, w, starts);
  if (layer->waves) {
    const long f = job->frequencies;
    const real *waves = layer->waves + (t.batch * job->rows + t.row) * layer->outputs * f;
    product(layer->outputs, t.size, f, waves, f, 1, basis, w, z, w, 1);
  }
}

static void load_basis(const Job *job, Tile t, real *restrict to) {
  for (long k = 0; k < job->frequencies; k++) {
    memcpy(to + k * t.wide, job->basis + k * job->columns + t.first, t.size * sizeof(real));
    if (t.size < t.wide) memset(to + k * t.wide + t.size, 0, (t.wide - t.size) * sizeof(real));
  }
}

static long widest(const Job *job) {
  long most = job->channels;
  for (long l = 0; l < job->count; l++) most = job->layers[l].outputs > most ? job->layers[l].outputs : most;
  return most;
}

static void forward_tiles(const Job *job, long first, long last) {
  const long w = job->width, most = widest(job) * w;
  real *x = scratch(job, (job->channels + job->frequencies) * w + 3 * most), *basis = x + job->channels * w,
       *hold = basis + job->frequencies * w;
  if (!x) return;
  for (long i = first; i < last; i++) {
    const Tile t = tile_of(job, i);
    load_tile(job, t, job->channels, job->x, x);
    if (job->frequencies && (i == first || job->tiles > 1)) load_basis(job, t, basis);
    const real *y = x;
    for (long l = 0; l < job->count; l++) {
      const Layer *layer = job->layers + l;
      real *z = hold, *next = hold + (1 + l % 2) * most;
      affine(job, layer, t, x, y, basis, z);
      activate(layer->kind, layer->outputs * t.wide, z, next);
      y = next;
    }
    store_tile(job, t, job->layers[job->count - 1].outputs, y, job->out);
  }
}

INLINE real total_of(const real *restrict a, long n) {
  real total = 0;
#pragma omp simd reduction(+ : total)
  for (long j = 0; j < n; j++) total += a[j];
  return total;
}

/* Cotangents of a layer's weight, bias and gate, of what is added and of waves, given that of z. */
static void pull_layer(const Job *job, const Layer *layer, Tile t, const real *z, const real *x, const real *y, real *turned, real *sums) {
  const long w = t.wide, wide = padded(layer->inputs);
  if (layer->sums >= 0) {
    real *to = sums + layer->sums;
    transpose(layer->inputs, w, y, w, turned, wide);
    product(layer->outputs, layer->inputs, t.size, z, w, 1, turned, wide, to, wide, 1);
    to += layer->outputs * wide;
    for (long o = 0; layer->bias && o < layer->outputs; o++) to[o] += total_of(z + o * w, w);
    to += layer->bias ? layer->outputs : 0;
    for (long o = 0; layer->gate && o < layer->outputs; o++) {
      real total = 0;
#pragma omp simd reduction(+ : total)
      for (long j = 0; j < w; j++) total += z[o * w + j] * x[o * w + j];
      to[o] += total;
    }
  }
  if (layer->of_added) store_tile(job, t, layer->outputs, z, layer->of_added);
  if (layer->of_waves) {
    const long f = padded(job->frequencies);
    real *to = layer->of_waves + (t.batch * job->rows + t.row) * layer->outputs * f;
    product(layer->outputs, job->frequencies, t.size, z, w, 1, job->turned + t.first * f, f, to, f, t.first > 0);
  }
}

static void backward_tiles(const Job *job, long first, long last, real *sums) {
  const long w = job->width, most = widest(job) * w, count = job->count;
  long size = 2 * job->channels * w + 2 * most + padded(widest(job)) * w + job->frequencies * w;
  for (long l = 0; l < count; l++) size += 2 * job->layers[l].outputs * w;
  real *x = scratch(job, size), *direct = x + job->channels * w, *g = direct + job->channels * w, *next = g + most, *turned = next + most,
       *basis = turned + padded(widest(job)) * w, *free_from = basis + job->frequencies * w, *value[MOST_LAYERS + 1] = {x},
       *slope[MOST_LAYERS + 1];
  if (!x) return;
  for (long l = 0; l < count; l++, free_from += job->layers[l - 1].outputs * w) {
    value[l + 1] = free_from;
    slope[l + 1] = free_from += job->layers[l].outputs * w;
  }
  memset(sums, 0, job->sums_size * sizeof(real));
  for (long i = first; i < last; i++) {
    const Tile t = tile_of(job, i);
    load_tile(job, t, job->channels, job->x, x);
    if (job->frequencies && (i == first || job->tiles > 1)) load_basis(job, t, basis);
    for (long l = 0; l < count; l++) {
      const Layer *layer = job->layers + l;
      if (l == count - 1 && layer->kind == NONE) break;
      affine(job, layer, t, x, value[l], basis, value[l + 1]);
      activate_with_slope(layer->kind, layer->outputs * t.wide, value[l + 1], slope[l + 1]);
    }
    load_tile(job, t, job->layers[count - 1].outputs, job->g, g);
    int gated = 0;                                     /* `direct`: the cotangent of x by the gates */
    for (long l = count - 1; l >= 0; l--) {
      const Layer *layer = job->layers + l;
      const long n = layer->outputs * t.wide;
      if (layer->kind != NONE) {
        const real *restrict factor = slope[l + 1];
#pragma omp simd
        for (long j = 0; j < n; j++) g[j] *= factor[j];
      }
      pull_layer(job, layer, t, g, x, value[l], turned, sums);
      for (long o = 0; layer->gate && o < layer->outputs; o++) {
        real *restrict to = direct + o * t.wide;
        const real gate = layer->gate[o];
#pragma omp simd
        for (long j = 0; j < t.wide; j++) to[j] = (gated ? to[j] : 0) + gate * g[o * t.wide + j];
      }
      gated = gated || layer->gate;
      if (l || job->out) {
        product(layer->inputs, t.size, layer->outputs, layer->weight, 1, layer->inputs, g, t.wide, next, t.wide, 0);
        real *spare = g;
        g = next;
        next = spare;
      }
    }
    if (job->out) {
      const long n = gated ? job->channels * t.wide : 0;
#pragma omp simd
      for (long j = 0; j < n; j++) g[j] += direct[j];
      store_tile(job, t, job->channels, g, job->out);
    }
  }
}

/* out (batch, rows, channels, frequencies) = x (batch, channels, rows, columns) turned, some rows of x at a time: a row of x may lie in
   another channel. */
static void to_waves(const Job *job, long first, long last) {
  enum { SOME = 8 };
  const long f = job->frequencies, wide = padded(f);
  real *part = scratch(job, SOME * wide);
  if (!part) return;
  for (long i = first * SOME; i < last * SOME && i < job->batch * job->channels * job->rows; i += SOME) {
    const long left = job->batch * job->channels * job->rows - i, height = left < SOME ? left : SOME;
    product(height, f, job->columns, job->x + i * job->columns, job->columns, 1, job->turned, wide, part, wide, 0);
    for (long r = 0; r < height; r++) {
      const long row = (i + r) % job->rows, channel = (i + r) / job->rows % job->channels, batch = (i + r) / job->rows / job->channels;
      memcpy(job->out + ((batch * job->rows + row) * job->channels + channel) * f, part + r * wide, f * sizeof(real));
    }
  }
}

static void from_waves(const Job *job, long first, long last) {
  const long f = job->frequencies, w = job->width;
  real *basis = scratch(job, (f + job->channels) * w), *part = basis + f * w;
  if (!basis) return;
  for (long i = first; i < last; i++) {
    const Tile t = tile_of(job, i);
    load_basis(job, t, basis);
    product(job->channels, t.size, f, job->x + (t.batch * job->rows + t.row) * job->channels * f, f, 1, basis, t.wide, part, t.wide, 0);
    store_tile(job, t, job->channels, part, job->out);
  }
}

static void run_chunk(const Job *job, long chunk) {
  const long first = chunk * job->step, end = first + job->step, last = end < job->units ? end : job->units;
  if (job->task == FORWARD) forward_tiles(job, first, last);
  else if (job->task == BACKWARD) backward_tiles(job, first, last, job->sums + chunk * job->sums_size);
  else if (job->task == TO_WAVES) to_waves(job, first, last);
  else from_waves(job, first, last);
}

/* What Python calls. The width of a tile: columns in equal parts of whole vectors; and the chunks of a job. */
long native_width(long columns) {
  const long parts = (columns + MOST_WIDTH - 1) / MOST_WIDTH;
  return padded((columns + parts - 1) / parts);
}

long native_padded(long n) { return padded(n); }

/* Returns 0, or 1 if there was no memory. */
long native_run(Job *job, long threads) {
  job->width = native_width(job->columns);
  job->tiles = (job->columns + job->width - 1) / job->width;
  const long whole = job->task == BACKWARD && job->frequencies ? job->tiles : 1;       /* tiles that add to the same waves */
  job->units = job->task == TO_WAVES ? (job->batch * job->channels * job->rows + 7) / 8 : job->batch * job->rows * job->tiles;
  job->step = ((job->units / whole + MOST_CHUNKS - 1) / MOST_CHUNKS) * whole;
  const long chunks = (job->units + job->step - 1) / job->step;
  spread(job, chunks, threads);
  for (long c = 1; job->task == BACKWARD && c < chunks; c++) {
    real *restrict total = job->sums, *restrict more = job->sums + c * job->sums_size;
#pragma omp simd
    for (long j = 0; j < job->sums_size; j++) total[j] += more[j];
  }
  return job->failed;
}
