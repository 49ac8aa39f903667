/* Attention, backward, for 16-bit numbers on Hopper (sm_90a): the gradients of k and v, and with ADDS that of q too.

       P  = exp(S - lse),  S = scale q k^T             dV = P^T dO              D = rowsum(dO * O) - (gradient of lse)
       dS = P * (dO v^T - D)                           dK = scale dS^T q        dQ = scale dS k

   A block of threads owns 128 keys of one head of keys and goes over the tiles of QUERIES queries that see them, of all heads of queries
   that share the keys. A producer warpgroup asks the copy engine for q with the lse, and dO with D: two rings of two stages. Two consumer
   warpgroups own 64 keys each. The keys are the rows of all products, S^T = k q^T and dP^T = v dO^T: so P^T and dS^T stay in registers as the
   operand of dV += P^T dO and dK += dS^T q. Only for dQ does dS go through shared memory, where both consumers put their half; dQ of a tile
   is computed one tile late, so that the consumers need not meet, and each computes a half of it.

   ADDS=1: dQ is summed up in float32 by adds in device memory, 16 bytes at a time in the order of the fragments, from all blocks of keys in
   any order: the sums are not reproducible to the last bit. Blocks of one head begin at different tiles, so that they do not queue for the
   same lines. `attention_gather` makes rows of it. ADDS=0 leaves dQ out, to attention_backward_queries.cu, and is reproducible.

   What was learnt in trials: nothing may be in flight over the loop's back edge and no branch may lie around a wgmma (the assembler then
   waits after each); no load from device memory after the adds (it waits behind them).

   Compiled with -DBF16 -DHEAD=64|128 (smaller ones are filled up with zeros) -DQUERIES -DADDS -DMASK, after hopper.cuh, the products of
   wgmma and attention.cuh. Source: Dao 2023, arXiv:2307.08691, algorithm 2; Shah et al. 2024, arXiv:2407.08608. */

enum {
    OWN = 128,                                      /* keys of a block */
    COLUMNS = HEAD / 64,
    K_COLUMN = OWN * 128, Q_COLUMN = QUERIES * 128, /* bytes of a column of 64 numbers */
    K_BYTES = COLUMNS * K_COLUMN, Q_BYTES = COLUMNS * Q_COLUMN,
    SLOPES_BYTES = QUERIES * OWN * 2,               /* of a tile of dS */
    SUMS = HEAD == 128 ? QUERIES / 2 : QUERIES / 4, /* numbers of dQ that a thread holds */
    LATE = QUERIES > 64,                           /* dV only after dS: fewer registers, less overlap */
    THREADS = 384,
    ADD_BYTES = QUERIES * 4,
};

struct Problem {
    const float *lse, *shift;               /* times log2(e), and D: (batch, heads, tiles * QUERIES) */
    float *sums;                            /* dQ: (batch, heads, tiles, QUERIES * HEAD), in the order of the fragments */
    u16 *to_k, *to_v;
    long long k_batch, k_head, k_row, v_batch, v_head, v_row;       /* strides in numbers */
    int batch, heads, group, queries, keys, depth, depth_v, tiles;
    int blocks, span, longest_first;        /* items go over the blocks of `span` heads of keys, then over the next */
    float scale_log2, scale;
};

/* What this block of threads owns: 128 keys of a head of keys. */
__device__ __forceinline__ Item item_of(const Problem &p) {
    return item_of<const int &>(blockIdx.x, p.batch, p.heads / p.group, p.blocks, p.span, !p.longest_first);
}

/* The tiles of queries that a block meets, head by head. */
struct Walk {
    Visits visits;
    int head, end, at, left, entry;
};
__device__ __forceinline__ Visits tiles_of(const Problem &p, const Mask &mask, int batch, int head, int block) {
#if MASK
    return visits_listed(mask, mask_of(mask, batch, head), block);
#else
    int key = block * OWN;
    return visits_between(key - mask.high + 1, min(p.queries, min(key + OWN, p.keys) - mask.low), QUERIES);
#endif
}
__device__ __forceinline__ void walk_head(const Problem &p, const Mask &mask, Walk &walk, int batch, int block) {
#if MASK
    walk.visits = tiles_of(p, mask, batch, walk.head, block);
#endif
    walk.left = walk.visits.count;
    walk.at = ADDS ? (int)((long long)block * walk.visits.count / p.blocks) : 0;
}
__device__ __forceinline__ Walk walk_of(const Problem &p, const Mask &mask, int batch, int kept, int block) {
    Walk walk;
    walk.head = kept * p.group, walk.end = walk.head + p.group;
    walk.visits = tiles_of(p, mask, batch, walk.head, block);
    walk_head(p, mask, walk, batch, block);
    while (!walk.left && ++walk.head < walk.end) walk_head(p, mask, walk, batch, block);
    walk.entry = walk.left ? visit(walk.visits, walk.at) : 0;
    return walk;
}
__device__ __forceinline__ void walk_on(const Problem &p, const Mask &mask, Walk &walk, int batch, int block) {
    walk.at = walk.at + 1 == walk.visits.count ? 0 : walk.at + 1;
    walk.left--;
    while (!walk.left && ++walk.head < walk.end) walk_head(p, mask, walk, batch, block);
    if (walk.left) walk.entry = visit(walk.visits, walk.at);
}
__device__ __forceinline__ int tile_of(const Walk &walk) { return MASK ? walk.entry >> 1 : walk.entry; }

/* dQ^T = K^T dS^T: of 64 numbers of the head, and all queries of the tile (HEAD 128), or half of them */
__device__ __forceinline__ void slopes_times_keys(float (&d)[SUMS], u32 keys, u32 slopes) {
    products_begin();
    #pragma unroll
    for (int i = 0; i < OWN / 16; i++) product<1, 0>(d, matrix(keys, i * 2048), matrix(slopes, (i / 4) * Q_COLUMN + (i % 4) * 32), i > 0);
    products_commit();
}
/* S^T -> P^T; the lse lies in shared memory, one for each column */
__device__ __forceinline__ void probabilities(float (&s)[QUERIES / 2], u32 lse, float scale) {
    #pragma unroll
    for (int i = 0; i < QUERIES / 8; i++) {
        float2 l = load_pair(lse + 32 * i);
        s[4 * i] = exp2_fast(s[4 * i] * scale - l.x), s[4 * i + 1] = exp2_fast(s[4 * i + 1] * scale - l.y);
        s[4 * i + 2] = exp2_fast(s[4 * i + 2] * scale - l.x), s[4 * i + 3] = exp2_fast(s[4 * i + 3] * scale - l.y);
    }
}
__device__ __forceinline__ void pack_slopes(u32 (&d)[QUERIES / 4], const float (&p)[QUERIES / 2], const float (&of_p)[QUERIES / 2], u32 shift) {
    #pragma unroll
    for (int i = 0; i < QUERIES / 8; i++) {
        float2 by = load_pair(shift + 32 * i);
        d[2 * i] = packed(p[4 * i] * (of_p[4 * i] - by.x), p[4 * i + 1] * (of_p[4 * i + 1] - by.y));
        d[2 * i + 1] = packed(p[4 * i + 2] * (of_p[4 * i + 2] - by.x), p[4 * i + 3] * (of_p[4 * i + 3] - by.y));
    }
}

/* What the producer tells the consumers about the j-th tile of queries: its number among all (-1: there are no more), its first query, the
   head, and a bit for each consumer: whether something is hidden between the tile and its keys. There is room for four: the number is needed until dQ of the tile has been added, one tile later. */
__device__ __forceinline__ void tell(u32 notes, u32 j, int number, int query, int head, int hidden) {
    asm volatile("st.shared.v4.u32 [%0], {%1, %2, %3, %4};"
                 :: "r"(notes + j % 4 * 16), "r"(number), "r"(query), "r"(head), "r"(hidden) : "memory");
}
__device__ __forceinline__ int number_of(u32 notes, u32 j) {
    int number;
    asm volatile("ld.shared.u32 %0, [%1];" : "=r"(number) : "r"(notes + j % 4 * 16) : "memory");
    return number;
}

struct Room {
    u32 k, v, q, o, slopes, lse, shift, notes;
    u32 kept_full, q_full, q_empty, o_full, o_empty, slopes_full, slopes_empty;
};

__device__ __forceinline__ void produce(const TensorMap *q, const TensorMap *k, const TensorMap *v, const TensorMap *o, const Problem &p,
                                        const Mask &mask, const Room &room) {
    Item item = item_of(p);
    int batch = item.batch, kept = item.head, block = item.block;
    arrive_expecting(room.kept_full, 2 * K_BYTES);
    for (int c = 0; c < COLUMNS; c++) {
        copy_tile(room.k + c * K_COLUMN, k, 64 * c, block * OWN, kept, batch, room.kept_full);
        copy_tile(room.v + c * K_COLUMN, v, 64 * c, block * OWN, kept, batch, room.kept_full);
    }
    Walk walk = walk_of(p, mask, batch, kept, block);
    for (u32 j = 0;; j++) {
        u32 stage = j & 1, parity = j >> 1 & 1 ^ 1, q_full = room.q_full + 8 * stage, o_full = room.o_full + 8 * stage;
        wait(room.q_empty + 8 * stage, parity);
        if (!walk.left) {
            tell(room.notes, j, -1, 0, 0, 0);
            arrive(q_full);
            break;
        }
        int tile = tile_of(walk), row = tile * QUERIES, number = (batch * p.heads + walk.head) * p.tiles + tile;
        long long at = (long long)number * QUERIES;
        int key = block * OWN, hides = hidden_turned<QUERIES>(mask, walk.entry, key, p.keys);
        hides |= hidden_turned<QUERIES>(mask, walk.entry, key + 64, p.keys) * 2;
        tell(room.notes, j, number, row, walk.head, hides);
        arrive_expecting(q_full, Q_BYTES + ADD_BYTES);
        for (int c = 0; c < COLUMNS; c++) copy_tile(room.q + stage * Q_BYTES + c * Q_COLUMN, q, 64 * c, row, walk.head, batch, q_full);
        copy_bytes(room.lse + stage * ADD_BYTES, p.lse + at, ADD_BYTES, q_full);
        wait(room.o_empty + 8 * stage, parity);
        arrive_expecting(o_full, Q_BYTES + ADD_BYTES);
        for (int c = 0; c < COLUMNS; c++) copy_tile(room.o + stage * Q_BYTES + c * Q_COLUMN, o, 64 * c, row, walk.head, batch, o_full);
        copy_bytes(room.shift + stage * ADD_BYTES, p.shift + at, ADD_BYTES, o_full);
        walk_on(p, mask, walk, batch, block);
    }
}

__device__ __forceinline__ void add_sums(float (&d)[SUMS], float *sums, int thread) {
    #pragma unroll
    for (int i = 0; i < SUMS / 4; i++) add_four(sums + i * 512 + thread * 4, d[4 * i], d[4 * i + 1], d[4 * i + 2], d[4 * i + 3]);
}

/* Zeros for what the mask hides in P^T of the j-th tile. */
__device__ __forceinline__ void hide_in(float (&p)[QUERIES / 2], const Problem &problem, const Mask &mask, u32 notes, u32 j, int consumer) {
    uint4 note = load_16_bytes(notes + j % 4 * 16);
    if (!(note.w >> consumer & 1)) return;
    Item item = item_of(problem);                   /* found again each time: there are no registers to keep it in */
    int lane = threadIdx.x & 31, key = item.block * OWN + consumer * 64 + (threadIdx.x & 127) / 32 * 16 + (lane >> 2);
    hide_turned<QUERIES>(p, mask, mask_of(mask, item.batch, note.z), key, note.y + 2 * (lane & 3), problem.queries, problem.keys);
}

__device__ __forceinline__ void consume(const Problem &p, const Mask &mask, const Room &room, int consumer) {
    int thread = threadIdx.x & 127, lane = thread & 31, warp = thread >> 5, column = 2 * (lane & 3);
    float of_v[HEAD / 2], of_k[HEAD / 2], s[QUERIES / 2], of_p[QUERIES / 2], of_q[SUMS];
    u32 fragment[QUERIES / 4], slopes[QUERIES / 4];
    #pragma unroll
    for (int i = 0; i < HEAD / 2; i++) of_v[i] = 0, of_k[i] = 0;
    u32 k = matrix_at(room.k + consumer * 8192, 16), v = matrix_at(room.v + consumer * 8192, 16);
    u32 q = matrix_at(room.q, 16), o = matrix_at(room.o, 16), q_inner = matrix_at(room.q, Q_COLUMN), o_inner = matrix_at(room.o, Q_COLUMN);
    u32 k_inner = matrix_at(room.k + (HEAD == 128) * consumer * K_COLUMN, K_COLUMN);
    u32 of_half = matrix_at(room.slopes + (HEAD == 64) * consumer * (QUERIES * 64), 16);
    /* where this lane puts rows of dS, turned, with stmatrix: the first 16 queries */
    u32 put = room.slopes + consumer * Q_COLUMN + ((lane >> 4) * 8 + (lane & 7)) * 128 + (((warp * 2 + (lane >> 3 & 1)) ^ (lane & 7)) << 4);
    wait(room.kept_full, 0);
    wait(room.q_full, 0);
    bool more = number_of(room.notes, 0) >= 0;
    if (more) {
        scores<K_COLUMN, Q_COLUMN>(s, k, q);
        wait(room.o_full, 0);
        scores<K_COLUMN, Q_COLUMN>(of_p, v, o);
        products_wait<1>();
        keep(s);
        probabilities(s, room.lse + column * 4, p.scale_log2);
        hide_in(s, p, mask, room.notes, 0, consumer);
        products_wait<0>();
        keep(of_p);
    }
    u32 j = 0;
    for (; more; j++) {
        /* here: s = P^T and of_p = dP^T of tile j; nothing is in flight */
        u32 stage = j & 1, next = stage ^ 1, parity = j >> 1 & 1, parity_next = j + 1 >> 1 & 1;
        if (!LATE) {
            pack(fragment, s);
            keep(of_v);
            gather(of_v, fragment, o_inner + stage * (Q_BYTES / 16));
        }
        pack_slopes(slopes, s, of_p, room.shift + stage * ADD_BYTES + column * 4);
        if (LATE) {
            pack(fragment, s);
            keep(of_v);
            gather(of_v, fragment, o_inner + stage * (Q_BYTES / 16));
        }
#if ADDS
        wait(room.slopes_empty + 8 * stage, parity ^ 1);
        #pragma unroll
        for (int i = 0; i < QUERIES / 16; i++)
            store_matrices_turned(put + stage * SLOPES_BYTES + i * 2048, slopes[4 * i], slopes[4 * i + 1], slopes[4 * i + 2], slopes[4 * i + 3]);
        written_for_products();
        __syncwarp();
        if (lane == 0) arrive(room.slopes_full + 8 * stage);
#endif
        keep(of_k);
        gather(of_k, slopes, q_inner + stage * (Q_BYTES / 16));
        products_wait<1>();
        keep(of_v);
        if (lane == 0) arrive(room.o_empty + 8 * stage);
#if ADDS
        /* the first time this is a product of whatever lies there, and thrown away */
        if (j > 0) wait(room.slopes_full + 8 * next, j - 1 >> 1 & 1);
        slopes_times_keys(of_q, k_inner, of_half + next * (SLOPES_BYTES / 16));
        products_wait<1>();
#else
        products_wait<0>();
#endif
        keep(of_k);
        if (lane == 0) arrive(room.q_empty + 8 * stage);
        /* the last time these are products that nobody reads: a branch around them would make the assembler wait after each */
        wait(room.q_full + 8 * next, parity_next);
        more = number_of(room.notes, j + 1) >= 0;
        scores<K_COLUMN, Q_COLUMN>(s, k, q + next * (Q_BYTES / 16));
#if ADDS
        products_wait<1>();
        keep(of_q);
        if (j > 0) {
            if (lane == 0) arrive(room.slopes_empty + 8 * next);
            add_sums(of_q, p.sums + (long long)number_of(room.notes, j - 1) * (QUERIES * HEAD) + consumer * (SUMS * 128), thread);
        }
#endif
        if (more) wait(room.o_full + 8 * next, parity_next);
        scores<K_COLUMN, Q_COLUMN>(of_p, v, o + next * (Q_BYTES / 16));
        products_wait<1>();
        keep(s);
        probabilities(s, room.lse + next * ADD_BYTES + column * 4, p.scale_log2);
        if (more) hide_in(s, p, mask, room.notes, j + 1, consumer);
        products_wait<0>();
        keep(of_p);
    }
#if ADDS
    if (j > 0) {                                    /* dQ of the last tile */
        u32 stage = j - 1 & 1;
        wait(room.slopes_full + 8 * stage, j - 1 >> 1 & 1);
        slopes_times_keys(of_q, k_inner, of_half + stage * (SLOPES_BYTES / 16));
        products_wait<0>();
        keep(of_q);
        add_sums(of_q, p.sums + (long long)number_of(room.notes, j - 1) * (QUERIES * HEAD) + consumer * (SUMS * 128), thread);
    }
#endif
    together(consumer);                             /* the warpgroup has read its rows of V */
    Item item = item_of(p);
    int first = item.block * OWN + consumer * 64 + warp * 16;
    u32 own = room.v + (consumer * 64 + warp * 16) * 128;
    write_rows<HEAD>(p.to_v + item.batch * p.v_batch + item.head * p.v_head + first * p.v_row, p.v_row, of_v, 1, 1, p.keys - first, p.depth_v, own, K_COLUMN);
    write_rows<HEAD>(p.to_k + item.batch * p.k_batch + item.head * p.k_head + first * p.k_row, p.k_row, of_k, p.scale, p.scale, p.keys - first, p.depth, own,
                     K_COLUMN);
}

extern "C" __global__ void __launch_bounds__(THREADS, 1)
attention_backward(const __grid_constant__ TensorMap q, const __grid_constant__ TensorMap k, const __grid_constant__ TensorMap v,
                   const __grid_constant__ TensorMap o, const __grid_constant__ Problem p, const __grid_constant__ Mask mask) {
    extern __shared__ __align__(1024) char memory[];
    Room room;
    room.k = shared_address(memory);
    room.v = room.k + K_BYTES;
    room.q = room.v + K_BYTES;
    room.o = room.q + 2 * Q_BYTES;
    room.slopes = room.o + 2 * Q_BYTES;
    room.lse = room.slopes + ADDS * 2 * SLOPES_BYTES;
    room.shift = room.lse + 2 * ADD_BYTES;
    room.notes = room.shift + 2 * ADD_BYTES;
    room.kept_full = room.notes + 64;
    room.q_full = room.kept_full + 8, room.q_empty = room.q_full + 16;
    room.o_full = room.q_empty + 16, room.o_empty = room.o_full + 16;
    room.slopes_full = room.o_empty + 16, room.slopes_empty = room.slopes_full + 16;
    if (threadIdx.x == 0) {
        barrier_init(room.kept_full, 1);
        for (int i = 0; i < 2; i++) {
            barrier_init(room.q_full + 8 * i, 1);
            barrier_init(room.o_full + 8 * i, 1);
            barrier_init(room.q_empty + 8 * i, 8);
            barrier_init(room.o_empty + 8 * i, 8);
            barrier_init(room.slopes_full + 8 * i, 8);
            barrier_init(room.slopes_empty + 8 * i, 8);
        }
        barriers_ready();
    }
    __syncthreads();
    int warpgroup = __shfl_sync(~0u, threadIdx.x / 128, 0);         /* the same in a warp, which the compiler cannot know */
    if (warpgroup == 0) {
        registers_fewer<24>();
        if (threadIdx.x == 0) produce(&q, &k, &v, &o, p, mask, room);
    } else {
        registers_more<240>();
        consume(p, mask, room, warpgroup - 1);
    }
}

struct RowSums {
    const u16 *o, *of_o;                    /* what came out, and its gradient */
    const float *lse, *of_lse;              /* the log-sum-exp, and its gradient, or null */
    float *lse_log2, *shift;
    float *sums;                            /* null without ADDS */
    u16 *to_q;
    long long o_batch, o_head, o_row, g_batch, g_head, g_row, q_batch, q_head, q_row;
    int heads, queries, depth_v, depth;
    float scale;
};

/* Before: D = rowsum(dO * O) - (gradient of lse), the lse times log2(e), +inf where nothing is seen or there is no query; dQ = 0. */
extern "C" __global__ void __launch_bounds__(256) attention_rows(const __grid_constant__ RowSums p) {
    int head = blockIdx.y % p.heads, batch = blockIdx.y / p.heads, lane = threadIdx.x % (HEAD / 8), column = lane * 8;
    long long tile = (long long)blockIdx.y * gridDim.x + blockIdx.x;
    const u16 *o = p.o + batch * p.o_batch + head * p.o_head + column, *g = p.of_o + batch * p.g_batch + head * p.g_head + column;
    const float none = __int_as_float(0xff800000);
    for (int r = threadIdx.x / (HEAD / 8); r < QUERIES; r += 2048 / HEAD) {
        long long row = (long long)blockIdx.x * QUERIES + r;
        float sum = 0;
        if (row < p.queries && column < p.depth_v) {
            uint4 x = __ldg((const uint4 *)(o + row * p.o_row)), y = __ldg((const uint4 *)(g + row * p.g_row));
            u32 xs[4] = {x.x, x.y, x.z, x.w}, ys[4] = {y.x, y.y, y.z, y.w};
            #pragma unroll
            for (int e = 0; e < 4; e++) {
                float2 one = unpacked(xs[e]), other = unpacked(ys[e]);
                sum += one.x * other.x + one.y * other.y;
            }
        }
        #pragma unroll
        for (int far = 1; far < HEAD / 8; far *= 2) sum += __shfl_xor_sync(~0u, sum, far);
        if (lane == 0) {
            long long at = (long long)blockIdx.y * p.queries + row;
            float lse = row < p.queries ? p.lse[at] : none;
            p.shift[tile * QUERIES + r] = row < p.queries && p.of_lse ? sum - p.of_lse[at] : sum;
            p.lse_log2[tile * QUERIES + r] = lse == none ? -none : lse * 1.4426950408889634f;
        }
    }
    if (p.sums) {
        float4 *sums = (float4 *)(p.sums + tile * (QUERIES * HEAD));
        for (int i = threadIdx.x; i < QUERIES * HEAD / 4; i += 256) sums[i] = make_float4(0, 0, 0, 0);
    }
}

/* After: dQ = scale times the sums, from the order of the fragments to rows. */
extern "C" __global__ void __launch_bounds__(256) attention_gather(const __grid_constant__ RowSums p) {
    __shared__ __align__(16) u16 tile[QUERIES][HEAD + 8];
    int thread = threadIdx.x & 127, half = threadIdx.x >> 7, lane = thread & 31, head = blockIdx.y % p.heads, batch = blockIdx.y / p.heads;
    int d = (thread >> 5) * 16 + (lane >> 2) + (HEAD == 128) * half * 64;
    const float4 *sums = (const float4 *)(p.sums + ((long long)blockIdx.y * gridDim.x + blockIdx.x) * (QUERIES * HEAD) + half * (SUMS * 128));
    #pragma unroll
    for (int i = 0; i < SUMS / 4; i++) {
        float4 v = __ldg(sums + i * 128 + thread);
        u32 a = packed(v.x * p.scale, v.y * p.scale), b = packed(v.z * p.scale, v.w * p.scale);
        int q = 8 * i + 2 * (lane & 3) + (HEAD == 64) * half * (QUERIES / 2);
        tile[q][d] = (u16)a, tile[q + 1][d] = (u16)(a >> 16);
        tile[q][d + 8] = (u16)b, tile[q + 1][d + 8] = (u16)(b >> 16);
    }
    __syncthreads();
    u16 *out = p.to_q + batch * p.q_batch + head * p.q_head;
    for (int i = threadIdx.x; i < QUERIES * HEAD / 8; i += 256) {
        int r = i / (HEAD / 8), column = i % (HEAD / 8) * 8;
        long long row = (long long)blockIdx.x * QUERIES + r;
        if (row < p.queries && column < p.depth) *(uint4 *)(out + row * p.q_row + column) = *(const uint4 *)&tile[r][column];
    }
}
