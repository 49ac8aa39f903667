/* Attention, forward: out = softmax(scale q k^T) v and the log-sum-exp of each row, for 16-bit numbers on Hopper (sm_90a).

   A block of threads is one producer warpgroup, which asks the copy engine for tiles, and CONSUMERS warpgroups of 128 threads, each of which
   owns 64 queries. Blocks stay: when one is done with an item (batch, head, block of queries) it takes the next from a counter.

       producer    Q   K0 V0 K1 V1 K2 V2 ...       next Q   K0 V0 ...                 rings of STAGES tiles of K and V, QUEUE of Q
       consumer    S0=QK0   softmax S0   | S1=QK1  O+=P0 V0 | softmax S1 | S2=QK2  O+=P1 V1 | softmax S2 | ...

   S of the next tile is issued before O += P V of this one, so that the tensor cores have work during the softmax, also over the end of an
   item: while its last product runs the first scores of the next item are computed already. P stays in registers: the fragment of an
   accumulator is that of an operand. The softmax is online (Milakov and Gimelshein 2018): l is the sum of exp(s - m), m the largest score
   when O and l were last scaled; they are scaled again only when a score is more than 2^GROWTH times too large, which after the first tiles
   is rare. Exponentials are powers of two, with scale * log2(e) in one FMA; every EMULATED of 8 by a polynomial, where the unit for them
   would be what everything waits for (small heads).

   SPLIT=1 is for few queries and many keys, as when a text is continued: there is one block of queries, an item is a part of its keys, and
   `attention_combine` weighs the outputs of the parts by their log-sum-exps.

   Compiled with -DBF16 -DHEAD=64|96|128|256 (head size; smaller ones are filled up with zeros by the copy engine) -DCONSUMERS -DKEYS
   -DSTAGES -DQUEUE -DPINGPONG -DEMULATED -DSPLIT -DMASK, after hopper.cuh, the products of wgmma and attention.cuh.
   Source: Dao et al. 2022, arXiv:2205.14135; Shah et al. 2024, arXiv:2407.08608. */

enum {
    ROWS = 64 * CONSUMERS,                  /* queries of a block */
    COLUMNS = (HEAD + 63) / 64,             /* columns of 64 numbers in a tile */
    Q_COLUMN = ROWS * 128, K_COLUMN = KEYS * 128,
    Q_BYTES = COLUMNS * Q_COLUMN, K_BYTES = COLUMNS * K_COLUMN,
    THREADS = 128 * (CONSUMERS + 1),
    WARPS = 4 * CONSUMERS,                  /* that arrive at the barriers of tiles that are free again */
    GROWTH = 8,
};

struct Problem {
    u16 *out;
    float *lse;                             /* (batch, heads, queries) */
    int *counter;                           /* items taken, and blocks that are done: both 0 at the beginning and at the end */
    long long out_batch, out_head, out_row, out_part;       /* strides in numbers */
    int batch, heads, group, queries, keys, depth;
    int row_blocks, span, longest_first;    /* items go over the blocks of `span` heads, then over the next */
    int part;                               /* tiles of a part, where SPLIT */
    float scale;                            /* times log2(e) */
};

struct Item {
    int batch, head, block;                 /* of queries; of parts of the keys, where SPLIT */
};
__device__ __forceinline__ int first_row(int block) { return SPLIT ? 0 : block * ROWS; }
__device__ __forceinline__ Item item_of(const Problem &p, int number) {
    int whole = p.span * p.row_blocks, run = number / whole, rest = number - run * whole;
    int heads = min(p.span, p.batch * p.heads - run * p.span), block = rest / heads, head = run * p.span + rest - block * heads;
    int batch = head / p.heads;
    return Item{batch, head - batch * p.heads, p.longest_first ? p.row_blocks - 1 - block : block};
}

__device__ __forceinline__ Visits visits_of(const Problem &p, const Mask &mask, const Item &item) {
#if MASK
    return visits_listed(mask, mask_of(mask, item.batch, item.head), item.block);
#else
    int row = first_row(item.block);
    Visits all = visits_between(row + mask.low, min(p.keys, min(row + ROWS, p.queries) - 1 + mask.high), KEYS);
#if SPLIT
    all.begin += item.block * p.part, all.count = min(p.part, all.count - item.block * p.part);
#endif
    return all;
#endif
}
/* The state of the online softmax for a thread's two rows: the largest score when they were last scaled, and the sums of exponentials. */
struct Softmax {
    float top, sum, top_below, sum_below;
};

__device__ __forceinline__ float over_quad(float x, bool largest) {
    float y = __shfl_xor_sync(~0u, x, 1);
    x = largest ? fmaxf(x, y) : x + y;
    y = __shfl_xor_sync(~0u, x, 2);
    return largest ? fmaxf(x, y) : x + y;
}

/* 2^x for x above -126, to 1e-4, on the units for sums and products: 2^n (1 + ...) with x = n + f, |f| <= 1/2 */
__device__ __forceinline__ float exp2_polynomial(float x) {
    const float whole = 12582912.0f;        /* 1.5 * 2^23: adding it rounds to a whole number, which lies in the lowest bits */
    x = fmaxf(x, -126.0f);
    float n = x + whole, f = x - (n - whole), p = 0.99992807f + f * (0.69326101f + f * (0.24261117f + f * 0.05517158f));
    return __int_as_float(__float_as_int(p) + (__float_as_int(n) << 23));
}
/* scores -> exponentials and their sums. HIDES: some may be -inf. */
template <bool HIDES> __device__ __forceinline__ void exponentials(float (&s)[KEYS / 2], Softmax &state, float scale, float base, float base_below) {
    float sum = 0, sum_below = 0;
    #pragma unroll
    for (int i = 0; i < KEYS / 4; i++) {
        bool below = i & 1, emulated = !HIDES && i / 2 % 8 < EMULATED;
        float x = s[2 * i] * scale - (below ? base_below : base), y = s[2 * i + 1] * scale - (below ? base_below : base);
        x = emulated ? exp2_polynomial(x) : exp2_fast(x), y = emulated ? exp2_polynomial(y) : exp2_fast(y);
        s[2 * i] = x, s[2 * i + 1] = y;
        if (below) sum_below += x + y;
        else sum += x + y;
    }
    state.sum += sum, state.sum_below += sum_below;
}
/* Bring the state up to date for a tile's scores; return whether O must be scaled, by `fall` and `fall_below`. The same in a whole warp. */
__device__ __forceinline__ bool grown(const float (&s)[KEYS / 2], Softmax &state, float scale, float &fall, float &fall_below) {
    float top = state.top, top_below = state.top_below;
    #pragma unroll
    for (int i = 0; i < KEYS / 8; i++) {
        top = fmaxf(top, fmaxf(s[4 * i], s[4 * i + 1]));
        top_below = fmaxf(top_below, fmaxf(s[4 * i + 2], s[4 * i + 3]));
    }
    top = over_quad(top, true), top_below = over_quad(top_below, true);
    bool grows = (top - state.top) * scale > GROWTH || (top_below - state.top_below) * scale > GROWTH;      /* NaN, of two -inf: it does not */
    if (!__any_sync(~0u, grows)) return false;
    fall = exp2_fast((state.top - top) * scale), fall_below = exp2_fast((state.top_below - top_below) * scale);
    const float none = __int_as_float(0xff800000);
    if (top == none) fall = 0;
    if (top_below == none) fall_below = 0;
    state.top = top, state.top_below = top_below;
    state.sum *= fall, state.sum_below *= fall_below;
    return true;
}
/* scores -> exponentials below the state's largest, of rows in which nothing is visible so far: exp(-inf - 0) = 0 */
__device__ __forceinline__ void softmax(float (&s)[KEYS / 2], Softmax &state, float scale, bool hides) {
    const float none = __int_as_float(0xff800000);
    float base = state.top == none ? 0.0f : state.top * scale, base_below = state.top_below == none ? 0.0f : state.top_below * scale;
    if (EMULATED == 0 || hides) exponentials<true>(s, state, scale, base, base_below);
    else exponentials<false>(s, state, scale, base, base_below);
}
__device__ __forceinline__ void pack(u32 (&p)[KEYS / 4], const float (&s)[KEYS / 2]) {
    #pragma unroll
    for (int i = 0; i < KEYS / 4; i++) p[i] = packed(s[2 * i], s[2 * i + 1]);
}
__device__ __forceinline__ void shrink(float (&o)[HEAD / 2], float fall, float fall_below) {
    #pragma unroll
    for (int i = 0; i < HEAD / 8; i++) {
        o[4 * i] *= fall, o[4 * i + 1] *= fall;
        o[4 * i + 2] *= fall_below, o[4 * i + 3] *= fall_below;
    }
}

/* S = Q K^T of 64 queries and a tile of keys */
__device__ __forceinline__ void scores(float (&s)[KEYS / 2], u32 q, u32 k) {
    products_begin();
    #pragma unroll
    for (int i = 0; i < HEAD / 16; i++)
        product<0, 0>(s, matrix(q, (i / 4) * Q_COLUMN + (i % 4) * 32), matrix(k, (i / 4) * K_COLUMN + (i % 4) * 32), i > 0);
    products_commit();
}
/* O += P V */
__device__ __forceinline__ void gather(float (&o)[HEAD / 2], const u32 (&p)[KEYS / 4], u32 v) {
    products_begin();
    #pragma unroll
    for (int i = 0; i < KEYS / 16; i++) product_of_fragment(o, p[4 * i], p[4 * i + 1], p[4 * i + 2], p[4 * i + 3], matrix(v, i * 2048));
    products_commit();
}

/* Where the output and the log-sum-exp of an item's head lie. */
__device__ __forceinline__ u16 *out_of(const Problem &p, const Item &item) {
    return p.out + item.batch * p.out_batch + item.head * p.out_head + (SPLIT ? item.block * p.out_part : 0);
}
__device__ __forceinline__ float *lse_of(const Problem &p, const Item &item) {
    return p.lse + ((SPLIT ? (long long)item.block * p.batch : 0) * p.heads + (long long)item.batch * p.heads + item.head) * p.queries;
}
/* The first query of this thread's two, of 64 from the consumer's first one on. */
__device__ __forceinline__ int row_of(const Item &item, int consumer) {
    return first_row(item.block) + consumer * 64 + (threadIdx.x & 127) / 32 * 16 + (threadIdx.x & 31) / 4;
}
/* Write the log-sum-exp of a thread's two rows, and leave in the state what their sums are to be multiplied with. */
__device__ __forceinline__ void finish_sums(const Problem &p, const Item &item, Softmax &state, int consumer) {
    int row = row_of(item, consumer);
    float sum = over_quad(state.sum, false), sum_below = over_quad(state.sum_below, false);
    if ((threadIdx.x & 3) == 0) {
        float *lse = lse_of(p, item);
        const float none = __int_as_float(0xff800000), ln2 = 0.693147180559945f;
        if (row < p.queries) lse[row] = sum > 0 ? state.top * p.scale * ln2 + logf(sum) : none;
        if (row + 8 < p.queries) lse[row + 8] = sum_below > 0 ? state.top_below * p.scale * ln2 + logf(sum_below) : none;
    }
    state.sum = sum > 0 ? 1 / sum : 0, state.sum_below = sum_below > 0 ? 1 / sum_below : 0;
}
/* Write the rows of a warp. room: of its 16 rows of Q's tile. */
__device__ __forceinline__ void finish(const Problem &p, const Item &item, const float (&o)[HEAD / 2], float by, float by_below, int consumer,
                                       u32 room) {
    int lane = threadIdx.x & 31, row = row_of(item, consumer), first = row - (lane >> 2);
    u16 *out = out_of(p, item) + first * p.out_row;
    if (QUEUE > 1) {
        write_rows<HEAD>(out, p.out_row, o, by, by_below, p.queries - first, p.depth, room, Q_COLUMN);
    } else {                                /* the next Q may lie there already */
        u16 *own = out + (lane >> 2) * p.out_row;
        #pragma unroll
        for (int i = 0; i < HEAD / 8; i++) {
            int column = 8 * i + 2 * (lane & 3);
            if (row < p.queries && column < p.depth) *(u32 *)(own + column) = packed(o[4 * i] * by, o[4 * i + 1] * by);
            if (row + 8 < p.queries && column < p.depth)
                *(u32 *)(own + 8 * p.out_row + column) = packed(o[4 * i + 2] * by_below, o[4 * i + 3] * by_below);
        }
    }
}
/* Zeros for the 64 queries of a warpgroup, which see nothing. */
__device__ __forceinline__ void finish_empty(const Problem &p, const Item &item, int row) {
    u16 *out = out_of(p, item);
    for (int i = threadIdx.x & 127; i < 8 * HEAD; i += 128) {
        int r = row + i / (HEAD / 8), column = i % (HEAD / 8) * 8;
        if (r < p.queries && column < p.depth) *(uint4 *)(out + r * p.out_row + column) = make_uint4(0, 0, 0, 0);
    }
    int r = row + (threadIdx.x & 127);
    if (r < min(row + 64, p.queries)) lse_of(p, item)[r] = __int_as_float(0xff800000);
}

/* Where things lie in shared memory. */
struct Room {
    u32 q, k, v, slots, q_full, q_empty, k_full, k_empty, v_full, v_empty;
};

__device__ __forceinline__ void produce(const TensorMap *q, const TensorMap *k, const TensorMap *v, const Problem &p, const Mask &mask,
                                        const Room &room) {
    int items = p.batch * p.heads * p.row_blocks, number = blockIdx.x;
    u32 turn = 0;
    for (u32 n = 0;; n++) {
        u32 slot = n % QUEUE, q_full = room.q_full + 8 * slot;
        wait(room.q_empty + 8 * slot, n / QUEUE & 1 ^ 1);
        asm volatile("st.shared.u32 [%0], %1;" :: "r"(room.slots + 4 * slot), "r"(number < items ? number : -1) : "memory");
        if (number >= items) {
            arrive(q_full);
            break;
        }
        Item item = item_of(p, number);
        arrive_expecting(q_full, Q_BYTES);
        for (int c = 0; c < COLUMNS; c++)
            copy_tile(room.q + slot * Q_BYTES + c * Q_COLUMN, q, 64 * c, first_row(item.block), item.head, item.batch, q_full);
        number = gridDim.x + atomicAdd(p.counter, 1);
        Visits visits = visits_of(p, mask, item);
        for (int j = 0; j < visits.count; j++, turn++) {
            u32 stage = turn % STAGES, parity = turn / STAGES & 1 ^ 1;
            int key = key_of<KEYS>(visit(visits, j)), head = item.head / p.group;
            u32 k_full = room.k_full + 8 * stage, v_full = room.v_full + 8 * stage;
            wait(room.k_empty + 8 * stage, parity);
            arrive_expecting(k_full, K_BYTES);
            for (int c = 0; c < COLUMNS; c++) copy_tile(room.k + stage * K_BYTES + c * K_COLUMN, k, 64 * c, key, head, item.batch, k_full);
            wait(room.v_empty + 8 * stage, parity);
            arrive_expecting(v_full, K_BYTES);
            for (int c = 0; c < COLUMNS; c++) copy_tile(room.v + stage * K_BYTES + c * K_COLUMN, v, 64 * c, key, head, item.batch, v_full);
        }
    }
    /* the last block to come here leaves the counters as they were */
    if (atomicInc((u32 *)p.counter + 1, gridDim.x - 1) == gridDim.x - 1) atomicExch(p.counter, 0);
}

/* With PINGPONG the two consumers take turns to issue their products, so that one does its softmax while the other has the tensor cores. */
__device__ __forceinline__ void turn_begins(int consumer) {
#if PINGPONG
    asm volatile("bar.sync %0, 256;" :: "r"(1 + consumer) : "memory");
#endif
}
__device__ __forceinline__ void turn_ends(int consumer) {
#if PINGPONG
    asm volatile("bar.arrive %0, 256;" :: "r"(2 - consumer) : "memory");
#endif
}

/* What a consumer works on: the n-th item of this block, and which tile of it; number -1: there is no more. */
struct Work {
    u32 n;
    int number, row, at, left;              /* `row`: the consumer's first; `at`: of the tile, or its entry in the list; `left`: tiles to go */
#if MASK
    const int *list;
#endif
};

/* Go on to the next item in which something is seen; of others, write the zeros. */
__device__ __forceinline__ void take(const Problem &p, const Mask &mask, const Room &room, int consumer, Work &work) {
    for (;; work.n++) {
        u32 slot = work.n % QUEUE;
        wait(room.q_full + 8 * slot, work.n / QUEUE & 1);
        asm volatile("ld.shared.u32 %0, [%1];" : "=r"(work.number) : "r"(room.slots + 4 * slot) : "memory");
        if (work.number < 0) return;
        Item item = item_of(p, work.number);
        Visits visits = visits_of(p, mask, item);
        work.row = first_row(item.block) + consumer * 64, work.at = visits.begin, work.left = visits.count;
#if MASK
        work.list = visits.list;
#endif
        if (visits.count) return;
        finish_empty(p, item, work.row);
        __syncwarp();
        if ((threadIdx.x & 31) == 0) arrive(room.q_empty + 8 * slot);
    }
}
/* Hide what the mask hides in the scores of the tile that is worked on; return whether there was something. */
__device__ __forceinline__ bool hide_in(float (&s)[KEYS / 2], const Problem &p, const Mask &mask, const Work &work, int consumer) {
#if MASK
    int entry = __ldg(work.list + work.at);
#else
    int entry = work.at;
#endif
    if (!hidden<KEYS>(mask, entry, work.row, p.keys)) return false;
    Item item = item_of(p, work.number);            /* found again each time: there are no registers to keep it in */
    Rows rows = rows_of(mask, mask_of(mask, item.batch, item.head), row_of(item, consumer), 2 * (threadIdx.x & 3), p.queries, p.keys);
    hide<KEYS>(s, rows, key_of<KEYS>(entry));
    return true;
}

__device__ __forceinline__ void consume(const Problem &p, const Mask &mask, const Room &room, int consumer) {
    const float none = __int_as_float(0xff800000);
    int lane = threadIdx.x & 31;
    float s[KEYS / 2], o[HEAD / 2], fall, fall_below;
    u32 fragment[KEYS / 4];
    u32 q = matrix_at(room.q + consumer * 8192, 16), k = matrix_at(room.k, 16), v = matrix_at(room.v, K_COLUMN);
    Work work;
    work.n = 0;
    take(p, mask, room, consumer, work);
    if (work.number < 0) return;
    Softmax state = {none, 0, none, 0};
    #pragma unroll
    for (int i = 0; i < HEAD / 2; i++) o[i] = 0;
    wait(room.k_full, 0);
    scores(s, q + work.n % QUEUE * (Q_BYTES / 16), k);
    products_wait<0>();
    keep(s);
    if (lane == 0) {
        arrive(room.k_empty);
        if (QUEUE == 1 && work.left == 1) arrive(room.q_empty);
    }
    bool hides = hide_in(s, p, mask, work, consumer);
    grown(s, state, p.scale, fall, fall_below);
    softmax(s, state, p.scale, hides);
    pack(fragment, s);
    for (u32 turn = 0;; turn++) {           /* tiles that have gone through the rings */
        /* here: fragment = P of tile `turn`; nothing is in flight */
        u32 before = turn % STAGES, now = (turn + 1) % STAGES;
        int ended = -1;                     /* the item that ends with this tile, and where its Q lies */
        float by, by_below;
        work.at++;
        if (--work.left == 0) {
            ended = work.number * 2 + work.n % QUEUE;
            finish_sums(p, item_of(p, work.number), state, consumer);
            by = state.sum, by_below = state.sum_below;
            work.n++;
            take(p, mask, room, consumer, work);
            state = Softmax{none, 0, none, 0};
        }
        if (work.number >= 0) wait(room.k_full + 8 * now, (turn + 1) / STAGES & 1);
        turn_begins(consumer);
        keep(s);
        keep(o);
        scores(s, q + work.n % QUEUE * (Q_BYTES / 16), k + now * (K_BYTES / 16));       /* the last time nobody reads them: no branch here */
        wait(room.v_full + 8 * before, turn / STAGES & 1);
        gather(o, fragment, v + before * (K_BYTES / 16));
        turn_ends(consumer);
        products_wait<1>();
        keep(s);
        if (work.number >= 0) {
            if (lane == 0) {
                arrive(room.k_empty + 8 * now);
                if (QUEUE == 1 && work.left == 1) arrive(room.q_empty);
            }
            hides = hide_in(s, p, mask, work, consumer);
        }
        bool grows = grown(s, state, p.scale, fall, fall_below);
        softmax(s, state, p.scale, hides);
        products_wait<0>();
        keep(o);
        if (lane == 0) arrive(room.v_empty + 8 * before);
        if (ended >= 0) {
            u32 slot = ended & 1;
            if (QUEUE > 1) together(consumer);
            finish(p, item_of(p, ended / 2), o, by, by_below, consumer,
                   room.q + slot * Q_BYTES + (consumer * 4 + (threadIdx.x & 127) / 32) * 2048);
            if (QUEUE > 1) {
                __syncwarp();
                if (lane == 0) arrive(room.q_empty + 8 * slot);
            }
            if (work.number < 0) return;
            #pragma unroll
            for (int i = 0; i < HEAD / 2; i++) o[i] = 0;
        } else if (grows) {
            shrink(o, fall, fall_below);
        }
        pack(fragment, s);
    }
}

extern "C" __global__ void __launch_bounds__(THREADS, 1)
attention_forward(const __grid_constant__ TensorMap q, const __grid_constant__ TensorMap k, const __grid_constant__ TensorMap v,
                  const __grid_constant__ Problem p, const __grid_constant__ Mask mask) {
    extern __shared__ __align__(1024) char memory[];
    Room room;
    room.q = shared_address(memory);
    room.k = room.q + QUEUE * Q_BYTES;
    room.v = room.k + STAGES * K_BYTES;
    room.slots = room.v + STAGES * K_BYTES;
    room.q_full = room.slots + 8, room.q_empty = room.q_full + 8 * QUEUE;
    room.k_full = room.q_empty + 8 * QUEUE, room.k_empty = room.k_full + 8 * STAGES;
    room.v_full = room.k_empty + 8 * STAGES, room.v_empty = room.v_full + 8 * STAGES;
    if (threadIdx.x == 0) {
        for (int i = 0; i < QUEUE; i++) {
            barrier_init(room.q_full + 8 * i, 1);
            barrier_init(room.q_empty + 8 * i, WARPS);
        }
        for (int i = 0; i < STAGES; i++) {
            barrier_init(room.k_full + 8 * i, 1);
            barrier_init(room.v_full + 8 * i, 1);
            barrier_init(room.k_empty + 8 * i, WARPS);
            barrier_init(room.v_empty + 8 * i, WARPS);
        }
        barriers_ready();
    }
    __syncthreads();
    int warpgroup = threadIdx.x / 128;
    if (warpgroup == 0) {
        registers_fewer<CONSUMERS == 2 ? 40 : 32>();
        if (threadIdx.x == 0) produce(&q, &k, &v, p, mask, room);
    } else {
        registers_more<CONSUMERS == 2 ? 232 : 160>();
        if (warpgroup == 2) turn_ends(1);
        consume(p, mask, room, warpgroup - 1);
    }
}

#if SPLIT
/* The output and log-sum-exp of rows (batch, heads, queries) from those of `parts` parts: rows of `depth` numbers without gaps, the parts one
   after the other. A block of threads for each row. */
extern "C" __global__ void __launch_bounds__(128)
attention_combine(const u16 *__restrict__ parts_out, const float *__restrict__ parts_lse, u16 *__restrict__ out, float *__restrict__ lse,
                  int rows, int parts, int depth) {
    int row = blockIdx.x;
    const float none = __int_as_float(0xff800000);
    float top = none, total = 0;
    for (int i = 0; i < parts; i++) top = fmaxf(top, parts_lse[(long long)i * rows + row]);
    float base = top == none ? 0 : top;
    for (int i = 0; i < parts; i++) total += expf(parts_lse[(long long)i * rows + row] - base);
    float by = total > 0 ? 1 / total : 0;
    for (int c = 2 * threadIdx.x; c < depth; c += 256) {
        float2 sum = make_float2(0, 0);
        for (int i = 0; i < parts; i++) {
            float weight = expf(parts_lse[(long long)i * rows + row] - base) * by;
            float2 x = unpacked(*(const u32 *)(parts_out + ((long long)i * rows + row) * depth + c));
            sum.x += weight * x.x, sum.y += weight * x.y;
        }
        *(u32 *)(out + (long long)row * depth + c) = packed(sum.x, sum.y);
    }
    if (threadIdx.x == 0) lse[row] = total > 0 ? top + logf(total) : none;
}
#endif
