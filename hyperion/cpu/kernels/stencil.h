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
typedef real V __attribute__((vector_size(VECTOR_BYTES)));
typedef real Vu __attribute__((vector_size(VECTOR_BYTES), aligned(sizeof(real)), may_alias));
#define LD(p) (*(const Vu *)(p))
#define ST(p, v) (*(Vu *)(p) = (v))

/* A row read at a shift of n cells, cut from two neighbouring vectors where that is one instruction, else loaded. */
#if defined(__AVX512F__)
#define CUT(low, high, n) ((V)(sizeof(real) == 4 ? _mm512_alignr_epi32((__m512i)(high), (__m512i)(low), (n) & 15) \
                                                 : _mm512_alignr_epi64((__m512i)(high), (__m512i)(low), (n) & 7)))
/* A shift by a vector or more is no cut of two neighbours. */
#define SHIFTUP(p, now, next, n) ((n) < VL ? CUT(now, next, n) : (V)LD(p))
#define SHIFTDOWN(p, before, now, n) (-(n) <= VL ? CUT(before, now, n) : (V)LD(p))
#else
#define SHIFTUP(p, now, next, n) LD(p)
#define SHIFTDOWN(p, before, now, n) LD(p)
#endif

/* An array as the kernels see it: p points at cell (0, ..., 0) of the computed region; strides of all axes but the last, which is 1. */
typedef struct { real *p; long stride[2]; } Array;

/* Injections and receivers: `taps` weighted cells, sorted by plane of axis 0; taps of plane i are row[i] .. row[i + 1].
   A tap reads or writes data[step * traces + trace]; `offset` moves the step. */
typedef struct {
  long taps, traces, array, stage, offset, history;
  const int *row, *line;                     /* line: of each tap, its row along axis 1 of three */
  const long *at, *history_at;
  const real *weight, *history_weight;
  const int *trace;
  real *data;
} Points;

/* Image of a parameter: sum over kept steps of cotangent * history. */
typedef struct { long array, stage, offset, history; real *image; } Image;

/* What runs backwards in the interior: rows of cells [a, b) and [c, d) that are kept at every step, packed one after the other from
   `row[5 n]` on, {start, a, b, c, d} for row n. frame: of histories, outside the interior; ring: of arrays, around it. */
typedef struct {
  const long *frame, *ring, *array;
  long frame_size, ring_size, arrays;
  real *kept;                                /* per step: the frames of all histories, then the rings of all arrays before the step */
} Ring;

/* Part of the region: from[a] <= cell < to[a] along each axis; along the last one whole vectors. */
typedef struct { long from[3], to[3]; } Part;

typedef struct Context Context;
struct Context {
  long cells[3], size[3], low[3], high[3];   /* computed cells (whole vectors), true cells, where the interior begins and ends */
  long steps, first, last, from, to;         /* of the run; loop counts of this call; time steps whose data this call may touch */
  long tile, block, rows;                    /* steps a tile; planes and, in three dimensions, rows a block */
  long threads, direction;                   /* on this simulation; +1 forward or -1 backward */
  long base, storing;                        /* history: first slot held; 0 none, 1 write it, 2 add to images */
  long format, kept_bytes, scratch_size;     /* of a history in a slot: bits of a number (0: as computed), bytes; of a thread's scratch */
  long injections, receivers, images, histories, periodic;
  long history_size, history_stride[2];
  const Array *table[2];
  const real **profile;
  char *history;                             /* slots: each holds the kept step of all histories */
  const long *slot;                          /* per step: its slot, -1 if it is not kept */
  long *place;                               /* per step: where its slot begins, if slots take as much memory as moves; or 0 */
  const double *counts;                      /* per step: what it counts in the sums over kept steps */
  real *scratch;                             /* per thread: histories of the planes at hand, before they are packed */
  Points *injection, *receiver;
  Image *image;
  const Ring *ring;
  const Context *beside;                     /* of an adjoint run: a forward run taken back so many loop counts ahead of it, part by part */
  void (*undo)(const Context *, long, int, long, const Part *, real *);
  long ahead;
  /* What is at rest is left alone (motion.h). resting: whether to look for it; follows: whether to go where `boxes` say, within: nowhere
     else. */
  long resting, follows, within, sharing, now;      /* sharing: threads at work in this tile; now: its steps */
  Part moving, sent, seed, box;              /* not zero as the tile begins; where data are injected; both; all that the tile reaches */
  Part *boxes;                               /* per step, of the forward run */
  long *cut, *passed;                        /* the plane where each thread's share begins; how far the thread is in its share of a tile */
  double *work;                              /* of the planes before each one, in a step */
  uint16_t *moves, *limit, *swept;           /* spans: of what moves; of where an adjoint run stays; per step, of each history */
  long arrived, sense;
};

#define MIN(a, b) ((a) < (b) ? (a) : (b))
#define MAX(a, b) ((a) > (b) ? (a) : (b))
typedef void (*Kernel)(const Context *, const Array *, real *, const long *, const int *);
/* Blocks of a three-dimensional sweep: rows whose planes stay in the second-level cache, columns whose rows stay in the first. */
#ifndef ROWS
#define ROWS 32
#define COLUMNS 256
#endif
/* Pieces of slabs across them. */
#ifndef PIECE_ROWS
#define PIECE_ROWS (AXES == 3 ? 8 : 32)
#define PIECE_COLUMNS (AXES == 3 ? 64 : 128)
#endif

/* What one sweep runs in a box: kernels of memory variables by level and stretched axis, then the main kernel by the set of those axes. */
typedef struct { int levels; const Kernel (*before)[AXES]; const Kernel *main; } Sweep;

/* Run one sweep in a box of a slab. Memory variables are read shifted along their own axis only, and the box holds all of that axis' slab:
   so it is cut across the others into pieces that the second-level cache holds from one kernel to the next. */
static void slab(const Context *c, const Sweep *s, int mask, const Array *t, real *history, const long *box, const int *side) {
  long piece[3], at[3], part[6];
  for (int a = 0; a < AXES; a++) piece[a] = mask >> (AXES - 1 - a) & 1 ? box[2 * a + 1] - box[2 * a] : a == AXES - 1 ? PIECE_COLUMNS : PIECE_ROWS;
  piece[2] = AXES == 3 ? piece[2] : 1;
  for (at[0] = box[0]; at[0] < box[1]; at[0] += piece[0]) for (at[1] = box[2]; at[1] < box[3]; at[1] += piece[1])
    for (at[2] = AXES == 3 ? box[4] : 0; at[2] < (AXES == 3 ? box[5] : 1); at[2] += piece[2]) {
      for (int a = 0; a < AXES; a++) { part[2 * a] = at[a]; part[2 * a + 1] = MIN(at[a] + piece[a], box[2 * a + 1]); }
      for (int l = 0; l < s->levels; l++) for (int a = 0; a < AXES; a++)
        if (mask >> (AXES - 1 - a) & 1 && s->before[l][a]) s->before[l][a](c, t, history, part, side);
      s->main[mask](c, t, history, part, side);
    }
}

/* Run one sweep in a part of the region: the interior, and slabs by the set of axes stretched there. A part that meets a slab across holds
   all of it. */
static void boxes(const Context *c, const Sweep *s, const Array *t, real *history, const Part *part) {
  int place[3] = {0, 0, 0};
  for (place[0] = 0; place[0] < 3; place[0]++) for (place[1] = 0; place[1] < 3; place[1]++)
    for (place[2] = 0; place[2] < (AXES == 3 ? 3 : 1); place[2]++) {
      long box[6];
      int side[3], mask = 0, empty = 0;
      for (int a = 0; a < AXES; a++) {
        const long edge[4] = {0, c->low[a], c->high[a], c->cells[a]};
        box[2 * a] = edge[place[a]];
        box[2 * a + 1] = edge[place[a] + 1];
        if (box[2 * a] < part->from[a]) box[2 * a] = part->from[a];
        if (box[2 * a + 1] > part->to[a]) box[2 * a + 1] = part->to[a];
        side[a] = place[a] == 2;
        mask |= (place[a] != 1) << (AXES - 1 - a);
        empty |= box[2 * a] >= box[2 * a + 1];
      }
      if (empty || !s->main[mask] || (mask && c->ring && c->direction < 0)) continue;
      if (mask && s->levels) slab(c, s, mask, t, history, box, side);
      else s->main[mask](c, t, history, box, side);
    }
}
