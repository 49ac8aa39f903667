/* Which cells are in motion: outside a box every array is exactly zero, and stays so until something within reach of a cell is not. The
   sweeps of a tile run in the box of what moves as the tile begins, and of what sources add, grown by as far as the tile's sweeps reach.
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

/* Whether all arrays are zero in a part of the region; or make them so. */
static int at_rest(const Context *c, const Part *part, int clear) {
  for (int i = 0; i < ARRAYS; i++) for (int side = 0; side < (slab_of[i] < 0 ? 1 : 2); side++) {
    Part p = *part, slab = whole(c);
    if (slab_of[i] >= 0) {
      slab.from[slab_of[i]] = side ? c->high[slab_of[i]] : 0;
      slab.to[slab_of[i]] = side ? c->cells[slab_of[i]] : c->low[slab_of[i]];
    }
    if (!meets(&p, &slab)) continue;
    const Array a = c->table[0][2 * i + side];
    const long first = p.from[AXES - 1], n = p.to[AXES - 1] - first;
    for (long z = p.from[0]; z < p.to[0]; z++) for (long y = AXES == 3 ? p.from[1] : 0; y < (AXES == 3 ? p.to[1] : 1); y++) {
      real *row = a.p + z * a.stride[0] + (AXES == 3 ? y * a.stride[1] : 0) + first;
      if (clear) { memset(row, 0, n * sizeof(real)); continue; }
      int moves = 0;
      for (long x = 0; x < n; x++) moves |= row[x] != 0;
      if (moves) return 0;
    }
  }
  return 1;
}

/* Cut a box to what moves. Along the last axis boxes begin and end at whole blocks of packed histories. */
static void trim(const Context *c, Part *box) {
  for (int a = 0; a < AXES; a++) {
    const long grain = a == AXES - 1 ? BLOCK : REACH;
    while (!is_empty(box)) {
      Part p = *box;
      p.to[a] = MIN(box->to[a], p.from[a] + grain);
      if (!at_rest(c, &p, 0)) break;
      box->from[a] = p.to[a];
    }
    while (!is_empty(box)) {
      Part p = *box;
      p.from[a] = a == AXES - 1 ? (p.to[a] - 1) / BLOCK * BLOCK : MAX(p.from[a], p.to[a] - grain);
      if (!at_rest(c, &p, 0)) break;
      box->to[a] = p.from[a];
    }
  }
}

/* The box of the cells that data are injected into. */
static Part injected(const Context *c) {
  Part out = {{0, 0, 0}, {0, 0, 0}};
  for (long i = 0; i < c->injections; i++) {
    const Points *p = c->injection + i;
    for (long z = 0; z < c->size[0]; z++) for (long k = p->row[z]; k < p->row[z + 1]; k++) {
      Part one = {{z, p->line[k], 0}, {z + 1, p->line[k] + 1, 1}};
      one.from[AXES - 1] = column(c, p, k) / BLOCK * BLOCK;
      one.to[AXES - 1] = MIN(one.from[AXES - 1] + BLOCK, c->cells[AXES - 1]);
      join(&out, &one);
    }
  }
  return out;
}

/* How far so many sweeps reach from a cell at a distance from a slab: in it further, since memory variables are read that the sweep has
   just updated. */
static long distance(long count, long to_slab) {
  const long before = to_slab < 0 ? 0 : to_slab / REACH, outside = MIN(before, count);
  return REACH * (outside + (count - outside) * (LEVELS + 1));
}

/* Grow a box by as far as so many sweeps reach. */
static void grow(const Context *c, Part *box, long count) {
  if (is_empty(box)) return;
  for (int a = 0; a < AXES; a++) {
    long from = box->from[a] - distance(count, box->from[a] - c->low[a]), to = box->to[a] + distance(count, c->high[a] - box->to[a]);
    if (a == AXES - 1) { from = MAX(from, 0) / BLOCK * BLOCK; to = (to + BLOCK - 1) / BLOCK * BLOCK; }
    box->from[a] = MAX(from, 0);
    box->to[a] = MIN(to, c->cells[a]);
  }
}

/* What the forward run touched in the steps of a tile. */
static Part noted(const Context *c, long start, long steps) {
  Part out = {{0, 0, 0}, {0, 0, 0}};
  const long one = step_at(c, start), other = step_at(c, start + MAX(steps, 1) - 1);
  for (long n = MAX(MIN(one, other) - 1, c->from); n <= MAX(one, other) && n < c->to; n++) join(&out, c->boxes + n);
  return out;
}

/* Set to zero what of a box lies outside another one, and cut it. */
static void leave(const Context *c, Part *box, const Part *inner) {
  for (int a = 0; a < AXES && !is_empty(box); a++) {
    Part low = *box, high = *box;
    low.to[a] = MIN(box->to[a], inner->from[a]);
    high.from[a] = MAX(box->from[a], inner->to[a]);
    if (!is_empty(&low)) at_rest(c, &low, 1);
    if (!is_empty(&high)) at_rest(c, &high, 1);
    box->from[a] = MAX(box->from[a], inner->from[a]);
    box->to[a] = MIN(box->to[a], inner->to[a]);
  }
}

/* What so many sweeps of a tile reach. */
static Part reached(const Context *c, long count) {
  Part out = c->seed;
  grow(c, &out, count);
  meets(&out, &c->box);
  return out;
}

/* Find the box of a tile, from what moves before it. */
static void enter(Context *c, long start, long steps) {
  c->seed = c->box = whole(c);
  if (!c->resting) return;
  const Part back = c->boxes && c->direction < 0 ? noted(c, start, steps) : c->box;
  if (c->follows) { c->seed = c->box = back; return; }
  c->seed = c->moving;
  join(&c->seed, &c->sent);
  if (c->within) {
    /* Where the forward run is at rest no parameter matters, so what would reach the rest from there is not needed. */
    leave(c, &c->moving, &back);
    c->box = back;
  }
  if (c->beside) join(&c->seed, &back);                /* what is taken back goes on where the adjoint run is at rest */
  if (c->direction > 0 && c->boxes) for (long n = start; n < start + steps; n++) {
    c->boxes[n] = reached(c, (n + 1 - start) * SWEEPS);
    if (c->place) c->place[n + 1] = c->place[n] + (c->storing == 1 && kept(c, n) ? packed_bytes(c, c->boxes + n) : 0);
  }
  c->box = reached(c, steps * SWEEPS);
}
