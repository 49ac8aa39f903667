/* Attention, forward: out = softmax(scale q k^T) v and the log-sum-exp of each row, for 16-bit numbers on Hopper (sm_90a).

   A block of threads is one producer warpgroup, which asks the copy engine for tiles, and CONSUMERS warpgroups of 128 threads, each of which
   owns 64 queries. Blocks stay: each takes the next (batch, head, block of queries) from a counter when it is done with one, and its producer
   is then already loading.

       producer    Q        K0 V0 K1 V1 K2 V2 ...        next Q, K0 V0 ...        rings of STAGES tiles of K and of V
       consumer    S0=QK0   softmax S0   | S1=QK1  O+=P0 V0 | softmax S1 | S2=QK2  O+=P1 V1 | ...

   The products of a step run while the softmax of the one before is done by the other consumer, and S of the next key tile is issued
   before O += P V, so that the tensor cores have work during the softmax. P stays in registers: the fragment of an accumulator is that of
   an operand. The softmax is online (Milakov and Gimelshein 2018): m is the largest score so far, l the sum of exp(s - m), and O and l
   are scaled by exp(m_before - m) when m grows. Exponentials are powers of two, with scale * log2(e) in one FMA.

   SPLIT=1 is for few queries and many keys, as when a text is continued: there is one block of queries, an item is a part of its keys, and
   `attention_combine` weighs the outputs of the parts by their log-sum-exps.

   Compiled with -DBF16 -DHEAD=64|96|128|256 (head size; smaller ones are filled up with zeros by the copy engine) -DCONSUMERS -DKEYS
   -DSTAGES -DPINGPONG -DSPLIT -DMASK, after numbers.cuh, hopper.cuh, the products of wgmma,
   attention.cuh and attention_products.cuh.
   Source: Dao et al. 2022, arXiv:2205.14135; Shah et al. 2024, arXiv:2407.08608. */

enum {
    ROWS = 64 * CONSUMERS,                  /* queries of a block */
    COLUMNS = (HEAD + 63) / 64,             /* columns of 64 numbers in a tile */
    Q_COLUMN = ROWS * 128, K_COLUMN = KEYS * 128,
    Q_BYTES = COLUMNS * Q_COLUMN, K_BYTES = COLUMNS * K_COLUMN,
    OVER_Q = HEAD > 128,                    /* the output is gathered where Q was, as there is no room beside it */
    THREADS = 128 * (CONSUMERS + 1),
    WARPS = 4 * CONSUMERS,                  /* that arrive at the barriers of tiles that are free again */
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

/* the block of an item is one of queries; of parts of the keys, where SPLIT */
__device__ __forceinline__ int first_row(const Item &item) { return SPLIT ? 0 : item.block * ROWS; }
__device__ __forceinline__ Item item_of(const Problem &p, int number) {
    return item_of<const int &>(number, p.batch, p.heads, p.row_blocks, p.span, p.longest_first);
}

__device__ __forceinline__ Visits visits_of(const Problem &p, const Mask &mask, const Item &item) {
#if MASK
    return visits_listed(mask, mask_of(mask, item.batch, item.head), item.block);
#else
    int row = first_row(item);
    Visits all = visits_between(row + mask.low, min(p.keys, min(row + ROWS, p.queries) - 1 + mask.high), KEYS);
#if SPLIT
    all.begin += item.block * p.part, all.count = min(p.part, all.count - item.block * p.part);
#endif
    return all;
#endif
}
/* Write the rows of a warp, divided by their sums, and the log-sum-exp. row: the first one of the thread. */
__device__ __forceinline__ void finish(const Problem &p, const Item &item, const float (&o)[HEAD / 2], const Softmax &state, int row, u32 room) {
    int lane = threadIdx.x & 31, first = row - (lane >> 2);
    float sum = over_quad(state.sum, false), sum_below = over_quad(state.sum_below, false);
    float by = sum > 0 ? 1 / sum : 0, by_below = sum_below > 0 ? 1 / sum_below : 0;
    u16 *out = p.out + item.batch * p.out_batch + item.head * p.out_head + first * p.out_row + (SPLIT ? item.block * p.out_part : 0);
    write_rows<HEAD>(out, p.out_row, o, by, by_below, p.queries - first, p.depth, room, Q_COLUMN);
    if ((lane & 3) == 0) {
        float *lse = p.lse + ((SPLIT ? (long long)item.block * p.batch : 0) + item.batch) * p.heads * p.queries + item.head * p.queries;
        if (row < p.queries) lse[row] = log_sum(state.top, sum, p.scale);
        if (row + 8 < p.queries) lse[row + 8] = log_sum(state.top_below, sum_below, p.scale);
    }
}

/* Where things lie in shared memory. */
struct Room {
    u32 q, k, v, out, q_full, q_empty, k_full, k_empty, v_full, v_empty;
};

__device__ __forceinline__ void produce(const TensorMap *q, const TensorMap *k, const TensorMap *v, const Problem &p, const Mask &mask,
                                        const Room &room, volatile int *slot) {
    int items = p.batch * p.heads * p.row_blocks, number = blockIdx.x;
    u32 turn = 0;
    for (u32 n = 0;; n++) {
        wait(room.q_empty, n & 1 ^ 1);
        *slot = number < items ? number : -1;
        if (number >= items) {
            arrive(room.q_full);
            break;
        }
        Item item = item_of(p, number);
        arrive_expecting(room.q_full, Q_BYTES);
        for (int c = 0; c < COLUMNS; c++) copy_tile(room.q + c * Q_COLUMN, q, 64 * c, first_row(item), item.head, item.batch, room.q_full);
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

/* The output of 64 queries; `turn` counts the tiles that went through the rings. */
__device__ __forceinline__ void consume(const Problem &p, const Mask &mask, const Item &item, const Room &room, int consumer, u32 &turn) {
    int lane = threadIdx.x & 31, row = first_row(item) + consumer * 64, warp = (threadIdx.x & 127) / 32;
    Visits visits = visits_of(p, mask, item);
    Rows rows = rows_of(mask, mask_of(mask, item.batch, item.head), row + warp * 16 + lane / 4, 2 * (lane & 3), p.queries, p.keys);
    float s[KEYS / 2], o[HEAD / 2];
    u32 fragment[KEYS / 4];
    Softmax state = softmax_begins();
    #pragma unroll
    for (int i = 0; i < HEAD / 2; i++) o[i] = 0;
    u32 q = matrix_at(room.q + consumer * 8192, 16), k = matrix_at(room.k, 16), v = matrix_at(room.v, K_COLUMN);
    int entry = visits.count ? visit(visits, 0) : 0;
    if (visits.count) {
        u32 stage = turn % STAGES;
        wait(room.k_full + 8 * stage, turn / STAGES & 1);
        scores<Q_COLUMN, K_COLUMN>(s, q, k + stage * (K_BYTES / 16));
        products_wait<0>();
        keep(s);
        if (lane == 0) arrive(room.k_empty + 8 * stage);
        if (!OVER_Q && visits.count == 1 && lane == 0) arrive(room.q_empty);
        if (hidden<KEYS>(mask, entry, row, p.keys)) hide<KEYS>(s, rows, key_of<KEYS>(entry));
        softmax(s, state, p.scale);
        pack(fragment, s);
        for (int j = 1; j < visits.count; j++, turn++) {
            u32 before = turn % STAGES, now = (turn + 1) % STAGES;
            entry = visit(visits, j);
            wait(room.k_full + 8 * now, (turn + 1) / STAGES & 1);
            turn_begins(consumer);
            keep(s);
            keep(o);
            scores<Q_COLUMN, K_COLUMN>(s, q, k + now * (K_BYTES / 16));
            wait(room.v_full + 8 * before, turn / STAGES & 1);
            gather(o, fragment, v + before * (K_BYTES / 16));
            turn_ends(consumer);
            products_wait<1>();
            keep(s);
            if (lane == 0) {
                arrive(room.k_empty + 8 * now);
                if (!OVER_Q && j == visits.count - 1) arrive(room.q_empty);
            }
            if (hidden<KEYS>(mask, entry, row, p.keys)) hide<KEYS>(s, rows, key_of<KEYS>(entry));
            softmax(s, state, p.scale);
            products_wait<0>();
            keep(o);
            if (lane == 0) arrive(room.v_empty + 8 * before);
            shrink(o, state);
            pack(fragment, s);
        }
        stage = turn % STAGES;
        wait(room.v_full + 8 * stage, turn / STAGES & 1);
        keep(o);
        gather(o, fragment, v + stage * (K_BYTES / 16));
        products_wait<0>();
        keep(o);
        if (lane == 0) arrive(room.v_empty + 8 * stage);
        turn++;
    } else {
        __syncwarp();
        if (!OVER_Q && lane == 0) arrive(room.q_empty);
    }
    if (OVER_Q) together(consumer);
    finish(p, item, o, state, rows.row, room.out + (consumer * 4 + warp) * 2048);
    if (OVER_Q && lane == 0) arrive(room.q_empty);
}

extern "C" __global__ void __launch_bounds__(THREADS, 1)
attention_forward(const __grid_constant__ TensorMap q, const __grid_constant__ TensorMap k, const __grid_constant__ TensorMap v,
                  const __grid_constant__ Problem p, const __grid_constant__ Mask mask) {
    extern __shared__ __align__(1024) char memory[];
    Room room;
    room.q = shared_address(memory);
    room.k = room.q + Q_BYTES;
    room.v = room.k + STAGES * K_BYTES;
    room.out = OVER_Q ? room.q : room.v + STAGES * K_BYTES;
    room.q_full = room.v + STAGES * K_BYTES + (OVER_Q ? 0 : Q_BYTES);
    room.q_empty = room.q_full + 8;
    room.k_full = room.q_empty + 8;
    room.k_empty = room.k_full + 8 * STAGES;
    room.v_full = room.k_empty + 8 * STAGES;
    room.v_empty = room.v_full + 8 * STAGES;
    volatile int *slot = (volatile int *)(memory + (room.v_empty - room.q) + 8 * STAGES);
    if (threadIdx.x == 0) {
        barrier_init(room.q_full, 1);
        barrier_init(room.q_empty, WARPS);
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
        if (threadIdx.x == 0) produce(&q, &k, &v, p, mask, room, slot);
    } else {
        registers_more<CONSUMERS == 2 ? 232 : 160>();
        int consumer = warpgroup - 1;
        u32 turn = 0;
        if (consumer == 1) turn_ends(1);
        for (u32 n = 0;; n++) {
            wait(room.q_full, n & 1);
            int number = *slot;
            if (number < 0) break;
            consume(p, mask, item_of(p, number), room, consumer, turn);
        }
    }
}

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
