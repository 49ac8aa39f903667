/* Types and macros of generated stencil kernels. Compiled with -DREAL=float|double -DAXES=2|3. */
#include <pthread.h>
#include <sched.h>
#include <stdint.h>
#include <string.h>
#if defined(__x86_64__)
#include <immintrin.h>
#endif

#if defined(__AVX512F__)
#define VECTOR_BYTES 64
#elif defined(__AVX__)
#define VECTOR_BYTES 32
#else
#define VECTOR_BYTES 16
#endif

typedef REAL real;
#define VL ((long)(VECTOR_BYTES / sizeof(real)))
#define VLh (VL / 2)
typedef real V __attribute__((vector_size(VECTOR_BYTES)));
typedef real Vh __attribute__((vector_size(VECTOR_BYTES / 2)));
typedef real Vu __attribute__((vector_size(VECTOR_BYTES), aligned(sizeof(real)), may_alias));
typedef real Vhu __attribute__((vector_size(VECTOR_BYTES / 2), aligned(sizeof(real)), may_alias));
#define LD(p) (*(const Vu *)(p))
#define ST(p, v) (*(Vu *)(p) = (v))
#define LDh(p) (*(const Vhu *)(p))
#define STh(p, v) (*(Vhu *)(p) = (v))

/* A row read at a shift of n cells, cut from two neighbouring vectors where that is one instruction, else loaded. */
#if defined(__AVX512F__)
#define CUT(low, high, n) ((V)(sizeof(real) == 4 ? _mm512_alignr_epi32((__m512i)(high), (__m512i)(low), (n) & 15) \
                                                 : _mm512_alignr_epi64((__m512i)(high), (__m512i)(low), (n) & 7)))
/* A shift by a vector or more is no cut of two neighbours: high orders, and half vectors. */
#define SHIFTUP(p, now, next, n) ((n) < VL ? CUT(now, next, n) : (V)LD(p))
#define SHIFTDOWN(p, before, now, n) (-(n) <= VL ? CUT(before, now, n) : (V)LD(p))
#define CUTh(low, high, n) ((Vh)(sizeof(real) == 4 ? _mm256_alignr_epi32((__m256i)(high), (__m256i)(low), (n) & 7) \
                                                  : _mm256_alignr_epi64((__m256i)(high), (__m256i)(low), (n) & 3)))
#define SHIFTUPh(p, now, next, n) ((n) < VLh ? CUTh(now, next, n) : (Vh)LDh(p))
#define SHIFTDOWNh(p, before, now, n) (-(n) <= VLh ? CUTh(before, now, n) : (Vh)LDh(p))
#else
#define SHIFTUP(p, now, next, n) LD(p)
#define SHIFTDOWN(p, before, now, n) LD(p)
#define SHIFTUPh(p, now, next, n) LDh(p)
#define SHIFTDOWNh(p, before, now, n) LDh(p)
#endif

/* An array as the kernels see it: p points at cell (0, ..., 0) of the computed region; strides of all axes but the last, which is 1. */
typedef struct { real *p; long stride[2]; } Array;

/* Injections and receivers: `taps` weighted cells, sorted by plane of axis 0; taps of plane i are row[i] .. row[i + 1].
   A tap reads or writes data[step * traces + trace]; `offset` moves the step. */
typedef struct {
  long taps, traces, array, stage, offset, history;
  const int *row;
  const long *at, *history_at;
  const real *weight, *history_weight;
  const int *trace;
  real *data;
} Points;

/* Image of a parameter: sum over kept steps of cotangent * history. */
typedef struct { long array, stage, offset, history; real *image; } Image;

typedef struct {
  long cells[3], size[3], low[3], high[3];   /* computed cells (whole vectors), true cells, where the interior begins and ends */
  long steps, first, last, from, to;         /* of the run; loop counts of this call; time steps whose data this call may touch */
  long tile, block, threads, direction;      /* steps a tile, planes a block, threads on this simulation, +1 forward or -1 backward */
  long every, base, storing;                 /* history: every k-th step, first slot held; 0 none, 1 write it, 2 add to images */
  long format, kept_bytes, scratch_size;     /* of a history in a slot: bits of a number (0: as computed), bytes; of a thread's scratch */
  long injections, receivers, images, histories, periodic;
  long history_size, history_stride[2];
  long mirror[6];                            /* per axis and side: 0, or the parity (1, -1) of fields on nodes about the outermost node */
  const long *half;                          /* per array: bits of the axes along which it sits half a cell beyond the nodes */
  const Array *table[2];
  const real **profile;
  char *history;                             /* slots: each holds the kept step of all histories */
  real *scratch;                             /* per thread: histories of the planes at hand, before they are packed */
  Points *injection, *receiver;
  Image *image;
  long arrived, sense;
} Context;

#define MIN(a, b) ((a) < (b) ? (a) : (b))
typedef void (*Kernel)(const Context *, const Array *, real *, const long *, const int *);
/* Blocks of a three-dimensional sweep: rows whose planes stay in the second-level cache, columns whose rows stay in the first. */
#ifndef ROWS
#define ROWS 32
#define COLUMNS 128
#endif

/* Run a kernel per box of the region between planes [first, last): the interior, and slabs by the set of axes stretched there. */
static void boxes(const Context *c, const Kernel *kernels, const Array *t, real *history, long first, long last) {
  int part[3] = {0, 0, 0};
  for (part[0] = 0; part[0] < 3; part[0]++) for (part[1] = 0; part[1] < 3; part[1]++) for (part[2] = 0; part[2] < (AXES == 3 ? 3 : 1); part[2]++) {
    long box[6];
    int side[3], mask = 0, empty = 0;
    for (int a = 0; a < AXES; a++) {
      const long edge[4] = {0, c->low[a], c->high[a], c->cells[a]};
      box[2 * a] = edge[part[a]];
      box[2 * a + 1] = edge[part[a] + 1];
      if (a == 0 && box[0] < first) box[0] = first;
      if (a == 0 && box[1] > last) box[1] = last;
      side[a] = part[a] == 2;
      mask |= (part[a] != 1) << (AXES - 1 - a);
      empty |= box[2 * a] >= box[2 * a + 1];
    }
    if (!empty) kernels[mask](c, t, history, box, side);
  }
}

/* Run a kernel of memory variables on the slabs of one axis; those of axis 0 are whole in the first and in the last planes. */
static void slabs(const Context *c, Kernel kernel, int axis, const Array *t, long first, long last) {
  for (int high = 0; high < 2; high++) {
    long box[6];
    int side[3] = {0, 0, 0};
    for (int a = 0; a < AXES; a++) { box[2 * a] = 0; box[2 * a + 1] = c->cells[a]; }
    box[0] = first;
    box[1] = last;
    box[2 * axis] = high ? c->high[axis] : 0;
    box[2 * axis + 1] = high ? c->cells[axis] : c->low[axis];
    if (axis == 0 && (high ? last < c->cells[0] : first > 0)) continue;
    side[axis] = high;
    if (box[2 * axis] < box[2 * axis + 1]) kernel(c, t, 0, box, side);
  }
}
