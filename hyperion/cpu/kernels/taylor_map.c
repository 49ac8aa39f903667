/* Taylor coefficients of an elementwise operation, or their cotangents, in one pass over memory. Compiled after workers.h, maths.h and
   waves.h with -DREAL=float or double; LOADS and BODY below are replaced by the pointers in use and by the generated formula. */
enum { CHUNK = 8192 };                                   /* elements: every array's part fits the second cache */

struct Job { long size; const real *const *in; real *const *out; };

static void run_chunk(const Job *job, long chunk) {
  const long first = chunk * CHUNK, last = first + CHUNK < job->size ? first + CHUNK : job->size;
  LOADS
#pragma omp simd
  for (long i = first; i < last; i++) {
    BODY
  }
}

void run(long size, long threads, const real *const *in, real *const *out) {
  const Job job = {size, in, out};
  spread(&job, (size + CHUNK - 1) / CHUNK, threads);
}
