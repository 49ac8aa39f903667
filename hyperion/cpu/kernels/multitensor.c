/* One elementwise formula over many tensors in one call. Compiled with -DREAL=float|double -DSTATES=n -DNUMBERS=n; the line LOOP below is
   replaced by a function update(row, low, high) that holds the generated formula. */
#include <math.h>
#include <pthread.h>
#if defined(__x86_64__)
#include <immintrin.h>
#endif

/* No element depends on another, even where the new parameter is written over the old one. */
#if defined(__clang__)
#define VECTORISE _Pragma("clang loop vectorize(assume_safety)")
#else
#define VECTORISE _Pragma("GCC ivdep")
#endif

typedef REAL real;
#define SQRT(x) (sizeof(real) == 4 ? (real)sqrtf((float)(x)) : (real)sqrt((double)(x)))

typedef struct {
  long size;
  real *out;
  const real *parameter, *gradient;
  real *state[STATES ? STATES : 1];
  double number[NUMBERS ? NUMBERS : 1];
} Row;

LOOP

/* Threads take whole blocks, counted from the start of each tensor: so no result depends on how many threads there are. */
enum { BLOCK = 4096 };

typedef struct { const Row *row; long rows, first, last; double *squares; } Job;      /* blocks [first, last) of all rows */

/* Sums have a fixed order, so the compiler may not vectorise them by itself: written in vectors, in float64. */
enum { LANES = 8 };
typedef real Lanes __attribute__((vector_size(LANES * sizeof(real)), aligned(sizeof(real)), may_alias));
typedef double Wide __attribute__((vector_size(LANES * sizeof(double))));

static double squares_of(const real *x, long size) {
  Wide sum[4] = {{0}};
  double total = 0;
  long i = 0;
  for (; i + 4 * LANES <= size; i += 4 * LANES) {
    for (int k = 0; k < 4; k++) {
      const Wide v = __builtin_convertvector(*(const Lanes *)(x + i + k * LANES), Wide);
      sum[k] += v * v;
    }
  }
  for (; i < size; i++) total += (double)x[i] * (double)x[i];
  const Wide all = (sum[0] + sum[1]) + (sum[2] + sum[3]);
  for (int k = 0; k < LANES; k++) total += all[k];
  return total;
}

static void *work(void *argument) {
  const Job *job = argument;
#if defined(__x86_64__)
  const unsigned before = _mm_getcsr();
  if (!job->squares) _mm_setcsr(before | 0x8040);      /* flush denormals to zero: means of squares decay into them */
#endif
  long start = 0;
  for (long r = 0; r < job->rows; r++) {
    const Row *row = job->row + r;
    const long blocks = (row->size + BLOCK - 1) / BLOCK;
    for (long b = job->first > start ? job->first - start : 0; b < blocks && start + b < job->last; b++) {
      const long low = b * BLOCK, high = low + BLOCK < row->size ? low + BLOCK : row->size;
      if (job->squares) job->squares[start + b] = squares_of(row->gradient + low, high - low);
      else update(row, low, high);
    }
    start += blocks;
  }
#if defined(__x86_64__)
  _mm_setcsr(before);
#endif
  return 0;
}

/* Update all rows (squares = 0), or write the sum of squared gradients of each block. Threads that cannot start cost speed only. */
void run(const Row *row, long rows, long threads, double *squares) {
  enum { MOST = 64 };
  pthread_t handle[MOST];
  int started[MOST] = {0};
  Job job[MOST];
  long blocks = 0;
  for (long r = 0; r < rows; r++) blocks += (row[r].size + BLOCK - 1) / BLOCK;
  if (threads > MOST) threads = MOST;
  if (threads > blocks) threads = blocks > 0 ? blocks : 1;
  for (long k = 0; k < threads; k++) job[k] = (Job){row, rows, blocks * k / threads, blocks * (k + 1) / threads, squares};
  for (long k = 1; k < threads; k++) started[k] = !pthread_create(handle + k, 0, work, job + k);
  work(job);
  for (long k = 1; k < threads; k++) {
    if (started[k]) pthread_join(handle[k], 0);
    else work(job + k);
  }
}
