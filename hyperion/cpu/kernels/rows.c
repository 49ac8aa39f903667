/* Row kernels and activations, forward and backward, each in one pass over memory: a row is read from memory once and stays in the first
   caches while its sums are formed. Compiled after workers.h and maths.h with -DREAL=float or double.

   All arrays are contiguous: x, g, out (rows, columns); mean, rstd, loss, total (rows); weight, bias (columns). Activations see one column.
   Chunks of rows depend on the sizes only, so no result depends on the number of threads. */
enum { CHUNK = 16384, MOST_CHUNKS = 128 };               /* elements of a chunk at least: 10 us of work; and how many there are at most */

struct Job {
  void (*work)(const Job *, long first, long last, long chunk);
  long rows, columns, step;                              /* rows of a chunk */
  const real *x, *g, *y, *weight, *bias, *mean, *rstd;
  const int64_t *classes;
  real *out, *out_mean, *out_rstd, *sums;
  int64_t ignore;
  real eps;
};

static long chunk_rows(long rows, long columns) {
  const long least = (CHUNK + columns - 1) / (columns ? columns : 1), even = (rows + MOST_CHUNKS - 1) / MOST_CHUNKS;
  const long step = least > even ? least : even;
  return columns == 1 ? (step + 63) / 64 * 64 : step;    /* activations: whole cache lines, if the array starts with one */
}

static void run_chunk(const Job *job, long chunk) {
  const long first = chunk * job->step, last = first + job->step;
  job->work(job, first, last < job->rows ? last : job->rows, chunk);
}

static void start(Job job, long threads) {
  job.step = chunk_rows(job.rows, job.columns);
  spread(&job, (job.rows + job.step - 1) / job.step, threads);
}

/* Softmax. The row maximum is subtracted before exp, which otherwise overflows float32 above 88; one that is infinite is left: then NaN
   comes out where it must. */
INLINE whole in_order(whole bits) { return bits ^ ((bits >> (8 * sizeof(whole) - 1)) & LARGEST); }

INLINE real top_of(const real *restrict x, long n) {
  const union { real value; whole bits; } lowest = {-(real)INFINITY};
  whole highest = in_order(lowest.bits);                 /* bits of numbers, as integers in the same order: their maximum becomes vector */
#pragma omp simd reduction(max : highest)                /* code with every compiler, which that of numbers that may be NaN does not */
  for (long j = 0; j < n; j++) {
    const union { real value; whole bits; } number = {x[j]};
    const whole key = in_order(number.bits);
    highest = key > highest ? key : highest;
  }
  const union { whole bits; real value; } top = {in_order(highest)};
  return isfinite(top.value) ? top.value : 0;
}

INLINE real sum_of_exp(const real *restrict x, long n, real top) {
  real total = 0;
#pragma omp simd reduction(+ : total)
  for (long j = 0; j < n; j++) total += exp_of(x[j] - top);
  return total;
}

static void softmax_rows(const Job *job, long first, long last, long chunk) {
  const long n = job->columns;
  for (long i = first; i < last; i++) {
    const real *restrict x = job->x + i * n;
    real *restrict out = job->out + i * n;
    const real top = top_of(x, n);
    real total = 0;
#pragma omp simd reduction(+ : total)
    for (long j = 0; j < n; j++) {
      const real e = exp_of(x[j] - top);
      out[j] = e;
      total += e;
    }
    const real scale = 1 / total;
#pragma omp simd
    for (long j = 0; j < n; j++) out[j] *= scale;
  }
}

static void softmax_back_rows(const Job *job, long first, long last, long chunk) {
  const long n = job->columns;
  for (long i = first; i < last; i++) {
    const real *restrict g = job->g + i * n, *restrict y = job->y + i * n;
    real *restrict out = job->out + i * n;
    real along = 0;
#pragma omp simd reduction(+ : along)
    for (long j = 0; j < n; j++) along += g[j] * y[j];
#pragma omp simd
    for (long j = 0; j < n; j++) out[j] = y[j] * (g[j] - along);
  }
}

static void log_softmax_rows(const Job *job, long first, long last, long chunk) {
  const long n = job->columns;
  for (long i = first; i < last; i++) {
    const real *restrict x = job->x + i * n;
    real *restrict out = job->out + i * n;
    const real top = top_of(x, n), total = top + (real)log((double)sum_of_exp(x, n, top));
#pragma omp simd
    for (long j = 0; j < n; j++) out[j] = x[j] - total;
  }
}

static void log_softmax_back_rows(const Job *job, long first, long last, long chunk) {
  const long n = job->columns;
  for (long i = first; i < last; i++) {
    const real *restrict g = job->g + i * n, *restrict y = job->y + i * n;
    real *restrict out = job->out + i * n;
    real along = 0;
#pragma omp simd reduction(+ : along)
    for (long j = 0; j < n; j++) along += g[j];
#pragma omp simd
    for (long j = 0; j < n; j++) out[j] = g[j] - exp_of(y[j]) * along;
  }
}

/* Cross-entropy: loss = total - x[class], total = log(sum(exp(x))). Classes were checked; a row of class `ignore` has loss 0. */
static void entropy_rows(const Job *job, long first, long last, long chunk) {
  const long n = job->columns;
  for (long i = first; i < last; i++) {
    const real *restrict x = job->x + i * n;
    const real top = top_of(x, n), total = top + (real)log((double)sum_of_exp(x, n, top));
    job->out_mean[i] = total;
    job->out[i] = job->classes[i] == job->ignore ? 0 : total - x[job->classes[i]];
  }
}

/* Of g for the loss and h (in mean, or none) for the total of each row: (g + h) exp(x - total), less g at the class. */
static void entropy_back_rows(const Job *job, long first, long last, long chunk) {
  const long n = job->columns;
  for (long i = first; i < last; i++) {
    const real *restrict x = job->x + i * n;
    real *restrict out = job->out + i * n;
    const int counts = job->g && job->classes[i] != job->ignore;
    const real total = job->y[i], of_loss = counts ? job->g[i] : 0, factor = of_loss + (job->mean ? job->mean[i] : 0);
#pragma omp simd
    for (long j = 0; j < n; j++) out[j] = factor * exp_of(x[j] - total);
    if (counts) out[job->classes[i]] -= of_loss;
  }
}

/* Layer and RMS norm: mean and mean square in two readings of a row, which a single one would lose to cancellation. */
INLINE real mean_of(const real *restrict x, long n) {
  real total = 0;
#pragma omp simd reduction(+ : total)
  for (long j = 0; j < n; j++) total += x[j];
  return total / (real)n;
}

INLINE real rstd_of(const real *restrict x, long n, real mean, real eps) {
  real total = 0;
#pragma omp simd reduction(+ : total)
  for (long j = 0; j < n; j++) total += (x[j] - mean) * (x[j] - mean);
  return (real)(1 / sqrt((double)(total / (real)n + eps)));
}

INLINE void norm_rows(const Job *job, long first, long last, int centred) {
  const long n = job->columns;
  const real *restrict weight = job->weight, *restrict bias = job->bias;
  for (long i = first; i < last; i++) {
    const real *restrict x = job->x + i * n;
    real *restrict out = job->out + i * n;
    const real mean = centred ? mean_of(x, n) : 0, rstd = rstd_of(x, n, mean, job->eps);
    if (centred) job->out_mean[i] = mean;
    job->out_rstd[i] = rstd;
    if (bias) {
#pragma omp simd
      for (long j = 0; j < n; j++) out[j] = (x[j] - mean) * rstd * weight[j] + bias[j];
    } else if (weight) {
#pragma omp simd
      for (long j = 0; j < n; j++) out[j] = (x[j] - mean) * rstd * weight[j];
    } else {
#pragma omp simd
      for (long j = 0; j < n; j++) out[j] = (x[j] - mean) * rstd;
    }
  }
}

static void layer_norm_rows(const Job *job, long first, long last, long chunk) { norm_rows(job, first, last, 1); }
static void rms_norm_rows(const Job *job, long first, long last, long chunk) { norm_rows(job, first, last, 0); }

/* x is moved along what keeps mean and size; `sums` has the gradients of weight and bias of each chunk, (chunks, 2, columns), or none. */
INLINE void norm_back_rows(const Job *job, long first, long last, long chunk, int centred, int weighed) {
  const long n = job->columns;
  const real *restrict weight = job->weight;
  real *restrict of_weight = job->sums ? job->sums + chunk * 2 * n : 0, *restrict of_bias = of_weight ? of_weight + n : 0;
  for (long j = 0; of_weight && j < 2 * n; j++) of_weight[j] = 0;
  for (long i = first; i < last; i++) {
    const real *restrict x = job->x + i * n, *restrict g = job->g + i * n;
    real *restrict out = job->out + i * n;
    const real mean = centred ? job->mean[i] : 0, rstd = job->rstd[i];
    real push = 0, along = 0;
#pragma omp simd reduction(+ : push, along)
    for (long j = 0; j < n; j++) {
      const real h = weighed ? g[j] * weight[j] : g[j];
      push += h;
      along += h * (x[j] - mean);
    }
    push = centred ? push / (real)n * rstd : 0;
    along = along / (real)n * rstd * rstd * rstd;
#pragma omp simd
    for (long j = 0; j < n; j++) {
      const real h = weighed ? g[j] * weight[j] : g[j];
      out[j] = h * rstd - push - (x[j] - mean) * along;
    }
    if (of_weight) {
#pragma omp simd
      for (long j = 0; j < n; j++) {
        of_weight[j] += g[j] * (x[j] - mean) * rstd;
        of_bias[j] += g[j];
      }
    }
  }
}

static void layer_norm_back_rows(const Job *job, long first, long last, long chunk) {
  if (job->weight) norm_back_rows(job, first, last, chunk, 1, 1);
  else norm_back_rows(job, first, last, chunk, 1, 0);
}

static void rms_norm_back_rows(const Job *job, long first, long last, long chunk) {
  if (job->weight) norm_back_rows(job, first, last, chunk, 0, 1);
  else norm_back_rows(job, first, last, chunk, 0, 0);
}

/* Activations: a loop over the elements of a chunk. */
#define ELEMENTWISE(name, value)                                                                                                         \
  static void name##_rows(const Job *job, long first, long last, long chunk) {                                                           \
    const real *restrict from = job->x, *restrict back = job->g;                                                                         \
    real *restrict out = job->out;                                                                                                       \
    (void)back;                                                                                                                          \
    _Pragma("omp simd") for (long i = first; i < last; i++) {                                                                            \
      const real x = from[i];                                                                                                            \
      out[i] = value;                                                                                                                    \
    }                                                                                                                                    \
  }
#define ROOT_HALF_PI ((real)0.79788456080286536)         /* sqrt(2 / pi) */

/* gelu_tanh: (1 + tanh(u)) / 2 = sigmoid(2 u). */
INLINE real gelu_argument(real x) { return 2 * ROOT_HALF_PI * (x + (real)0.044715 * x * x * x); }

INLINE real gelu_tanh_slope(real x) {
  const real u = gelu_argument(x);
  return sigmoid_of(u) + x * sigmoid_slope_of(u) * (2 * ROOT_HALF_PI * (1 + 3 * (real)0.044715 * x * x));
}

INLINE real gelu_slope(real x) {
  const real a = within_reach(x), bell = bell_of(a), below = tail_of(a) * bell;
  return (x < 0 ? below : 1 - below) + x * bell * (real)0.39894228040143268;
}

INLINE real silu_slope(real x) { return sigmoid_of(x) + x * sigmoid_slope_of(x); }

ELEMENTWISE(exp, exp_of(x))
ELEMENTWISE(tanh, tanh_of(x))
ELEMENTWISE(erf, erf_of(x))
ELEMENTWISE(phi, phi_of(x))
ELEMENTWISE(sigmoid, sigmoid_of(x))
ELEMENTWISE(gelu, x *phi_of(x))
ELEMENTWISE(gelu_tanh, x *sigmoid_of(gelu_argument(x)))
ELEMENTWISE(silu, x *sigmoid_of(x))
ELEMENTWISE(gelu_back, back[i] * gelu_slope(x))
ELEMENTWISE(gelu_tanh_back, back[i] * gelu_tanh_slope(x))
ELEMENTWISE(silu_back, back[i] * silu_slope(x))

/* What Python calls. */
#define MAP(name)                                                                                                                        \
  void native_##name(long size, long threads, const real *x, real *out) {                                                                \
    start((Job){.work = name##_rows, .rows = size, .columns = 1, .x = x, .out = out}, threads);                                          \
  }
#define MAP_BACK(name)                                                                                                                   \
  void native_##name(long size, long threads, const real *g, const real *x, real *out) {                                                 \
    start((Job){.work = name##_rows, .rows = size, .columns = 1, .g = g, .x = x, .out = out}, threads);                                  \
  }
MAP(exp) MAP(tanh) MAP(erf) MAP(phi) MAP(sigmoid) MAP(gelu) MAP(gelu_tanh) MAP(silu)
MAP_BACK(gelu_back) MAP_BACK(gelu_tanh_back) MAP_BACK(silu_back)

#define ROWS(name)                                                                                                                       \
  void native_##name(long rows, long columns, long threads, const real *x, real *out) {                                                  \
    start((Job){.work = name##_rows, .rows = rows, .columns = columns, .x = x, .out = out}, threads);                                    \
  }
#define ROWS_BACK(name)                                                                                                                  \
  void native_##name(long rows, long columns, long threads, const real *g, const real *y, real *out) {                                   \
    start((Job){.work = name##_rows, .rows = rows, .columns = columns, .g = g, .y = y, .out = out}, threads);                            \
  }
ROWS(softmax) ROWS(log_softmax) ROWS_BACK(softmax_back) ROWS_BACK(log_softmax_back)

void native_entropy(long rows, long columns, long threads, const real *x, const int64_t *classes, int64_t ignore, real *loss, real *total) {
  start((Job){.work = entropy_rows, .rows = rows, .columns = columns, .x = x, .classes = classes, .ignore = ignore, .out = loss,
              .out_mean = total}, threads);
}

void native_entropy_back(long rows, long columns, long threads, const real *g, const real *of_total, const real *x, const real *total,
                         const int64_t *classes, int64_t ignore, real *out) {
  start((Job){.work = entropy_back_rows, .rows = rows, .columns = columns, .g = g, .mean = of_total, .x = x, .y = total,
              .classes = classes, .ignore = ignore, .out = out}, threads);
}

/* mean: where it is written; none for the RMS norm. */
void native_norm(long rows, long columns, long threads, const real *x, const real *weight, const real *bias, double eps, real *out,
                 real *mean, real *rstd) {
  start((Job){.work = mean ? layer_norm_rows : rms_norm_rows, .rows = rows, .columns = columns, .x = x, .weight = weight, .bias = bias,
              .eps = (real)eps, .out = out, .out_mean = mean, .out_rstd = rstd}, threads);
}

long norm_chunks(long rows, long columns) {
  const long step = chunk_rows(rows, columns);
  return (rows + step - 1) / step;
}

/* sums: scratch of (norm_chunks, 2, columns), in whose first entry the gradients of weight and bias are left; or none. */
void native_norm_back(long rows, long columns, long threads, const real *g, const real *x, const real *weight, const real *mean,
                      const real *rstd, real *out, real *sums) {
  start((Job){.work = mean ? layer_norm_back_rows : rms_norm_back_rows, .rows = rows, .columns = columns, .g = g, .x = x,
              .weight = weight, .mean = mean, .rstd = rstd, .out = out, .sums = sums}, threads);
  const long chunks = norm_chunks(rows, columns);
  for (long c = 1; sums && c < chunks; c++) {
#pragma omp simd
    for (long j = 0; j < 2 * columns; j++) sums[j] += sums[c * 2 * columns + j];
  }
}
