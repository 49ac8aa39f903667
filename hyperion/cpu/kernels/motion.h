/* Which cells are in motion: outside a span of each row every array is exactly zero, and stays so until something within reach of a cell
   is not. A part of a sweep is cut to what the spans of its rows and of those within reach say, and what it has made grows them. Spans are
   whole vectors. Before that a tile has a box, of what moves as it begins and of what sources add, grown by as far as its sweeps reach.
   Stands between history.h and timeloop.c. */

/* The step of the run that a loop count stands for. */
static long step_at(const Context *c, long m) { return c->direction > 0 ? m : c->steps - 1 - m; }

static int kept(const Context *c, long n) { return n >= c->from && n < c->to && c->slot[n] >= 0; }

static char *slot(const Context *c, long n) {
  return c->history + (c->place ? c->place[n] : (c->slot[n] - c->base) * c->histories * c->kept_bytes);
}

/* The column of a tap. */
static long column(const Context *c, const Points *p, long k) {
  return AXES == 2 ? p->line[k] : p->at[k] % c->table[0][2 * p->array].stride[1];
}

static Part whole(const Context *c) {
  Part p = {{0, 0, 0}, {1, 1, 1}};
  for (int a = 0; a < AXES; a++) p.to[a] = c->cells[a];
  return p;
}

static int is_empty(const Part *p) {
  int out = 0;
  for (int a = 0; a < AXES; a++) out |= p->from[a] >= p->to[a];
  return out;
}

/* Cut a part to a box; whether anything is left. */
static int meets(Part *p, const Part *box) {
  for (int a = 0; a < AXES; a++) {
    if (p->from[a] < box->from[a]) p->from[a] = box->from[a];
    if (p->to[a] > box->to[a]) p->to[a] = box->to[a];
  }
  return !is_empty(p);
}

/* Make a box hold another one. */
static void join(Part *p, const Part *other) {
  if (is_empty(other)) return;
  if (is_empty(p)) { *p = *other; return; }
  for (int a = 0; a < AXES; a++) {
    if (other->from[a] < p->from[a]) p->from[a] = other->from[a];
    if (other->to[a] > p->to[a]) p->to[a] = other->to[a];
  }
}

/* Rows of the region, and where the span of one lies among Spans: the first vector of each row, then where each row's vectors end. */
static long rows_of(const Context *c) { return c->cells[0] * (AXES == 3 ? c->cells[1] : 1); }
static long row_number(const Context *c, long z, long y) { return AXES == 3 ? z * c->cells[1] + y : z; }

#define EACH_ROW(p) for (long z = (p)->from[0]; z < (p)->to[0]; z++) \
  for (long y = AXES == 3 ? (p)->from[1] : 0; y < (AXES == 3 ? (p)->to[1] : 1); y++)

/* The box of what Spans have in a part of the region. Whether there is anything. */
static int extent(const Context *c, const uint16_t *spans, const Part *part, Part *out) {
  enum { AXIS = AXES - 2 };                            /* along which rows follow each other */
  const long rows = rows_of(c), n = part->to[AXIS] - part->from[AXIS];
  uint16_t low[n], high[n], from = UINT16_MAX, to = 0;
  *out = (Part){{0, 0, 0}, {0, 0, 0}};
  memset(low, 0xff, sizeof low);
  memset(high, 0, sizeof high);
  for (long z = part->from[0]; z < (AXES == 3 ? part->to[0] : part->from[0] + 1); z++) {
    const uint16_t *first = spans + row_number(c, z, part->from[1]), *end = first + rows;
    uint16_t least = UINT16_MAX, most = 0;
    for (long i = 0; i < n; i++) {
      low[i] = MIN(low[i], first[i]);
      high[i] = MAX(high[i], end[i]);
      least = MIN(least, first[i]);
      most = MAX(most, end[i]);
    }
    if (least >= most) continue;
    if (AXES == 3) { out->from[0] = from < to ? out->from[0] : z; out->to[0] = z + 1; }
    from = MIN(from, least);
    to = MAX(to, most);
  }
  if (from >= to) return 0;
  long a = 0, b = n;
  while (low[a] >= high[a]) a++;
  while (low[b - 1] >= high[b - 1]) b--;
  out->from[AXIS] = part->from[AXIS] + a;
  out->to[AXIS] = part->from[AXIS] + b;
  out->from[AXES - 1] = from * VL;
  out->to[AXES - 1] = to * VL;
  return 1;
}

/* Let Spans have nothing, or one box. */
static void fill_spans(const Context *c, uint16_t *spans, const Part *box) {
  const long rows = rows_of(c);
  memset(spans, 0xff, rows * sizeof(uint16_t));
  memset(spans + rows, 0, rows * sizeof(uint16_t));
  if (!is_empty(box)) EACH_ROW(box) {
    spans[row_number(c, z, y)] = (uint16_t)(box->from[AXES - 1] / VL);
    spans[rows + row_number(c, z, y)] = (uint16_t)((box->to[AXES - 1] + VL - 1) / VL);
  }
}

static int vector_moves(const real *p) {
  int moves = 0;
  for (long x = 0; x < VL; x++) moves |= p[x] != 0;
  return moves;
}

/* The part of an array's cells within a part of the region: a memory variable has those of a slab. Whether there are any. */
static int holds(const Context *c, int array, int side, Part *part) {
  const int axis = slab_of[array];
  if (axis < 0) return 1;
  Part slab = whole(c);
  slab.from[axis] = side ? c->high[axis] : 0;
  slab.to[axis] = side ? c->cells[axis] : c->low[axis];
  return meets(part, &slab);
}

/* Add to what moves where an array is not zero in a part. */
static void note_array(const Context *c, const Array *a, const Part *p) {
  const long rows = rows_of(c), first = p->from[AXES - 1] / VL, last = (p->to[AXES - 1] + VL - 1) / VL;
  EACH_ROW(p) {
    const real *row = a->p + z * a->stride[0] + (AXES == 3 ? y * a->stride[1] : 0);
    uint16_t *from = c->moves + row_number(c, z, y), *to = from + rows;
    long low = first, high = last;
    while (low < MIN(*from, last) && !vector_moves(row + low * VL)) low++;
    if (low == last) continue;                         /* nothing moves, or moved */
    while (high > low && high > *to && !vector_moves(row + (high - 1) * VL)) high--;
    if (low < *from) *from = (uint16_t)low;
    if (high > low && high > *to) *to = (uint16_t)high;
  }
}

/* The same of what a sweep has written, or (stage -1) of all arrays. */
static void note(const Context *c, int stage, long m, const Part *part) {
  const Array *t = c->table[m & 1];
  for (int w = 0; stage >= 0 && w < WRITTEN; w++) if (written[stage][w] >= 0) note_array(c, t + 2 * written[stage][w], part);
  for (int i = 0; i < ARRAYS; i++) for (int side = 0; side < (slab_of[i] < 0 ? stage < 0 : 2); side++) {
    Part p = *part;
    if (holds(c, i, side, &p)) note_array(c, t + 2 * i + side, &p);
  }
}

/* Set all arrays to zero in a row's columns. */
static void clear_row(const Context *c, long z, long y, long from, long to) {
  for (int i = 0; i < ARRAYS; i++) for (int side = 0; side < (slab_of[i] < 0 ? 1 : 2); side++) {
    Part p = {{z, y, 0}, {z + 1, y + 1, 1}};
    p.from[AXES - 1] = from;
    p.to[AXES - 1] = to;
    if (!holds(c, i, side, &p)) continue;
    const Array a = c->table[0][2 * i + side];
    real *row = a.p + z * a.stride[0] + (AXES == 3 ? y * a.stride[1] : 0);
    memset(row + p.from[AXES - 1], 0, (p.to[AXES - 1] - p.from[AXES - 1]) * sizeof(real));
  }
}

/* Add up the work of the planes of the tile's box: as far as is known, the vectors that move; in slabs about twice as much for each. */
static void weigh(const Context *c) {
  const long rows = rows_of(c), lines = AXES == 3 ? c->cells[1] : 1;
  double sum = 0.0;
  for (long z = 0; z < c->cells[0]; z++) {
    long vectors = c->resting ? lines : rows;          /* what a tile adds around it costs, too */
    const uint16_t *first = c->moves + z * lines, *end = first + rows;
    if (c->resting) for (long y = 0; y < lines; y++) vectors += end[y] > first[y] ? end[y] - first[y] : 0;
    c->work[z] = sum;
    if (z >= c->box.from[0] && z < c->box.to[0]) sum += (double)vectors * (z < c->low[0] || z >= c->high[0] ? 2.0 : 1.0);
  }
  c->work[c->cells[0]] = sum;
}

/* The box of the cells that data are injected into; they are added to what moves. */
static Part injected(const Context *c) {
  Part out = {{0, 0, 0}, {0, 0, 0}};
  const long rows = rows_of(c);
  for (long i = 0; i < c->injections; i++) {
    const Points *p = c->injection + i;
    for (long z = 0; z < c->size[0]; z++) for (long k = p->row[z]; k < p->row[z + 1]; k++) {
      const long vector = column(c, p, k) / VL;
      Part one = {{z, p->line[k], 0}, {z + 1, p->line[k] + 1, 1}};
      one.from[AXES - 1] = vector * VL;
      one.to[AXES - 1] = (vector + 1) * VL;
      join(&out, &one);
      uint16_t *from = c->moves + row_number(c, z, p->line[k]), *to = from + rows;
      *from = (uint16_t)MIN(*from, vector);
      *to = (uint16_t)MAX(*to, vector + 1);
    }
  }
  return out;
}

/* Find what moves as a call begins: what the last one left, unless arrays have been set since; then they are looked through. */
static void begin_motion(Context *c) {
  const Part all = whole(c), none = {{0, 0, 0}, {0, 0, 0}};
  int set = 1;
  for (int a = 0; a < AXES; a++) set &= c->moving.from[a] == 0 && c->moving.to[a] == c->cells[a];
  if (set || is_empty(&c->moving)) fill_spans(c, c->moves, &none);
  if (set) note(c, -1, 0, &all);
  c->sent = injected(c);
  extent(c, c->moves, &all, &c->moving);
}

/* How far so many sweeps reach from a cell at a distance from a slab: in it further, since memory variables are read that the sweep has
   just updated. */
static long distance(long count, long to_slab) {
  const long before = to_slab < 0 ? 0 : to_slab / REACH, outside = MIN(before, count);
  return REACH * (outside + (count - outside) * (LEVELS + 1));
}

/* Grow a box by as far as so many sweeps reach; along the last axis to whole grains. */
static void grow(const Context *c, Part *box, long count, long grain) {
  if (is_empty(box)) return;
  for (int a = 0; a < AXES; a++) {
    long from = box->from[a] - distance(count, box->from[a] - c->low[a]), to = box->to[a] + distance(count, c->high[a] - box->to[a]);
    if (a == AXES - 1) { from = MAX(from, 0) / grain * grain; to = (to + grain - 1) / grain * grain; }
    box->from[a] = MAX(from, 0);
    box->to[a] = MIN(to, c->cells[a]);
  }
}

/* Cut a part of a sweep to what moves within its reach, and to where an adjoint run stays. Whether anything is left. */
static int narrow(const Context *c, Part *part) {
  Part near = *part, box;
  for (int a = 0; a < AXES - 1; a++) {
    const long reach = distance(1, MIN(part->from[a] - c->low[a], c->high[a] - part->to[a]));
    near.from[a] = MAX(part->from[a] - reach, 0);
    near.to[a] = MIN(part->to[a] + reach, c->cells[a]);
  }
  if (!extent(c, c->moves, &near, &box)) return 0;
  grow(c, &box, 1, VL);
  if (!meets(part, &box)) return 0;
  return !c->within || (extent(c, c->limit, part, &box) && meets(part, &box));
}

/* Spans of a history of a step of the forward run: zeros where there is none, so beginnings are counted down from the largest number. */
static uint16_t *swept(const Context *c, long n, long history) { return c->swept + (n * c->histories + history) * 2 * rows_of(c); }

/* Note where the histories that a sweep makes lie. */
static void note_histories(const Context *c, int stage, long n, const Part *part) {
  const long rows = rows_of(c);
  for (long i = 0; i < c->histories; i++) if (kept_in[i] == stage) {
    uint16_t *spans = swept(c, n, i);
    EACH_ROW(part) {
      spans[row_number(c, z, y)] = (uint16_t)(UINT16_MAX - part->from[AXES - 1] / VL);
      spans[rows + row_number(c, z, y)] = (uint16_t)((part->to[AXES - 1] + VL - 1) / VL);
    }
  }
}

/* Cut a part, of one row, to where a history of a step lies. Whether anything is left. */
static int lies(const Context *c, long n, long history, long row, Part *part) {
  const uint16_t *spans = swept(c, n, history) + row;
  part->from[AXES - 1] = MAX(part->from[AXES - 1], (UINT16_MAX - spans[0]) * VL);
  part->to[AXES - 1] = MIN(part->to[AXES - 1], spans[rows_of(c)] * VL);
  return part->from[AXES - 1] < part->to[AXES - 1];
}

/* Find where the forward run has been in the steps of a tile; an adjoint run that stays there has it as its limit, too. */
static Part noted(const Context *c, long start, long steps) {
  Part out = {{0, 0, 0}, {0, 0, 0}};
  const Part none = out;
  const long one = step_at(c, start), other = step_at(c, start + MAX(steps, 1) - 1);
  const long from = MAX(MIN(one, other) - 1, c->from), to = MIN(MAX(one, other) + 1, c->to), rows = rows_of(c);
  for (long n = from; n < to; n++) join(&out, c->boxes + n);
  if (!c->within) return out;
  fill_spans(c, c->limit, c->swept ? &none : &out);
  if (c->swept) for (long n = from; n < to; n++) for (long i = 0; i < c->histories; i++) {
    const uint16_t *restrict spans = swept(c, n, i);
    uint16_t *restrict limit = c->limit;
    for (long r = 0; r < rows; r++) {
      const uint16_t first = (uint16_t)(UINT16_MAX - spans[r]);
      limit[r] = MIN(limit[r], first);
    }
    for (long r = rows; r < 2 * rows; r++) limit[r] = MAX(limit[r], spans[r]);
  }
  return out;
}

/* Set to zero what moves beyond the limit. */
static void leave(const Context *c) {
  const Part all = whole(c);
  const long rows = rows_of(c);
  EACH_ROW(&all) {
    uint16_t *from = c->moves + row_number(c, z, y), *to = from + rows;
    const uint16_t *least = c->limit + row_number(c, z, y), *most = least + rows;
    if (*from >= *to || (*from >= *least && *to <= *most)) continue;
    const long middle = MIN(MAX(*least, *from), *to), end = MAX(MIN(*most, *to), middle);
    if (*from < middle) clear_row(c, z, y, *from * VL, middle * VL);
    if (end < *to) clear_row(c, z, y, end * VL, *to * VL);
    *from = (uint16_t)(middle < end ? middle : UINT16_MAX);
    *to = (uint16_t)(middle < end ? end : 0);
  }
}

/* What so many sweeps of a tile reach. */
static Part reached(const Context *c, long count) {
  Part out = c->seed;
  grow(c, &out, count, BLOCK);
  meets(&out, &c->box);
  return out;
}

/* Find the box of a tile, from what moves before it. */
static void enter(Context *c, long start, long steps) {
  c->seed = c->box = whole(c);
  if (!c->resting) return;
  const Part back = c->boxes && c->direction < 0 ? noted(c, start, steps) : c->box;
  if (c->follows) { c->seed = c->box = back; return; }
  if (c->within) {
    /* Where the forward run is at rest no parameter matters, so what would reach the rest from there is not needed. */
    leave(c);
    extent(c, c->moves, &c->box, &c->moving);
    c->box = back;
  }
  c->seed = c->moving;
  join(&c->seed, &c->sent);
  if (c->beside) join(&c->seed, &back);                /* what is taken back goes on where the adjoint run is at rest */
  if (c->direction > 0 && c->boxes) for (long n = start; n < start + steps; n++) {
    c->boxes[n] = reached(c, (n + 1 - start) * SWEEPS);
    if (c->place) c->place[n + 1] = c->place[n] + (c->storing == 1 && kept(c, n) ? packed_bytes(c, c->boxes + n) : 0);
  }
  c->box = reached(c, steps * SWEEPS);
}
