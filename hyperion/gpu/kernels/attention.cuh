/* What the attention kernels share: which scores count, and how results are written. Compiled with -DMASK=n:

   0  a band: query i sees keys i + low <= j < i + high (no mask at all, causal, sliding windows)
   1  intervals: query i sees keys first[i] <= j < last[i] (documents, prefixes, and what they make together with bands)
   2  bits: query i sees key j if bit j % 32 of words[i][j / 32] is set (any other)

   Blocks of queries and keys in which nothing is seen are not visited; those in which all is seen are not masked. For a band both are
   arithmetic; else a list for each block holds 2 * number + (1: some are hidden) of those to visit. */

struct Mask {
    const int *first, *last;            /* (masks, queries), where MASK is 1 */
    const u32 *words;                   /* (masks, queries, words in a row), where MASK is 2 */
    const int *counts, *lists;          /* (masks, blocks) and (masks, blocks, list length) */
    int of_batch, of_head;              /* number of the mask of (batch, head): batch * of_batch + head * of_head */
    int row_words, blocks, list_length;
    int low, high;                      /* of the band */
};

__device__ __forceinline__ long long mask_of(const Mask &mask, int batch, int head) {
    return (long long)batch * mask.of_batch + (long long)head * mask.of_head;
}

/* The blocks that one block meets: `count` of them, the numbers from `begin` on, or a list. */
struct Visits {
    int count, begin;
    const int *list;
};
/* for MASK 0: blocks of `size` that overlap with [low, high) */
__device__ __forceinline__ Visits visits_between(int low, int high, int size) {
    low = max(low, 0) / size;
    return Visits{max(0, (high + size - 1) / size - low), low, nullptr};
}
__device__ __forceinline__ Visits visits_listed(const Mask &mask, long long number, int block) {
    long long at = number * mask.blocks + block;
    return Visits{mask.counts[at], 0, mask.lists + at * mask.list_length};
}
/* The number of the j-th block to visit; for lists twice that, and 1 more if some of it is hidden. */
__device__ __forceinline__ int visit(const Visits &visits, int j) {
#if MASK
    return __ldg(visits.list + j);
#else
    return visits.begin + j;
#endif
}

/* ---- rows are queries: forward, and the gradient of q */

/* What the thread's two rows of 64 queries see: rows `row` and `row + 8`, columns `column + 8 i` and the one after. */
struct Rows {
    int row, column;
#if MASK == 2
    const u32 *words, *words_below;
    int row_words;
#else
    int first, last, first_below, last_below;
#endif
};
__device__ __forceinline__ Rows rows_of(const Mask &mask, long long number, int row, int column, int queries, int keys) {
    Rows rows;
    rows.row = row;
    rows.column = column;
#if MASK == 0
    rows.first = row + mask.low, rows.last = min(row + mask.high, keys);
    rows.first_below = rows.first + 8, rows.last_below = min(row + 8 + mask.high, keys);
#else
    long long base = number * queries;
    int at = min(row, queries - 1), below = min(row + 8, queries - 1);
#if MASK == 1
    rows.first = __ldg(mask.first + base + at), rows.last = __ldg(mask.last + base + at);
    rows.first_below = __ldg(mask.first + base + below), rows.last_below = __ldg(mask.last + base + below);
#else
    rows.row_words = mask.row_words;
    rows.words = mask.words + (base + at) * mask.row_words;
    rows.words_below = mask.words + (base + below) * mask.row_words;
#endif
#endif
    return rows;
}

/* -inf for what is hidden in the scores of a tile that begins at `key` */
template <int N> __device__ __forceinline__ void hide(float (&s)[N / 2], const Rows &rows, int key) {
    const float none = __int_as_float(0xff800000);          /* -inf */
#if MASK == 2
    #pragma unroll
    for (int w = 0; w < N / 32; w++) {
        int at = key / 32 + w;
        u32 word = at < rows.row_words ? __ldg(rows.words + at) >> rows.column : 0;
        u32 word_below = at < rows.row_words ? __ldg(rows.words_below + at) >> rows.column : 0;
        #pragma unroll
        for (int i = 0; i < 4; i++) {
            int e = 16 * w + 4 * i;
            if (!(word >> (8 * i) & 1)) s[e] = none;
            if (!(word >> (8 * i + 1) & 1)) s[e + 1] = none;
            if (!(word_below >> (8 * i) & 1)) s[e + 2] = none;
            if (!(word_below >> (8 * i + 1) & 1)) s[e + 3] = none;
        }
    }
#else
    /* j in [first, last) as one comparison of numbers without sign: j - first < last - first */
    int from = key + rows.column;
    u32 many = max(0, rows.last - rows.first), many_below = max(0, rows.last_below - rows.first_below);
    int start = from - rows.first, start_below = from - rows.first_below;
    #pragma unroll
    for (int i = 0; i < N / 8; i++) {
        if ((u32)(start + 8 * i) >= many) s[4 * i] = none;
        if ((u32)(start + 8 * i + 1) >= many) s[4 * i + 1] = none;
        if ((u32)(start_below + 8 * i) >= many_below) s[4 * i + 2] = none;
        if ((u32)(start_below + 8 * i + 1) >= many_below) s[4 * i + 3] = none;
    }
#endif
}
/* Whether something is hidden from the 64 queries from `row` on in a visited tile. */
template <int N> __device__ __forceinline__ bool hidden(const Mask &mask, int entry, int row, int keys) {
#if MASK
    return entry & 1;
#else
    int key = entry * N;
    return key < row + 63 + mask.low || key + N > min(keys, row + mask.high);
#endif
}
template <int N> __device__ __forceinline__ int key_of(int entry) {
#if MASK
    return (entry >> 1) * N;
#else
    return entry * N;
#endif
}

/* ---- rows are keys: the gradients of k and v. Columns `column + 8 i` of a tile of queries and the one after, keys `key` and `key + 8`. */

/* a load that the compiler leaves where it stands: many at a time would take registers that are not there */
__device__ __forceinline__ int load_now(const int *p) {
    int v;
    asm volatile("ld.global.nc.s32 %0, [%1];" : "=r"(v) : "l"(p) : "memory");
    return v;
}

/* 0 for what is hidden in the probabilities, turned, of a tile of queries that begins at `query` */
template <int N> __device__ __forceinline__ void hide_turned(float (&s)[N / 2], const Mask &mask, long long number, int key,
                                                                  int query, int queries, int keys) {
#if MASK == 0
    int first = key - mask.high + 1, width = max(0, mask.high - mask.low);
    u32 many = key < keys ? width : 0, many_below = key + 8 < keys ? width : 0;
    #pragma unroll
    for (int i = 0; i < N / 8; i++) {
        int start = query + 8 * i - first;
        if ((u32)start >= many) s[4 * i] = 0;
        if ((u32)(start + 1) >= many) s[4 * i + 1] = 0;
        if ((u32)(start - 8) >= many_below) s[4 * i + 2] = 0;
        if ((u32)(start - 7) >= many_below) s[4 * i + 3] = 0;
    }
#else
    #pragma unroll
    for (int i = 0; i < N / 8; i++) {
        #pragma unroll
        for (int e = 0; e < 2; e++) {
            int at = min(query + 8 * i + e, queries - 1);
#if MASK == 1
            int first = load_now(mask.first + number * queries + at), last = load_now(mask.last + number * queries + at);
            bool seen = key >= first && key < last, seen_below = key + 8 >= first && key + 8 < last;
#else
            const int *row = (const int *)mask.words + (number * queries + at) * mask.row_words;
            u32 word = key / 32 < mask.row_words ? (u32)load_now(row + key / 32) >> key % 32 : 0;
            bool seen = word & 1, seen_below = word >> 8 & 1;
#endif
            if (!seen) s[4 * i + e] = 0;
            if (!seen_below) s[4 * i + 2 + e] = 0;
        }
    }
#endif
}
/* Whether something is hidden between 64 keys from `key` on and a tile of queries. */
template <int N> __device__ __forceinline__ bool hidden_turned(const Mask &mask, int entry, int key, int keys) {
#if MASK
    return entry & 1;
#else
    int query = entry * N;
    return key < query + N - 1 + mask.low || key + 63 >= query + mask.high || key + 64 > keys;
#endif
}

/* ---- results

   Write the 16 rows of a warp, times a number for each of a thread's two rows, through shared memory: so that they leave in whole lines.
   room: 16 rows of 128 bytes of this warp's own, in each column of 64 numbers; columns are `column` bytes apart.  rows, depth: how many rows
   and numbers of a row there are; depth: a multiple of 8. */
template <int N> __device__ __forceinline__ void write_rows(u16 *to, long long step, const float (&d)[N / 2], float by, float by_below,
                                                               int rows, int depth, u32 room, int column) {
    int lane = threadIdx.x & 31, own = (lane & 7) + (lane & 8);
    #pragma unroll
    for (int i = 0; i < N / 16; i++) {
        u32 at = room + (i / 4) * column + own * 128 + ((((i % 4) * 2 + (lane >> 4)) ^ (own & 7)) << 4);
        store_matrices(at, packed(d[8 * i] * by, d[8 * i + 1] * by), packed(d[8 * i + 2] * by_below, d[8 * i + 3] * by_below),
                       packed(d[8 * i + 4] * by, d[8 * i + 5] * by), packed(d[8 * i + 6] * by_below, d[8 * i + 7] * by_below));
    }
    __syncwarp();
    #pragma unroll
    for (int i = 0; i < N / 16; i++) {
        int r = (32 * i + lane) / (N / 8), pack = (32 * i + lane) % (N / 8);
        uint4 v = load_16_bytes(room + (pack / 8) * column + r * 128 + ((pack % 8 ^ (r & 7)) << 4));
        if (r < rows && pack * 8 < depth) *(uint4 *)(to + r * step + pack * 8) = v;
    }
    __syncwarp();
}
/* Wait for the other threads of a warpgroup. */
__device__ __forceinline__ void together(int warpgroup) { asm volatile("bar.sync %0, 128;" :: "r"(4 + warpgroup) : "memory"); }
