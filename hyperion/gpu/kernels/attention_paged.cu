/* Attention of a few queries to keys and values that lie in pages, on all GPUs from sm_80 on: bound by the reading of keys and values.

   The queries of all heads that share a head of keys are rows of one table: row r is query r / group, head r % group. A block of threads owns
   16 rows of a text and a part of its keys; it goes over tiles of KEYS keys, of which each of its WARPS takes 16:

       wait for a tile     ask for the one STAGES - 1 later     S = Q K^T     softmax     O += P V

   Each warp has maxima and sums of its own, which the block puts together at the end. Where a text has several parts, sums go to memory in
   float32, and attention_paged_combine puts them together. How long texts are is read here, not where the kernel is launched: a CUDA graph
   that holds a launch serves texts that grow.

   Compiled with -DBF16 -DSINGLE -DHEAD (a multiple of 32) -DWARPS -DSTAGES, after numbers.cuh, warp.cuh, attention.cuh and mma.cuh.
   Source: Kwon et al. 2023, arXiv:2309.06180; Dao et al. 2023, "Flash-Decoding for long-context inference" (keys in parts). */

enum {
    THREADS = 32 * WARPS,
    KEYS = 16 * WARPS,                      /* of a tile */
    TILE = KEYS * PITCH,                    /* bytes */
    ROOM = HEAD + 8,                        /* numbers of a row of sums in shared memory */
};

struct Problem {
    const char *q, *k, *v;
    char *out;
    float *sums, *states;                   /* (parts, texts, heads of keys, row blocks, 16, HEAD or 2), where there are several parts */
    const int *pages, *lengths;             /* (texts, most pages), (texts) */
    long long q_batch, q_head, q_row, k_batch, k_head, k_row, v_batch, v_head, v_row, o_batch, o_head, o_row;  /* in bytes; k, v: of a page */
    int kept, group, queries, row_blocks, most, page, pool, bytes, bytes_v, parts, window;      /* window: -1 if all keys before are seen */
    float scale_log2;
};

/* What a block of threads works on. */
struct Work {
    int batch, head, rows, part;            /* head: of keys; rows: the first of 16 */
    long long place;                        /* among the blocks of sums */
};
__device__ __forceinline__ Work work_of(const Problem &p, int block, int blocks) {
    int part = block / blocks, rest = block % blocks, tile = rest % p.row_blocks;
    rest /= p.row_blocks;
    return Work{rest / p.kept, rest % p.kept, 16 * tile, part, block};
}

/* Ask for a tile of keys and values. Rows beyond the last key are zeros: what lies there is never read. */
__device__ __forceinline__ void load_keys(u32 to, const Problem &p, const char *k, const char *v, const int *pages, int key, int keys) {
    const int ACROSS = PACKS & -PACKS, DOWN = THREADS / ACROSS;
    int first = threadIdx.x / ACROSS, column = threadIdx.x % ACROSS * 16;
    #pragma unroll
    for (int r = 0; r < KEYS; r += DOWN) {
        int row = r + first, at = key + row;
        bool there = at < keys;
        int page = there ? min(max(__ldg(pages + at / p.page), 0), p.pool - 1) : 0;
        const char *from_k = k + page * p.k_batch + at % p.page * p.k_row, *from_v = v + page * p.v_batch + at % p.page * p.v_row;
        #pragma unroll
        for (int c = column; c < HEAD * SIZE; c += ACROSS * 16) {
            if (r + DOWN > KEYS && row >= KEYS) continue;
            copy_pack(to + row * PITCH + c, from_k + c, there && c < p.bytes);
            copy_pack(to + TILE + row * PITCH + c, from_v + c, there && c < p.bytes_v);
        }
    }
}
__device__ __forceinline__ void write_pair(char *to, float x, float y) {
#if SINGLE
    *(float2 *)to = make_float2(x, y);
#else
    *(u32 *)to = packed(x, y);
#endif
}
/* Where a row of the output lies. */
__device__ __forceinline__ char *row_at(const Problem &p, const Work &work, int row) {
    return p.out + work.batch * p.o_batch + (work.head * p.group + row % p.group) * p.o_head + row / p.group * p.o_row;
}
/* -inf for keys outside [first, last) of the thread's two rows; key: that of its first column */
__device__ __forceinline__ void hide_keys(float (&s)[8], int key, int first, int last, int first_below, int last_below) {
    const float none = __int_as_float(0xff800000);
    #pragma unroll
    for (int e = 0; e < 8; e++) {
        int at = key + e / 4 * 8 + e % 2;
        if (e & 2 ? at < first_below || at >= last_below : at < first || at >= last) s[e] = none;
    }
}

extern "C" __global__ void __launch_bounds__(THREADS, 2)
attention_paged(const __grid_constant__ Problem p) {
    extern __shared__ __align__(128) char memory[];
    u32 q = shared_address(memory), tiles = q + 16 * PITCH;
    int lane = threadIdx.x & 31, warp = threadIdx.x >> 5;
    Work work = work_of(p, blockIdx.x, gridDim.x / p.parts);
    int keys = min(max(__ldg(p.lengths + work.batch), 0), p.most * p.page), rows = p.queries * p.group;
    /* query i sees the keys from `seen(i) - 1 - window` to before `seen(i)` */
    int before = keys - p.queries + 1, top = before + min(work.rows + 15, rows - 1) / p.group;
    int low = p.window < 0 ? 0 : max(before + work.rows / p.group - 1 - p.window, 0) / KEYS, high = (max(top, 0) + KEYS - 1) / KEYS;
    int many = max(high - low, 0), begin = low + (int)((long long)many * work.part / p.parts);
    int end = low + (int)((long long)many * (work.part + 1) / p.parts);
    const char *k = p.k + work.head * p.k_head, *v = p.v + work.head * p.v_head;
    const int *pages = p.pages + (long long)work.batch * p.most;

    for (int i = threadIdx.x; i < 16 * PACKS; i += THREADS) {
        int row = work.rows + i / PACKS, column = i % PACKS * 16;
        const char *from = p.q + work.batch * p.q_batch + (work.head * p.group + row % p.group) * p.q_head + row / p.group * p.q_row;
        copy_pack(q + i / PACKS * PITCH + column, from + column, row < rows && column < p.bytes);
    }
    #pragma unroll
    for (int j = 0; j < STAGES - 1; j++) {
        if (begin + j < end) load_keys(tiles + j * 2 * TILE, p, k, v, pages, (begin + j) * KEYS, keys);
        copies_commit();
    }
    float o[1][HEAD / 2], s[1][8];
    Softmax state = softmax_begins();
    #pragma unroll
    for (int e = 0; e < HEAD / 2; e++) o[0][e] = 0;
    u32 left = left_at(q, lane);
    int last = before + (work.rows + lane / 4) / p.group, last_below = before + (work.rows + lane / 4 + 8) / p.group;
    int first = p.window < 0 ? 0 : last - 1 - p.window, first_below = p.window < 0 ? 0 : last_below - 1 - p.window;
    last = min(last, keys), last_below = min(last_below, keys);
    int stage = 0;
    #pragma unroll 1
    for (int j = begin; j < end; j++) {
        copies_wait<STAGES - 2>();
        __syncthreads();                    /* the tile is there, and nobody reads the one before it any more */
        int ahead = stage == 0 ? STAGES - 1 : stage - 1;
        if (j + STAGES - 1 < end) load_keys(tiles + ahead * 2 * TILE, p, k, v, pages, (j + STAGES - 1) * KEYS, keys);
        copies_commit();
        u32 tile = tiles + stage * 2 * TILE + warp * 16 * PITCH;
        scores(s, left, right_at(tile, lane));
        hide_keys(s[0], j * KEYS + warp * 16 + 2 * (lane & 3), first, last, first_below, last_below);
        softmax(s[0], state, p.scale_log2);
        shrink(o[0], state);
        gather(o, s, turned_at(tile + TILE, lane));
        stage = stage + 1 == STAGES ? 0 : stage + 1;
    }
    copies_wait<0>();
    __syncthreads();

    /* the sums of the warps, and for each row its largest score and the sum of its probabilities */
    float sum = over_quad(state.sum, false), sum_below = over_quad(state.sum_below, false);
    u32 own = q + warp * 16 * (ROOM + 2) * 4, at = own + (lane >> 2) * (ROOM + 2) * 4;
    #pragma unroll
    for (int i = 0; i < HEAD / 8; i++) {
        store_singles(at + (8 * i + 2 * (lane & 3)) * 4, o[0][4 * i], o[0][4 * i + 1]);
        store_singles(at + 8 * (ROOM + 2) * 4 + (8 * i + 2 * (lane & 3)) * 4, o[0][4 * i + 2], o[0][4 * i + 3]);
    }
    if ((lane & 3) == 0) {
        store_singles(at + ROOM * 4, state.top, sum);
        store_singles(at + (8 * (ROOM + 2) + ROOM) * 4, state.top_below, sum_below);
    }
    __syncthreads();
    for (int i = threadIdx.x; i < 16 * HEAD / 2; i += THREADS) {
        int r = i / (HEAD / 2), column = i % (HEAD / 2) * 2, row = work.rows + r;
        const float none = __int_as_float(0xff800000);
        float most = none, total = 0, x = 0, y = 0;
        #pragma unroll
        for (int w = 0; w < WARPS; w++) most = fmaxf(most, load_single(q + (w * 16 + r) * (ROOM + 2) * 4 + ROOM * 4));
        #pragma unroll
        for (int w = 0; w < WARPS; w++) {
            u32 from = q + (w * 16 + r) * (ROOM + 2) * 4;
            float2 its = load_singles(from + ROOM * 4), pair = load_singles(from + column * 4);
            float by = its.x == none ? 0 : exp2_fast((its.x - most) * p.scale_log2);
            total += by * its.y, x += by * pair.x, y += by * pair.y;
        }
        if (p.parts > 1) {
            float *to = p.sums + (work.place * 16 + r) * HEAD + column;
            to[0] = x, to[1] = y;
            if (column == 0) p.states[(work.place * 16 + r) * 2] = most, p.states[(work.place * 16 + r) * 2 + 1] = total;
            continue;
        }
        float by = total > 0 ? 1 / total : 0;
        if (row < rows && column * SIZE < p.bytes_v) write_pair(row_at(p, work, row) + column * SIZE, x * by, y * by);
    }
}

/* A block of threads puts together the parts of 16 rows. */
extern "C" __global__ void __launch_bounds__(128)
attention_paged_combine(const __grid_constant__ Problem p) {
    const float none = __int_as_float(0xff800000);
    Work work = work_of(p, blockIdx.x, gridDim.x);
    int rows = p.queries * p.group;
    for (int i = threadIdx.x; i < 16 * HEAD / 2; i += 128) {
        int r = i / (HEAD / 2), column = i % (HEAD / 2) * 2, row = work.rows + r;
        if (row >= rows) break;
        float most = none, total = 0, x = 0, y = 0;
        for (int part = 0; part < p.parts; part++) most = fmaxf(most, p.states[((part * (long long)gridDim.x + blockIdx.x) * 16 + r) * 2]);
        for (int part = 0; part < p.parts; part++) {
            long long from = (part * (long long)gridDim.x + blockIdx.x) * 16 + r;
            float its = p.states[from * 2], by = its == none ? 0 : exp2_fast((its - most) * p.scale_log2);
            total += by * p.states[from * 2 + 1], x += by * p.sums[from * HEAD + column], y += by * p.sums[from * HEAD + column + 1];
        }
        float by = total > 0 ? 1 / total : 0;
        if (column * SIZE < p.bytes_v) write_pair(row_at(p, work, row) + column * SIZE, x * by, y * by);
    }
}

struct Append {
    const char *new_k, *new_v;              /* (texts, heads, tokens, size), rows of full 16 bytes */
    char *k, *v;                            /* (pages, heads, tokens of a page, size) */
    const int *pages, *lengths;
    long long x_batch, x_head, x_row, y_batch, y_head, y_row, k_batch, k_head, k_row, v_batch, v_head, v_row;
    int kept, tokens, most, page, pool, bytes, bytes_v;
};
/* New keys and values go into the pages, as the last tokens of texts of these lengths. A block: one head of a text. */
extern "C" __global__ void __launch_bounds__(128)
attention_paged_append(const __grid_constant__ Append p) {
    int batch = blockIdx.x / p.kept, head = blockIdx.x % p.kept, before = __ldg(p.lengths + batch) - p.tokens;
    for (int i = threadIdx.x; i < p.tokens * PACKS; i += 128) {
        int token = i / PACKS, column = i % PACKS * 16, at = before + token;
        if (at < 0 || at >= p.most * p.page) continue;
        long long page = min(max(__ldg(p.pages + (long long)batch * p.most + at / p.page), 0), p.pool - 1);
        const char *x = p.new_k + batch * p.x_batch + head * p.x_head + token * p.x_row + column;
        const char *y = p.new_v + batch * p.y_batch + head * p.y_head + token * p.y_row + column;
        if (column < p.bytes) *(uint4 *)(p.k + page * p.k_batch + head * p.k_head + at % p.page * p.k_row + column) = *(const uint4 *)x;
        if (column < p.bytes_v) *(uint4 *)(p.v + page * p.v_batch + head * p.v_head + at % p.page * p.v_row + column) = *(const uint4 *)y;
    }
}
