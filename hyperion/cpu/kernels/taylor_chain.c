/* Taylor coefficients of a chain of linear layers and activations over many points, and the gradient of anything computed from them.

   A block of POINTS points stays in the caches from the first layer to the last; its points lie in the lanes of vectors. A value of one
   layer is a matrix (width, CHANNELS * ROW) of vectors: channel 0 holds the value, the others the coefficients of all directions, and a layer
   is one product with its weight for all of them. The gradient runs the block forward again, keeps every layer, and goes back; products for
   weights are added up in the lanes, and over the lanes once at the end of a chunk. Chunks depend on the sizes only, so no result depends on
   the number of threads.

   Compiled after workers.h, maths.h and waves.h with -DREAL=float or double and -DCHANNELS=n; ACTIVATIONS is replaced by functions
   activate_k(z, h) and retreat_k(z, h, g) for each activation k in the chain, and by CASES(call), which calls one by its number. */
#include <stdlib.h>
#include <string.h>

#if defined(__AVX512F__)
enum { WIDTH = 64, TILE = 5 };                           /* bytes of a vector; side of a tile: TILE * TILE sums must fit the registers */
#elif defined(__AVX__)
enum { WIDTH = 32, TILE = 3 };
#else
enum { WIDTH = 16, TILE = 3 };
#endif
enum { STRIP = 4, ROW = STRIP, LANES = WIDTH / sizeof(real), POINTS = ROW * LANES, VECTORS = CHANNELS * ROW };
typedef real Vector __attribute__((vector_size(WIDTH), may_alias));

ACTIVATIONS

struct Job {
  long points, blocks, step, layers;                     /* step: blocks of a chunk */
  const long *widths;                                    /* layers + 1 */
  const long *kinds;                                     /* of each layer: the number of its activation, or -1 */
  const real *const *weights, *const *biases;            /* (outputs, inputs); (outputs,) or 0 */
  const real *x, *rest, *g;                              /* (points, inputs), (CHANNELS - 1, points, inputs), (CHANNELS, points, outputs) */
  real *out, *to_x, *to_rest, *sums;                     /* sums: (chunks, parameters), each layer's weight and then its bias */
  long widest, parameters, slots, slot_size;             /* slot_size: vectors of a thread's scratch */
  Vector *scratch;
  atomic_int *taken;
};

/* out[j] = sum over i of weight[j, i] in[i], for `count` rows j (5 at most) and STRIP vectors of each. */
INLINE void tile(int count, long sums, const real *weight, long row_step, long sum_step, const Vector *in, Vector *out) {
  Vector total[5][STRIP];
  for (int j = 0; j < count; j++)
    for (int v = 0; v < STRIP; v++) total[j][v] = (Vector){0};
  for (long i = 0; i < sums; i++) {
    Vector value[STRIP];
    for (int v = 0; v < STRIP; v++) value[v] = in[i * VECTORS + v];
    for (int j = 0; j < count; j++) {
      const real w = weight[j * row_step + i * sum_step];
      for (int v = 0; v < STRIP; v++) total[j][v] += w * value[v];
    }
  }
  for (int j = 0; j < count; j++)
    for (int v = 0; v < STRIP; v++) out[j * VECTORS + v] = total[j][v];
}

/* Call TIMES(n) with the number as a constant, so that the loops in what it calls unroll. */
#define BY_SIZE(size, TIMES) switch (size) { case 1: TIMES(1); break; case 2: TIMES(2); break; case 3: TIMES(3); break; \
    case 4: TIMES(4); break; default: TIMES(5); }

INLINE long least(long a, long b) { return a < b ? a : b; }

static void product(long rows, long sums, const real *weight, long row_step, long sum_step, const Vector *in, Vector *out) {
  for (long j = 0; j < rows; j += TILE) {
    for (int v = 0; v < VECTORS; v += STRIP) {
#define TIMES(n) tile(n, sums, weight + j * row_step, row_step, sum_step, in + v, out + j * VECTORS + v)
      BY_SIZE(least(rows - j, TILE), TIMES)
#undef TIMES
    }
  }
}

/* total[j, i] += sum over vectors of left[j] right[i]. */
INLINE void outer_tile(int count, int across, long columns, const Vector *left, const Vector *right, Vector *total) {
  Vector sum[5][5];
  for (int j = 0; j < count; j++)
    for (int i = 0; i < across; i++) sum[j][i] = total[j * columns + i];
  for (int v = 0; v < VECTORS; v++) {
    for (int j = 0; j < count; j++)
      for (int i = 0; i < across; i++) sum[j][i] += left[j * VECTORS + v] * right[i * VECTORS + v];
  }
  for (int j = 0; j < count; j++)
    for (int i = 0; i < across; i++) total[j * columns + i] = sum[j][i];
}

static void outer(long rows, long columns, const Vector *left, const Vector *right, Vector *total) {
  for (long j = 0; j < rows; j += TILE) {
    for (long i = 0; i < columns; i += TILE) {
      const Vector *l = left + j * VECTORS, *r = right + i * VECTORS;
      Vector *t = total + j * columns + i;
      const long count = least(rows - j, TILE), across = least(columns - i, TILE);
#define WHOLE(n) outer_tile(TILE, n, columns, l, r, t)
#define EDGE(n) outer_tile(1, n, columns, l + k * VECTORS, r, t + k * columns)
      if (count == TILE) BY_SIZE(across, WHOLE)
      else for (long k = 0; k < count; k++) BY_SIZE(across, EDGE)
#undef WHOLE
#undef EDGE
    }
  }
}

/* Values of one block: from (points, width) arrays of the channels from `first` on into lanes, and back. Lanes beyond the last point have
   its values, so that no activation meets what it was not made for, and cotangents 0 (`repeat`). */
static void gather(const Job *job, long start, long width, long first, long channels, int repeat, const real *from, real *to) {
  const long count = job->points - start < POINTS ? job->points - start : POINTS;
  for (long i = 0; i < width; i++) {
    for (long c = 0; c < channels; c++) {
      const real *source = from + (c * job->points + start) * width + i;
      real *row = to + ((i * CHANNELS + first + c) * POINTS);
      for (long n = 0; n < count; n++) row[n] = source[n * width];
      for (long n = count; n < POINTS; n++) row[n] = repeat ? row[count - 1] : 0;
    }
  }
}

static void scatter(const Job *job, long start, long width, long first, long channels, const real *from, real *to) {
  const long count = job->points - start < POINTS ? job->points - start : POINTS;
  for (long i = 0; i < width; i++) {
    for (long c = 0; c < channels; c++) {
      const real *row = from + ((i * CHANNELS + first + c) * POINTS);
      real *target = to + (c * job->points + start) * width + i;
      for (long n = 0; n < count; n++) target[n * width] = row[n];
    }
  }
}

/* One layer: z = weight in + bias, h = activation of z. Returns h, which is z if there is none. */
static Vector *advance(const Job *job, long layer, const Vector *in, Vector *z, Vector *h) {
  const long inputs = job->widths[layer], outputs = job->widths[layer + 1], kind = job->kinds[layer];
  product(outputs, inputs, job->weights[layer], inputs, 1, in, z);
  if (job->biases[layer]) {
    for (long j = 0; j < outputs; j++)
      for (int v = 0; v < ROW; v++) z[j * VECTORS + v] += job->biases[layer][j];
  }
  if (kind < 0) return z;
  for (long j = 0; j < outputs; j++) {
    const real *from = (const real *)(z + j * VECTORS);
    real *to = (real *)(h + j * VECTORS);
    CASES(kind, activate, (from, to))
  }
  return h;
}

static void forward_block(const Job *job, long start, Vector *space) {
  const long layers = job->layers, size = job->widest * VECTORS;
  Vector *in = space, *z = space + size, *h = space + 2 * size;
  gather(job, start, job->widths[0], 0, 1, 1, job->x, (real *)in);
  gather(job, start, job->widths[0], 1, CHANNELS - 1, 1, job->rest, (real *)in);
  for (long layer = 0; layer < layers; layer++) {
    Vector *out = advance(job, layer, in, z, h), *free = out == z ? h : z;
    z = in;                                              /* what the layer read may be written over */
    in = out;
    h = free;
  }
  scatter(job, start, job->widths[layers], 0, CHANNELS, (const real *)in, job->out);
}

static void reverse_block(const Job *job, long start, Vector *space, Vector *totals) {
  const long layers = job->layers, size = job->widest * VECTORS;
  Vector *g = space, *next = space + size, *first = space + 2 * size, *z = first + job->widths[0] * VECTORS, *in = first;
  gather(job, start, job->widths[0], 0, 1, 1, job->x, (real *)first);
  gather(job, start, job->widths[0], 1, CHANNELS - 1, 1, job->rest, (real *)first);
  for (long layer = 0; layer < layers; layer++) {        /* z and h of each layer follow those of the one before */
    Vector *h = z + job->widths[layer + 1] * VECTORS;
    in = advance(job, layer, in, z, h);
    z = h + job->widths[layer + 1] * VECTORS;
  }
  gather(job, start, job->widths[layers], 0, CHANNELS, 0, job->g, (real *)g);
  Vector *total = totals + job->parameters;
  for (long layer = layers - 1; layer >= 0; layer--) {
    const long inputs = job->widths[layer], outputs = job->widths[layer + 1], kind = job->kinds[layer];
    const Vector *h = z - outputs * VECTORS;
    z -= 2 * outputs * VECTORS;
    if (kind >= 0) {
      for (long j = 0; j < outputs; j++) {
        const real *before = (const real *)(z + j * VECTORS), *after = (const real *)(h + j * VECTORS);
        real *moved = (real *)(g + j * VECTORS);
        CASES(kind, retreat, (before, after, moved))
      }
    }
    const Vector *source = layer ? z - (job->kinds[layer - 1] < 0 ? 2 : 1) * inputs * VECTORS : first;
    total -= outputs * (inputs + 1);
    outer(outputs, inputs, g, source, total);
    for (long j = 0; j < outputs; j++)
      for (int v = 0; v < ROW; v++) total[outputs * inputs + j] += g[j * VECTORS + v];
    if (layer || job->to_x) product(inputs, outputs, job->weights[layer], 1, inputs, g, next);
    Vector *swap = g;
    g = next;
    next = swap;
  }
  if (job->to_x) {
    scatter(job, start, job->widths[0], 0, 1, (const real *)g, job->to_x);
    scatter(job, start, job->widths[0], 1, CHANNELS - 1, (const real *)g, job->to_rest);
  }
}

static void run_chunk(const Job *job, long chunk) {
  const long first = chunk * job->step, last = first + job->step < job->blocks ? first + job->step : job->blocks;
  long slot = 0;                                         /* a thread's scratch: there are as many as threads, so one is free */
  while (atomic_exchange(job->taken + slot, 1)) slot = (slot + 1) % job->slots;
  Vector *space = job->scratch + slot * job->slot_size;
  if (!job->g) {
    for (long b = first; b < last; b++) forward_block(job, b * POINTS, space);
  } else {
    Vector *totals = space;
    memset(totals, 0, job->parameters * sizeof(Vector));
    for (long b = first; b < last; b++) reverse_block(job, b * POINTS, space + job->parameters, totals);
    real *sums = job->sums + chunk * job->parameters;
    for (long k = 0; k < job->parameters; k++) {
      const real *lanes = (const real *)(totals + k);
      real sum = 0;
#pragma omp simd reduction(+ : sum)
      for (int i = 0; i < LANES; i++) sum += lanes[i];
      sums[k] = sum;
    }
  }
  atomic_store(job->taken + slot, 0);
}

enum { MOST_CHUNKS = 32, MOST_SLOTS = 64 };

static long step_of(long points) {
  const long blocks = (points + POINTS - 1) / POINTS;
  return (blocks + MOST_CHUNKS - 1) / MOST_CHUNKS;
}

/* How many chunks the points make; and vectors of scratch for each thread, forward (parameters = 0) or back. */
long chunks_of(long points) {
  const long blocks = (points + POINTS - 1) / POINTS, step = step_of(points);
  return step ? (blocks + step - 1) / step : 0;
}

long slot_of(long layers, const long *widths, long parameters) {
  long widest = 0, kept = widths[0];
  for (long k = 0; k <= layers; k++) {
    widest = widths[k] > widest ? widths[k] : widest;
    kept += k ? 2 * widths[k] : 0;
  }
  return parameters ? parameters + (2 * widest + kept) * VECTORS : 3 * widest * VECTORS;
}

long vector_bytes(void) { return WIDTH; }

static void start(Job job, long threads) {
  atomic_int taken[MOST_SLOTS] = {0};
  job.blocks = (job.points + POINTS - 1) / POINTS;
  job.step = step_of(job.points);
  job.taken = taken;
  for (long k = 0; k <= job.layers; k++) job.widest = job.widths[k] > job.widest ? job.widths[k] : job.widest;
  job.slots = threads < MOST_SLOTS ? threads : MOST_SLOTS;
  spread(&job, chunks_of(job.points), job.slots);
}

void forward(long points, long layers, const long *widths, const long *kinds, const real *const *weights, const real *const *biases,
             const real *x, const real *rest, real *out, void *scratch, long threads) {
  start((Job){.points = points, .layers = layers, .widths = widths, .kinds = kinds, .weights = weights, .biases = biases, .x = x,
              .rest = rest, .out = out, .scratch = scratch, .slot_size = slot_of(layers, widths, 0)}, threads);
}

/* sums: (chunks, parameters) as room; their total is written to its first row. to_x, to_rest: 0 if nobody needs them. */
void reverse(long points, long layers, const long *widths, const long *kinds, const real *const *weights, const real *const *biases,
             const real *x, const real *rest, const real *g, real *to_x, real *to_rest, real *sums, long parameters, void *scratch,
             long threads) {
  start((Job){.points = points, .layers = layers, .widths = widths, .kinds = kinds, .weights = weights, .biases = biases, .x = x,
              .rest = rest, .g = g, .to_x = to_x, .to_rest = to_rest, .sums = sums, .parameters = parameters, .scratch = scratch,
              .slot_size = slot_of(layers, widths, parameters)}, threads);
  const long chunks = chunks_of(points);
  for (long c = 1; c < chunks; c++) {
    const real *part = sums + c * parameters;
    for (long k = 0; k < parameters; k++) sums[k] += part[k];
  }
}
