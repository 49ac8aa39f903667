/* Runs a list of kernels over one table of addresses. Compiled after workers.h; the kernels come from libraries of their own (loops.h).

   Chunks of units depend on sizes only, so no result depends on the number of threads; but those of matrix products, which leave the order
   of the sums of each element as it is. */
#include <string.h>

typedef void (*Kernel)(char *const *at, const long *a, long first, long last, long chunk);
typedef void (*End)(char *const *at, const long *a, long chunks);

typedef struct {
  Kernel kernel;
  End end;                                               /* or 0 */
  const long *a;
  long units, step;                                      /* of a chunk; 0: as many chunks as there are threads */
  long stop;                                             /* place of a flag: once it is set, no further call is made; or -1 */
} Call;

struct Job { const Call *call; char *const *at; };

static void run_chunk(const Job *job, long chunk) {
  const Call *call = job->call;
  const long first = chunk * call->step, last = first + call->step;
  call->kernel(job->at, call->a, first, last < call->units ? last : call->units, chunk);
}

/* While calls run, BLAS has one thread, and products are shared out like everything else: threads of BLAS, which go on asking for work for a
   while, would take the processors from these, and a product would wait for a thread that has none. With many threads BLAS parts products
   better, in both directions; and where it cannot be told, it keeps its threads. */
enum { MOST_SHARED = 8 };
typedef void (*SetThreads)(int);
typedef int (*GetThreads)(void);
static SetThreads set_threads;
static GetThreads get_threads;
static struct { pthread_mutex_t lock; int users, before; } blas = {.lock = PTHREAD_MUTEX_INITIALIZER};

/* A forked child has the lock as it happened to be, and none of its users. */
static void forget_users(void) {
  pthread_mutex_init(&blas.lock, 0);
  if (blas.users) set_threads(blas.before);
  blas.users = 0;
}

void use_threads(void *set, void *get) {
  get_threads = (GetThreads)get;
  if (!pthread_atfork(0, 0, forget_users)) set_threads = (SetThreads)set;
}

static void quieten_blas(int users) {
  pthread_mutex_lock(&blas.lock);
  if (users > 0 && !blas.users) set_threads(((blas.before = get_threads()), 1));
  blas.users += users;
  if (!blas.users) set_threads(blas.before);
  pthread_mutex_unlock(&blas.lock);
}

/* Run all calls and return their number, or that of the call that set its flag. */
long run_calls(const Call *calls, long count, char *const *at, long threads) {
  const int sharing = threads > 1 && threads <= MOST_SHARED && set_threads;
  if (sharing) quieten_blas(1);
#if defined(__x86_64__)
  const unsigned before = _mm_getcsr();
  _mm_setcsr(before | 0x8040);                           /* flush denormals to zero, as all native code does */
#endif
  long i = 0;
  for (; i < count; i++) {
    const Call *call = calls + i;
    Call own = *call;
    if (!own.step) own.step = sharing ? (own.units + threads - 1) / threads : own.units;
    const long chunks = (own.units + own.step - 1) / own.step;
    const Job job = {&own, at};
    if (chunks == 1) call->kernel(at, call->a, 0, call->units, 0);
    else spread(&job, chunks, threads);
    if (call->end) call->end(at, call->a, chunks);
    if (call->stop >= 0 && *(const long *)at[call->stop]) break;
  }
#if defined(__x86_64__)
  _mm_setcsr(before);
#endif
  if (sharing) quieten_blas(-1);
  return i;
}

/* What goes on from round to round of a loop: places that move by so many bytes, and values that are copied from place to place. */
typedef struct { long place, step; } Move;
typedef struct { long from, to, bytes; } Copy;
typedef struct { const Move *moves; long count_moves; const Copy *copies; long count_copies; } Onward;

static void go_on(const Onward *onward, char **at) {
  for (long k = 0; k < onward->count_copies; k++) {
    const Copy *copy = onward->copies + k;
    memcpy(at[copy->to], at[copy->from], (size_t)copy->bytes);
  }
  for (long k = 0; k < onward->count_moves; k++) at[onward->moves[k].place] += onward->moves[k].step;
}

/* Run calls so many times. */
void repeat_calls(const Call *calls, long count, char **at, long threads, const Onward *onward, long rounds) {
  for (long round = 0; round < rounds; round++) {
    run_calls(calls, count, at, threads);
    go_on(onward, at);
  }
}

/* Run calls as long as those of a test, over a table of their own, leave something else than 0 at a place; return how often. */
long repeat_while(const Call *test, long count_test, char **at_test, long place, const Call *calls, long count, char **at, long threads,
                  const Onward *onward) {
  long rounds = 0;
  for (;; rounds++) {
    run_calls(test, count_test, at_test, threads);
    if (!*(const unsigned char *)at_test[place]) return rounds;
    run_calls(calls, count, at, threads);
    go_on(onward, at);
  }
}

/* Set a flag if an element of some arrays is not finite. Numbers: place of the flag; then of each array, which is a unit of work, its place,
   offset and length. 0 times a finite number is 0. */
#define FINITE(name, type)                                                                                                             \
  void name(char *const *at, const long *a, long first, long last, long chunk) {                                                      \
    (void)chunk;                                                                                                                       \
    for (long i = first; i < last; i++) {                                                                                              \
      const type *x = (const type *)(at[a[1 + 3 * i]] + a[2 + 3 * i]);                                                                 \
      const long n = a[3 + 3 * i];                                                                                                     \
      type sum = 0;                                                                                                                    \
      _Pragma("omp simd reduction(+ : sum)") for (long j = 0; j < n; j++) sum += x[j] * 0;                                             \
      if (sum != 0) __atomic_store_n((long *)at[a[0]], 1, __ATOMIC_RELAXED);                                                           \
    }                                                                                                                                  \
  }

FINITE(finite_float32, float)
FINITE(finite_float64, double)

/* Matrix products by a BLAS of Fortran's custom, whose matrices are stored by columns: C = A B is computed as its transpose.

   Numbers: place and offset of A, B, C; rows, columns, inner length; whether A, B are read transposed; lengths of a row of A, B, C as they
   are stored; elements from one product of a batch to the next in A, B, C; rows of C, or columns if the last number says so, that are a unit
   of work of a single product; 0: units are the products. */
typedef void (*Sgemm)(char *, char *, int *, int *, int *, float *, float *, int *, float *, int *, float *, float *, int *);
typedef void (*Dgemm)(char *, char *, int *, int *, int *, double *, double *, int *, double *, int *, double *, double *, int *);
static Sgemm sgemm;
static Dgemm dgemm;

void use_blas(void *single, void *twice) {
  sgemm = (Sgemm)single;
  dgemm = (Dgemm)twice;
}

/* Small products of few rows and a long inner axis, as gradients of weights are: BLAS takes two to five times longer. LANES columns and
   four rows at a time; where B is not stored so that LANES neighbours of a row lie together, it is copied first. Returns 0 where BLAS is as
   good. */
enum { LANES = 16, MOST_MADE = 1 << 15, MOST_COPIED = 4096 };

#define SMALL(name, type)                                                                                                              \
  static int name(const type *x, const type *y, type *z, long rows, long columns, long inner, int turn_x, int turn_y, long of_x,       \
                  long of_y, long of_z) {                                                                                              \
    const long wide = (columns + LANES - 1) / LANES * LANES;                                                                           \
    const int direct = !turn_y && columns == wide;                                                                                     \
    if (2 * rows > inner || columns < LANES / 2 || rows * wide * inner > MOST_MADE || (!direct && wide * inner > MOST_COPIED)) return 0;                   \
    type copy[MOST_COPIED];                                                                                                            \
    if (!direct) {                                                                                                                     \
      for (long k = 0; k < inner; k++) {                                                                                               \
        for (long j = 0; j < columns; j++) copy[k * wide + j] = turn_y ? y[j * of_y + k] : y[k * of_y + j];                            \
        for (long j = columns; j < wide; j++) copy[k * wide + j] = 0;                                                                  \
      }                                                                                                                                \
      y = copy;                                                                                                                        \
      of_y = wide;                                                                                                                     \
    }                                                                                                                                  \
    const long down = turn_x ? 1 : of_x, along = turn_x ? of_x : 1;                                                                    \
    for (long begin = 0; begin < columns; begin += LANES) {                                                                            \
      const long width = columns - begin < LANES ? columns - begin : LANES;                                                            \
      for (long i = 0; i < rows; i += 4) {                                                                                             \
        const long more = rows - i < 4 ? rows - i : 4;                                                                                 \
        const type *x0 = x + i * down, *x1 = more > 1 ? x0 + down : x0, *x2 = more > 2 ? x0 + 2 * down : x0,                           \
                   *x3 = more > 3 ? x0 + 3 * down : x0;                                                                                \
        type sum[4][LANES] = {{0}};                                                                                                    \
        for (long k = 0; k < inner; k++) {                                                                                             \
          const type *row = y + k * of_y + begin;                                                                                      \
          const type a = x0[k * along], b = x1[k * along], c = x2[k * along], d = x3[k * along];                                       \
          _Pragma("omp simd") for (int j = 0; j < LANES; j++) {                                                                        \
            sum[0][j] += a * row[j];                                                                                                   \
            sum[1][j] += b * row[j];                                                                                                   \
            sum[2][j] += c * row[j];                                                                                                   \
            sum[3][j] += d * row[j];                                                                                                   \
          }                                                                                                                            \
        }                                                                                                                              \
        for (long r = 0; r < more; r++) memcpy(z + (i + r) * of_z + begin, sum[r], (size_t)width * sizeof(type));                      \
      }                                                                                                                                \
    }                                                                                                                                  \
    return 1;                                                                                                                          \
  }

SMALL(small_float32, float)
SMALL(small_float64, double)

#define PRODUCT(name, type, gemm, small)                                                                                                      \
  void name(char *const *at, const long *a, long first, long last, long chunk) {                                                      \
    (void)chunk;                                                                                                                       \
    type *x = (type *)(at[a[0]] + a[1]), *y = (type *)(at[a[2]] + a[3]), *z = (type *)(at[a[4]] + a[5]), one = 1, zero = 0;            \
    int rows = (int)a[6], columns = (int)a[7], inner = (int)a[8], of_x = (int)a[11], of_y = (int)a[12], of_z = (int)a[13];             \
    char turn_x = a[9] ? 'T' : 'N', turn_y = a[10] ? 'T' : 'N';                                                                        \
    if (a[17]) {                                                                                                                       \
      const long begin = first * a[17], whole = a[18] ? columns : rows, end = last * a[17] < whole ? last * a[17] : whole;             \
      if (a[18]) y += begin * (a[10] ? of_y : 1), z += begin, columns = (int)(end - begin);                                            \
      else x += begin * (a[9] ? 1 : of_x), z += begin * of_z, rows = (int)(end - begin);                                               \
      first = 0, last = 1;                                                                                                             \
    }                                                                                                                                  \
    for (long i = first; i < last; i++)                                                                                                \
      if (!small(x + i * a[14], y + i * a[15], z + i * a[16], rows, columns, inner, (int)a[9], (int)a[10], of_x, of_y, of_z))          \
        gemm(&turn_y, &turn_x, &columns, &rows, &inner, &one, y + i * a[15], &of_y, x + i * a[14], &of_x, &zero, z + i * a[16], &of_z);  \
  }

PRODUCT(product_float32, float, sgemm, small_float32)
PRODUCT(product_float64, double, dgemm, small_float64)
