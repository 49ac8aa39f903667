/* How histories lie in a slot: as computed, or as whole numbers of 16 or 8 bits with a scale per BLOCK numbers of a row.
   Stands after the generated kernels (it asks which sweep makes which history) and before timeloop.c. */
#define BLOCK 32

static long row_at(const Context *c, long z, long y) { return z * c->history_stride[0] + (AXES == 3 ? y * c->history_stride[1] : 0); }

/* Where a row of a packed history lies in a slot: one after the other the rows of the box that moves in the step, each with its scales
   first; so a slot takes no more memory than moves. */
static char *packed_row(const Context *c, const char *slot, const Part *box, long history, long z, long y) {
  const long rows = AXES == 3 ? box->to[1] - box->from[1] : 1, width = box->to[AXES - 1] - box->from[AXES - 1];
  const long row = (history * (box->to[0] - box->from[0]) + z - box->from[0]) * rows + (AXES == 3 ? y - box->from[1] : 0);
  return (char *)slot + row * ((width + BLOCK - 1) / BLOCK * (long)sizeof(float) + width * c->format / 8);
}

/* The bytes that a slot of a box takes. */
static long packed_bytes(const Context *c, const Part *box) {
  return (packed_row(c, 0, box, c->histories, box->from[0], box->from[1]) - (char *)0 + 63) / 64 * 64;
}

static long scale_bytes(const Part *box) { return (box->to[AXES - 1] - box->from[AXES - 1] + BLOCK - 1) / BLOCK * (long)sizeof(float); }

/* Round n numbers of a row to whole multiples of their block's scale: its largest magnitude over the largest whole number. `first` numbers
   of the first block are not there. Magnitudes of floats compare like their bits. */
static void pack_row(const real *restrict from, float *restrict scale, void *restrict to, long bits, long n, long first) {
  const float limit = bits == 8 ? 127.0f : 32767.0f;
  for (long start = 0, block = 0, count; start < n; start += count, block++) {
    count = MIN(BLOCK - first, n - start);
    uint32_t most = 0;
    float part[BLOCK];
    for (long x = 0; x < count; x++) part[x] = (float)from[start + x];
    #pragma omp simd reduction(max : most)
    for (long x = 0; x < count; x++) {
      const union { float value; uint32_t bits; } u = {part[x]};
      const uint32_t magnitude = u.bits & 0x7fffffffu;
      most = magnitude > most ? magnitude : most;
    }
    const union { uint32_t bits; float value; } largest = {most};
    const float inverse = largest.value > 1e-30f ? limit / largest.value : 0.0f;
    scale[block] = largest.value / limit;
    first = 0;
    #pragma omp simd
    for (long x = 0; x < count; x++) {
      part[x] *= inverse;
      part[x] += part[x] < 0.0f ? -0.5f : 0.5f;
    }
    if (bits == 8) for (long x = 0; x < count; x++) ((int8_t *)to)[start + x] = (int8_t)(int32_t)part[x];
    else for (long x = 0; x < count; x++) ((int16_t *)to)[start + x] = (int16_t)(int32_t)part[x];
  }
}

/* Pack a part of the histories that a sweep has made; `history` is where they lie as computed, `box` what moves in the step. */
static void pack(const Context *c, int stage, const real *history, char *slot, const Part *part, const Part *box) {
  const long start = box->from[AXES - 1], first = part->from[AXES - 1], n = MIN(part->to[AXES - 1], c->size[AXES - 1]) - first;
  for (long i = 0; i < c->histories; i++) {
    if (kept_in[i] != stage) continue;
    for (long z = part->from[0]; z < part->to[0]; z++) for (long y = AXES == 3 ? part->from[1] : 0; y < (AXES == 3 ? part->to[1] : 1); y++) {
      char *to = packed_row(c, slot, box, i, z, y);
      const real *from = history + i * c->history_size + row_at(c, z, y) + first;
      pack_row(from, (float *)to + (first - start) / BLOCK, to + scale_bytes(box) + (first - start) * c->format / 8, c->format, n,
               first % BLOCK);
    }
  }
}

/* Add so many times the product of one row of a cotangent and of a history to an image, in the part's columns. */
static void add_product(const Context *c, real *restrict image, const real *restrict cotangent, const char *restrict history,
                        const Part *part, const Part *box, real times) {
  const long first = part->from[AXES - 1], n = MIN(part->to[AXES - 1], c->size[AXES - 1]);
  if (c->format) {
    const long shift = box->from[AXES - 1];
    const float *restrict scale = (const float *)history;
    const char *restrict kept = history + scale_bytes(box);
    for (long start = first, end; start < n; start = end) {
      end = MIN((start / BLOCK + 1) * BLOCK, n);
      const real s = times * scale[(start - shift) / BLOCK];
      if (c->format == 8) {
        const int8_t *restrict values = (const int8_t *)kept - shift;
        #pragma omp simd
        for (long x = start; x < end; x++) image[x] += cotangent[x] * (s * (real)values[x]);
      } else {
        const int16_t *restrict values = (const int16_t *)kept - shift;
        #pragma omp simd
        for (long x = start; x < end; x++) image[x] += cotangent[x] * (s * (real)values[x]);
      }
    }
  } else {
    const real *restrict kept = (const real *)history;
    #pragma omp simd
    for (long x = first; x < n; x++) image[x] += cotangent[x] * (times * kept[x]);
  }
}

/* Copy cells [a, b) of a row, as far as they lie in the part's columns, to (out) or from where they are packed. */
static void copy_cells(real *row, real *packed, long a, long b, const Part *part, int out) {
  const long first = MAX(a, part->from[AXES - 1]), n = MIN(b, part->to[AXES - 1]) - first;
  if (n > 0) memcpy(out ? packed + first - a : row + first, out ? row + first : packed + first - a, n * sizeof(real));
}

/* Copy the kept cells of an array's part to (out) or from where they are packed. */
static void copy_rows(const Context *c, const long *rows, real *array, long plane, long line, real *packed, const Part *part, int out) {
  const long count = AXES == 3 ? c->cells[1] : 1;
  for (long z = part->from[0]; z < part->to[0]; z++) for (long y = AXES == 3 ? part->from[1] : 0; y < (AXES == 3 ? part->to[1] : 1); y++) {
    const long *row = rows + 5 * (z * count + y);
    real *a = array + z * plane + (AXES == 3 ? y * line : 0), *p = packed + row[0];
    copy_cells(a, p, row[1], row[2], part, out);
    copy_cells(a, p + row[2] - row[1], row[3], row[4], part, out);
  }
}

/* Keep (out) or give back the frames of the histories that a sweep makes. */
static void copy_frames(const Context *c, int stage, long now, real *history, const Part *part, int out) {
  const Ring *r = c->ring;
  real *kept = r->kept + now * (c->histories * r->frame_size + r->arrays * r->ring_size);
  for (long i = 0; i < c->histories; i++) if (kept_in[i] == stage)
    copy_rows(c, r->frame, history + i * c->history_size, c->history_stride[0], c->history_stride[1], kept + i * r->frame_size, part, out);
}

/* The same of the rings of the arrays that it writes. */
static void copy_rings(const Context *c, int stage, long m, long now, const Part *part, int out) {
  const Ring *r = c->ring;
  real *kept = r->kept + now * (c->histories * r->frame_size + r->arrays * r->ring_size) + c->histories * r->frame_size;
  for (long i = 0; i < r->arrays; i++) for (int w = 0; w < WRITTEN; w++) if (written[stage][w] == r->array[i]) {
    const Array a = c->table[m & 1][2 * r->array[i]];
    copy_rows(c, r->ring, a.p, a.stride[0], a.stride[1], kept + i * r->ring_size, part, out);
  }
}
