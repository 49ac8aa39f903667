/* How histories lie in a slot: as computed, as bfloat16 (the upper half of a float), or as bytes with a scale per BLOCK numbers of a row.
   Stands after the generated kernels (it asks which sweep makes which history) and before timeloop.c. */
#define BLOCK 32

static long row_at(const Context *c, long z, long y) { return z * c->history_stride[0] + (AXES == 3 ? y * c->history_stride[1] : 0); }
static long row_length(const Context *c) { return c->history_stride[AXES - 2]; }
static long row_bytes(const Context *c) { return row_length(c) + (row_length(c) + BLOCK - 1) / BLOCK * (long)sizeof(float); }

static void pack_short(const real *restrict from, uint16_t *restrict to, long n) {
  #pragma omp simd
  for (long x = 0; x < n; x++) {
    const union { float value; uint32_t bits; } u = {(float)from[x]};
    to[x] = (uint16_t)((u.bits + 0x8000u) >> 16);
  }
}

/* The scale is the largest magnitude over 127; magnitudes of floats compare like their bits. */
static void pack_bytes(const real *restrict from, float *restrict scale, int8_t *restrict to, long n) {
  for (long start = 0; start < n; start += BLOCK) {
    const long count = MIN((long)BLOCK, n - start);
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
    const float inverse = largest.value > 1e-30f ? 127.0f / largest.value : 0.0f;
    scale[start / BLOCK] = largest.value / 127.0f;
    #pragma omp simd
    for (long x = 0; x < count; x++) {
      const float scaled = part[x] * inverse;
      to[start + x] = (int8_t)(int32_t)(scaled + (scaled < 0.0f ? -0.5f : 0.5f));
    }
  }
}

/* Pack a part of the histories that a sweep has made; `history` is where they lie as computed. */
static void pack(const Context *c, int stage, const real *history, char *slot, const Part *part) {
  const long rows = AXES == 3 ? c->cells[1] : 1, n = c->size[AXES - 1];
  for (long i = 0; i < c->histories; i++) {
    if (kept_in[i] != stage) continue;
    for (long z = part->from[0]; z < part->to[0]; z++) for (long y = AXES == 3 ? part->from[1] : 0; y < (AXES == 3 ? part->to[1] : 1); y++) {
      const real *from = history + i * c->history_size + row_at(c, z, y);
      char *to = slot + i * c->kept_bytes;
      if (c->format == 16) pack_short(from, (uint16_t *)to + row_at(c, z, y), n);
      else {
        to += (z * rows + y) * row_bytes(c);
        pack_bytes(from, (float *)to, (int8_t *)(to + row_bytes(c) - row_length(c)), n);
      }
    }
  }
}

/* Add the product of one row of a cotangent and of a history to an image. */
static void add_product(const Context *c, real *restrict image, const real *restrict cotangent, const char *restrict history, long z, long y) {
  const long n = c->size[AXES - 1], rows = AXES == 3 ? c->cells[1] : 1;
  if (c->format == 16) {
    const uint16_t *restrict kept = (const uint16_t *)history + row_at(c, z, y);
    #pragma omp simd
    for (long x = 0; x < n; x++) {
      const union { uint32_t bits; float value; } u = {(uint32_t)kept[x] << 16};
      image[x] += cotangent[x] * u.value;
    }
  } else if (c->format == 8) {
    const float *restrict scale = (const float *)(history + (z * rows + y) * row_bytes(c));
    const int8_t *restrict kept = (const int8_t *)scale + row_bytes(c) - row_length(c);
    for (long start = 0; start < n; start += BLOCK) {
      const float s = scale[start / BLOCK];
      const long end = MIN(start + BLOCK, n);
      #pragma omp simd
      for (long x = start; x < end; x++) image[x] += cotangent[x] * (s * (float)kept[x]);
    }
  } else {
    const real *restrict kept = (const real *)history + row_at(c, z, y);
    #pragma omp simd
    for (long x = 0; x < n; x++) image[x] += cotangent[x] * kept[x];
  }
}
