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
/* Whether something is hidden from R queries from `row` on in a visited tile. */
template <int N, int R = 64> __device__ __forceinline__ bool hidden(const Mask &mask, int entry, int row, int keys) {
#if MASK
    return entry & 1;
#else
    int key = entry * N;
    return key < row + R - 1 + mask.low || key + N > min(keys, row + mask.high);
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
/* Whether something is hidden between R keys from `key` on and a tile of queries. */
template <int N, int R = 64> __device__ __forceinline__ bool hidden_turned(const Mask &mask, int entry, int key, int keys) {
#if MASK
    return entry & 1;
#else
    int query = entry * N;
    return key < query + N - 1 + mask.low || key + R - 1 >= query + mask.high || key + R > keys;
#endif
}

/* ---- who does what

   Items are blocks of queries (or keys) of heads; they go over the blocks of `span` heads, then over the next, so that the keys of these
   heads stay in the cache. `last`: the last blocks first. N: int, or const int & where numbers had better be read
   again than kept in registers. */
struct Item {
    int batch, head, block;
};
template <class N, class I> __device__ __forceinline__ Item item_of(I number, N batch, N heads, N blocks, N span, N last) {
    int whole = span * blocks, run = number / whole, rest = number - run * whole;
    int here = min(span, batch * heads - run * span), block = rest / here, head = run * span + rest - block * here, row = head / heads;
    return Item{row, head - row * heads, last ? blocks - 1 - block : block};
}

/* ---- the online softmax

   Its state for a thread's two rows; `fall` is by what the output and the sums shrink in this step. */
struct Softmax {
    float top, sum, fall, top_below, sum_below, fall_below;
};
__device__ __forceinline__ Softmax softmax_begins() {
    const float none = __int_as_float(0xff800000);
    return Softmax{none, 0, 0, none, 0, 0};
}

__device__ __forceinline__ float over_quad(float x, bool largest) {
    float y = __shfl_xor_sync(~0u, x, 1);
    x = largest ? fmaxf(x, y) : x + y;
    y = __shfl_xor_sync(~0u, x, 2);
    return largest ? fmaxf(x, y) : x + y;
}

/* scores -> powers of two below the row's largest; the state is brought up to date */
template <int N> __device__ __forceinline__ void softmax(float (&s)[N], Softmax &state, float scale) {
    const float none = __int_as_float(0xff800000);
    float top = state.top, top_below = state.top_below;
    #pragma unroll
    for (int i = 0; i < N / 4; i++) {
        top = fmaxf(top, fmaxf(s[4 * i], s[4 * i + 1]));
        top_below = fmaxf(top_below, fmaxf(s[4 * i + 2], s[4 * i + 3]));
    }
    top = over_quad(top, true), top_below = over_quad(top_below, true);
    /* nothing visible so far: exp(-inf - 0) = 0, where exp(-inf + inf) would be NaN */
    float base = top == none ? 0.0f : top * scale, base_below = top_below == none ? 0.0f : top_below * scale;
    state.fall = exp2_fast(state.top * scale - base), state.fall_below = exp2_fast(state.top_below * scale - base_below);
    state.top = top, state.top_below = top_below;
    float sum = 0, sum_below = 0;
    #pragma unroll
    for (int i = 0; i < N / 4; i++) {
        s[4 * i] = exp2_fast(s[4 * i] * scale - base), s[4 * i + 1] = exp2_fast(s[4 * i + 1] * scale - base);
        s[4 * i + 2] = exp2_fast(s[4 * i + 2] * scale - base_below), s[4 * i + 3] = exp2_fast(s[4 * i + 3] * scale - base_below);
        sum += s[4 * i] + s[4 * i + 1], sum_below += s[4 * i + 2] + s[4 * i + 3];
    }
    state.sum = state.sum * state.fall + sum, state.sum_below = state.sum_below * state.fall_below + sum_below;
}
template <int N> __device__ __forceinline__ void shrink(float (&o)[N], const Softmax &state) {
    #pragma unroll
    for (int i = 0; i < N / 4; i++) {
        o[4 * i] *= state.fall, o[4 * i + 1] *= state.fall;
        o[4 * i + 2] *= state.fall_below, o[4 * i + 3] *= state.fall_below;
    }
}
/* The log-sum-exp of a row. */
__device__ __forceinline__ float log_sum(float top, float sum, float scale) {
    const float none = __int_as_float(0xff800000), ln2 = 0.693147180559945f;
    return sum > 0 ? top * scale * ln2 + logf(sum) : none;
}
