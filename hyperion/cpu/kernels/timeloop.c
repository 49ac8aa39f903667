/* The time loop around generated sweeps: sources, receivers, histories and images per range of planes, split time tiling, threads. */

static int inside(const Context *c, const Points *p, long k, const Part *part) {
  if (p->line[k] < part->from[1] || p->line[k] >= part->to[1]) return 0;
  if (AXES == 2) return 1;
  const long x = column(c, p, k);
  return x >= part->from[2] && x < part->to[2];
}

/* Once a part of a sweep's arrays is final: inject sources, sample receivers, add to images; the histories are in `made`, or in slots. */
static void after(const Context *c, long thread, int stage, long m, const Part *part, real *history, const real *made) {
  const long first = part->from[0], last = part->to[0];
  const Array *t = c->table[m & 1];
  const long now = step_at(c, m);
  for (long i = 0; i < c->injections; i++) {
    const Points *p = c->injection + i;
    const long n = now + p->offset;
    if (p->stage != stage || n < c->from || n >= c->to) continue;
    real *a = t[2 * p->array].p;
    real *into = history && p->history >= 0 ? history + p->history * c->history_size : 0;
    for (long k = p->row[first]; k < p->row[last]; k++) if (inside(c, p, k, part)) {
      const real value = p->data[n * p->traces + p->trace[k]];
      a[p->at[k]] += p->weight[k] * value;
      if (into) into[p->history_at[k]] += p->history_weight[k] * value;
    }
  }
  for (long i = 0; i < c->receivers; i++) {
    const Points *p = c->receiver + i;
    const long n = now + p->offset;
    if (p->stage != stage || n < (c->direction > 0 ? 0 : c->from) || n >= (c->direction > 0 ? c->steps : c->to)) continue;
    const real *a = t[2 * p->array].p;
    real *out = p->data + (thread * c->steps + n) * p->traces;   /* taps of one receiver may belong to planes of two threads */
    for (long k = p->row[first]; k < p->row[last]; k++) if (inside(c, p, k, part)) out[p->trace[k]] += p->weight[k] * a[p->at[k]];
  }
  if (c->storing != 2) return;
  for (long i = 0; i < c->images; i++) {
    const Image *im = c->image + i;
    const long n = now + im->offset;
    if (im->stage != stage || !kept(c, n)) continue;
    const char *history = made ? (const char *)made : slot(c, n);
    const Array a = t[2 * im->array];
    const Part box = c->boxes ? c->boxes[n] : whole(c);
    Part p = *part;                                    /* the forward run has left a history in its box only */
    if (!meets(&p, &box)) continue;
    for (long z = p.from[0]; z < p.to[0]; z++) for (long y = AXES == 3 ? p.from[1] : 0; y < (AXES == 3 ? p.to[1] : 1); y++) {
      const real *from = a.p + z * a.stride[0] + (AXES == 3 ? y * a.stride[1] : 0);
      const char *kept = c->format ? packed_row(c, history, &box, im->history, z, y)
                                   : history + im->history * c->kept_bytes + row_at(c, z, y) * (long)sizeof(real);
      Part row = p;
      if (!c->swept || lies(c, n, im->history, row_number(c, z, y), &row))
        add_product(c, im->image + row_at(c, z, y), from, kept, &row, &box, (real)c->counts[n]);
    }
  }
}

/* Forward: keep the rings of what the sweep will overwrite, and the frames of the histories that it makes. */
static void advance_keeping(const Context *c, long thread, int stage, long m, const Part *part) {
  real *history = c->scratch + thread * c->scratch_size - row_at(c, part->from[0], 0);
  copy_rings(c, stage, m, m, part, 1);
  sweep(c, stage, m, part, history);
  after(c, thread, stage, m, part, history, 0);
  copy_frames(c, stage, m, history, part, 1);
  if (c->resting) note(c, stage, m, part);
}

/* Backwards: the interior by itself, the rest as it was kept. The histories of the step are left in `history`. */
void undo(const Context *c, long thread, int stage, long m, const Part *given, real *history) {
  const long now = step_at(c, m);
  Part moved = *given, *part = &moved;
  if (c->boxes && !meets(part, c->boxes + now)) return;
  sweep(c, stage, m, part, history);
  after(c, thread, stage, m, part, history, 0);
  copy_frames(c, stage, now, history, part, 0);
  copy_rings(c, stage, m, now, part, 0);
}

/* An adjoint run beside a forward run taken back, each of one sweep: histories are used while they are in the cache, and not kept. */
static void advance_beside(const Context *c, long thread, int stage, long m, const Part *part) {
  real *made = c->scratch + thread * c->scratch_size - row_at(c, part->from[0], 0);
  if (m + c->ahead < c->last) c->undo(c->beside, thread, stage, m + c->ahead, part, made);
  Part moved = *part;
  if (c->resting && !narrow(c, &moved)) return;
  sweep(c, stage, m, &moved, 0);
  after(c, thread, stage, m, &moved, 0, made);
  if (c->resting) note(c, stage, m, &moved);
}

static void advance(const Context *c, long thread, int stage, long m, const Part *given) {
  if (c->ring && c->direction > 0) { advance_keeping(c, thread, stage, m, given); return; }
  if (c->ring) { undo(c, thread, stage, m, given, (real *)slot(c, step_at(c, m))); return; }
  if (c->beside) { advance_beside(c, thread, stage, m, given); return; }
  Part moved = *given, *part = &moved;
  if (c->resting && !narrow(c, part)) return;
  const long now = step_at(c, m);
  char *kept_here = c->storing == 1 && kept(c, now) ? slot(c, now) : 0;
  /* The kernels number the planes from 0; the scratch holds those at hand only, so that it stays in the cache. */
  real *history = !kept_here || !c->format ? (real *)kept_here : c->scratch + thread * c->scratch_size - row_at(c, part->from[0], 0);
  /* The adjoint run reads coefficients that the forward run recorded at every step, as computed. */
  sweep(c, stage, m, part, RECORDED ? (real *)slot(c, now) : history);
  after(c, thread, stage, m, part, history, 0);
  if (c->resting) note(c, stage, m, part);
  if (c->storing == 1 && c->swept) note_histories(c, stage, now, part);
  if (!kept_here || !c->format) return;
  const Part box = c->boxes ? c->boxes[now] : whole(c);
  pack(c, stage, history, kept_here, part, &box);
}

/* Threads of one simulation meet here: spin a little, then yield. */
static void barrier(Context *c) {
  const long sense = __atomic_load_n(&c->sense, __ATOMIC_ACQUIRE);
  if (__atomic_add_fetch(&c->arrived, 1, __ATOMIC_ACQ_REL) == c->threads) {
    __atomic_store_n(&c->arrived, 0, __ATOMIC_RELAXED);
    __atomic_store_n(&c->sense, sense + 1, __ATOMIC_RELEASE);
    return;
  }
  for (long spins = 0; __atomic_load_n(&c->sense, __ATOMIC_ACQUIRE) == sense; spins++) {
#if defined(__x86_64__)
    if (spins < 500) { _mm_pause(); continue; }
#endif
    sched_yield();
  }
}

/* Fill the halos of what a sweep wrote from the other side of every periodic axis. */
static void wrap(const Context *c, int stage, long m) {
  for (int w = 0; w < WRITTEN; w++) {
    if (written[stage][w] < 0) continue;
    const Array a = c->table[m & 1][2 * written[stage][w]];
    for (int axis = 0; axis < AXES; axis++) {
      if (!(c->periodic >> axis & 1)) continue;
      long stride[3] = {0, 0, 0}, count[3] = {1, 1, 1};
      for (int k = 0; k < AXES; k++) { stride[k] = k < AXES - 1 ? a.stride[k] : 1; count[k] = c->size[k]; }
      const long s = stride[axis], n = count[axis];
      count[axis] = 1;
      for (long i = 0; i < count[0]; i++) for (long j = 0; j < count[1]; j++) for (long k = 0; k < count[2]; k++) {
        real *p = a.p + i * stride[0] + j * stride[1] + k * stride[2];
        for (long h = 0; h < REACH; h++) { p[-(h + 1) * s] = p[(n - 1 - h) * s]; p[(n + h) * s] = p[h * s]; }
      }
    }
  }
}

typedef struct { Context *c; long thread; int *gate; } Job;   /* gate: 0 wait, 1 go, 2 give up */

/* Where a block of an axis that begins at `at` ends. A sweep with pre-sweeps reads memory variables shifted that it has just updated: where
   there are such, the slabs at the axis' ends lie wholly in the first and in the last block, whichever sweep of a tile has come. */
static long block_end(long at, long begin, long end, long low, long high, long block, long count) {
  const long least = low + REACH * (count - 1);
  long to = at + block;
  if (LEVELS && at == begin && to < least) to = least;
  return to + block / 2 >= (LEVELS ? high : end) ? end : to;
}

/* Let `sharing` threads have shares of the same work in a tile of so many sweeps: a chunk of planes, and the seam at its end. Slabs of
   axis 0 lie wholly with the first and the last. Whether all are wide enough. */
static int cut(Context *c, long count) {
  const double *before = c->work, all = before[c->box.to[0]], seam = 0.5 * REACH * (double)(count - 1);
  const long least = c->low[0] + REACH * (count + 1), most = c->high[0] - REACH * (count + 1);
  int wide = 1;
  c->cut[0] = c->box.from[0];
  for (long k = 1, z = c->box.from[0]; k <= c->threads; k++) {
    const double wanted = all * (double)k / (double)c->sharing;
    while (k < c->sharing && z < c->box.to[0] && before[z] + seam * (before[z + 1] - before[z]) < wanted) z++;
    c->cut[k] = k < c->sharing ? MAX(MIN(z, most), least) : c->box.to[0];
    if (k <= c->sharing) wide &= c->cut[k] - c->cut[k - 1] >= 2 * REACH * count;
  }
  return wide;
}

/* Steps of the next tile, and how many threads share it: as many as asked for where the box is deep enough, else fewer. */
static void open_tile(Context *c, long start) {
  long steps = MIN(c->tile, c->last - start);
  for (;; steps = MAX(steps / 2, 1)) {
    enter(c, start, steps);
    const long depth = c->box.to[0] - c->box.from[0], share_least = 2 * REACH * steps * SWEEPS + c->block;
    if (!c->resting || steps == 1 || is_empty(&c->box) || depth >= c->threads * share_least) break;
  }
  weigh(c);
  for (c->sharing = c->threads; !cut(c, steps * SWEEPS) && c->sharing > 1;) c->sharing--;
  for (long k = 0; k < c->threads; k++) c->passed[k] = -1;
  c->now = steps;
}

/* Run the sweeps of a tile, sweep j on the planes [from[j], to[j]): in three dimensions in skewed blocks of rows, as `march` in planes. */
static void tile(const Context *c, long thread, long start, long count, const long *from, const long *to) {
  const long rows = AXES == 3 ? c->cells[1] : 1;
  for (long y0 = 0, y1; y0 < rows; y0 = y1) {
    y1 = AXES == 3 ? block_end(y0, 0, rows, c->low[1], c->high[1], c->rows, count) : rows;
    for (long j = 0; j < count; j++) {
      Part part = whole(c);
      part.from[0] = from[j];
      part.to[0] = to[j];
      if (AXES == 3) { part.from[1] = y0 < REACH * j ? 0 : y0 - REACH * j; part.to[1] = y1 == rows ? rows : y1 - REACH * j; }
      const Part box = reached(c, (j / SWEEPS + 1) * SWEEPS);    /* of the step: histories of all its sweeps are there */
      if (meets(&part, &box)) advance(c, thread, (int)(j % SWEEPS), start + j / SWEEPS, &part);
    }
  }
}

/* Wait until a thread's chunk is done before a plane. */
static void wait_for(const Context *c, long thread, long plane) {
  while (__atomic_load_n(c->passed + thread, __ATOMIC_ACQUIRE) < plane) sched_yield();
}

/* Split time tiling: in each tile of `tile` steps a thread marches skewed blocks of planes through its own, shrinking chunk; then it fills
   the seam between that and the next one, as soon as that is far enough from it. A sweep J of a tile is skewed by REACH * J planes. */
static void march(Context *c, long thread) {
  const long n = c->cells[0];
  for (long start = c->first, steps; start < c->last; start += steps) {
    steps = c->now;
    const long count = steps * SWEEPS, first = thread == 0, final = thread >= c->sharing - 1;
    const long begin = c->cut[thread], end = c->cut[thread + 1];
    long from[count], to[count];
    for (long z0 = begin, z1; z0 < end; z0 = z1) {
      z1 = block_end(z0, begin, end, first ? c->low[0] : begin, final ? c->high[0] : end, c->block, count);
      for (long j = 0; j < count; j++) {
        const long bound = first ? 0 : begin + REACH * j;
        from[j] = z0 == begin || z0 - REACH * j < bound ? bound : z0 - REACH * j;
        to[j] = z1 < end ? z1 - REACH * j : final ? n : end - REACH * j;
      }
      tile(c, thread, start, count, from, to);
      if (z1 < end) __atomic_store_n(c->passed + thread, z1, __ATOMIC_RELEASE);
    }
    __atomic_store_n(c->passed + thread, n, __ATOMIC_RELEASE);
    if (count > 1 && !final) {
      for (long j = 0; j < count; j++) { from[j] = end - REACH * j; to[j] = end + REACH * j; }
      wait_for(c, thread + 1, MIN(n, end + REACH * (2 * count + 1)));
      tile(c, thread, start, count, from, to);
    }
    barrier(c);
    if (thread == 0) {
      const Part all = whole(c);
      if (c->resting && !c->follows) extent(c, c->moves, &all, &c->moving);
      if (start + steps < c->last) open_tile(c, start + steps);
    }
    barrier(c);
  }
}

/* Periodic axes need their halos after every sweep: no tiling. */
static void march_periodic(Context *c, long thread) {
  Part part = whole(c);
  part.from[0] = c->cells[0] * thread / c->threads;
  part.to[0] = c->cells[0] * (thread + 1) / c->threads;
  for (long m = c->first; m < c->last; m++) for (int stage = 0; stage < SWEEPS; stage++) {
    advance(c, thread, stage, m, &part);
    barrier(c);
    if (thread == 0) wrap(c, stage, m);
    barrier(c);
  }
}

static void *work(void *argument) {
  const Job *job = argument;
  int gate;
  while (!(gate = __atomic_load_n(job->gate, __ATOMIC_ACQUIRE))) sched_yield();
  if (gate == 2) return 0;
#if defined(__x86_64__)
  const unsigned before = _mm_getcsr();
  _mm_setcsr(before | 0x8040);                         /* flush denormals to zero: they cost a hundredfold in decaying fields */
#endif
  (job->c->periodic ? march_periodic : march)(job->c, job->thread);
#if defined(__x86_64__)
  _mm_setcsr(before);
#endif
  return 0;
}

/* Advance several simulations, each on its own threads, by their loop counts [first, last). Returns 0, or 1 if threads could not start. */
int run(Context **contexts, long count) {
  enum { MOST = 256 };
  pthread_t handle[MOST];
  Job job[MOST];
  int gate = 0;
  long jobs = 0, started = 1;
  for (long i = 0; i < count; i++) {
    for (long k = 0; k < contexts[i]->threads; k++) {
      if (jobs == MOST) return 1;
      job[jobs++] = (Job){contexts[i], k, &gate};
    }
  }
  while (started < jobs && !pthread_create(handle + started, 0, work, job + started)) started++;
  if (started == jobs) for (long i = 0; i < count; i++) {
    Context *c = contexts[i];
    c->arrived = c->sense = 0;
    if (c->resting && !c->follows) begin_motion(c);
    open_tile(c, c->first);
    /* What meets the state this call starts from: data and images, halos; forward, receivers at time zero. */
    if (c->direction < 0 || c->first == 0) for (int stage = 0; stage < SWEEPS; stage++) {
      after(c, 0, stage, c->first - 1, &c->box, 0, 0);
      if (c->periodic) wrap(c, stage, c->first - 1);
    }
  }
  __atomic_store_n(&gate, started == jobs ? 1 : 2, __ATOMIC_RELEASE);
  if (started == jobs) work(job);
  for (long i = 1; i < started; i++) pthread_join(handle[i], 0);
  return started < jobs;
}

/* Whether all n values are finite; by their bits, so that no compiler flag can fold it away. */
int all_finite(const real *p, long n) {
  unsigned bad = 0;
  for (long i = 0; i < n; i++) {
    if (sizeof(real) == 4) { uint32_t b; memcpy(&b, p + i, 4); bad |= (b & 0x7f800000u) == 0x7f800000u; }
    else { uint64_t b; memcpy(&b, p + i, 8); bad |= (b & 0x7ff0000000000000u) == 0x7ff0000000000000u; }
  }
  return !bad;
}
