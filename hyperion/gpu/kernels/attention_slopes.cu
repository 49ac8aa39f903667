/* Attention, backward: the gradient of q alone, reproducible to the last bit, for 16-bit numbers on Hopper (sm_90a).

       dS = P * (dO v^T - D),   dQ = scale dS k

   A block of threads owns 128 queries and goes over the tiles of keys that they see, as the forward kernel does: a producer warpgroup asks
   for tiles, two consumers own 64 queries each. P is made again from the log-sum-exp; dS stays in registers as the operand of dQ += dS k,
   whose products run while the next tile's scores are waited for. Each sum has one owner and one order. It repeats two of the products of
   attention_backward.cu (compiled with ADDS=0): seven instead of five in all.

   Compiled with -DBF16 -DHEAD=64|128 -DKEYS -DSTAGES -DMASK, after numbers.cuh, hopper.cuh, the products of wgmma, attention.cuh and attention_products.cuh. */

enum {
    ROWS = 128,
    COLUMNS = HEAD / 64,
    Q_COLUMN = ROWS * 128, K_COLUMN = KEYS * 128,
    Q_BYTES = COLUMNS * Q_COLUMN, K_BYTES = COLUMNS * K_COLUMN,
    THREADS = 384,
};

struct Problem {
    const float *lse, *shift;               /* times log2(e), and D: (batch, heads, tiles) */
    u16 *to_q;
    long long q_batch, q_head, q_row;       /* strides in numbers */
    int batch, heads, group, queries, keys, depth, tiles, row_blocks, span, longest_first;
    float scale_log2, scale;
};

__device__ __forceinline__ Visits visits_of(const Problem &p, const Mask &mask, int batch, int head, int block) {
#if MASK
    return visits_listed(mask, mask_of(mask, batch, head), block);
#else
    int row = block * ROWS;
    return visits_between(row + mask.low, min(p.keys, min(row + ROWS, p.queries) - 1 + mask.high), KEYS);
#endif
}

/* The log-sum-exp and D of a thread's two rows. */
struct Shifts {
    float lse, lse_below, by, by_below;
};

__device__ __forceinline__ void probabilities(float (&s)[KEYS / 2], const Shifts &row, float scale) {
    #pragma unroll
    for (int i = 0; i < KEYS / 8; i++) {
        s[4 * i] = exp2_fast(s[4 * i] * scale - row.lse), s[4 * i + 1] = exp2_fast(s[4 * i + 1] * scale - row.lse);
        s[4 * i + 2] = exp2_fast(s[4 * i + 2] * scale - row.lse_below), s[4 * i + 3] = exp2_fast(s[4 * i + 3] * scale - row.lse_below);
    }
}
__device__ __forceinline__ void pack_slopes(u32 (&d)[KEYS / 4], const float (&p)[KEYS / 2], const float (&of_p)[KEYS / 2], const Shifts &row) {
    #pragma unroll
    for (int i = 0; i < KEYS / 8; i++) {
        d[2 * i] = packed(p[4 * i] * (of_p[4 * i] - row.by), p[4 * i + 1] * (of_p[4 * i + 1] - row.by));
        d[2 * i + 1] = packed(p[4 * i + 2] * (of_p[4 * i + 2] - row.by_below), p[4 * i + 3] * (of_p[4 * i + 3] - row.by_below));
    }
}

struct Room {
    u32 q, o, k, v, rows_full, k_full, k_empty, v_full, v_empty;
};

__device__ __forceinline__ void produce(const TensorMap *q, const TensorMap *k, const TensorMap *v, const TensorMap *o, const Problem &p,
                                        const Visits &visits, const Room &room, int batch, int head, int block) {
    arrive_expecting(room.rows_full, 2 * Q_BYTES);
    for (int c = 0; c < COLUMNS; c++) {
        copy_tile(room.q + c * Q_COLUMN, q, 64 * c, block * ROWS, head, batch, room.rows_full);
        copy_tile(room.o + c * Q_COLUMN, o, 64 * c, block * ROWS, head, batch, room.rows_full);
    }
    int kept = head / p.group;
    for (u32 j = 0; j < visits.count; j++) {
        u32 stage = j % STAGES, parity = j / STAGES & 1 ^ 1, k_full = room.k_full + 8 * stage, v_full = room.v_full + 8 * stage;
        int key = key_of<KEYS>(visit(visits, j));
        wait(room.k_empty + 8 * stage, parity);
        arrive_expecting(k_full, K_BYTES);
        for (int c = 0; c < COLUMNS; c++) copy_tile(room.k + stage * K_BYTES + c * K_COLUMN, k, 64 * c, key, kept, batch, k_full);
        wait(room.v_empty + 8 * stage, parity);
        arrive_expecting(v_full, K_BYTES);
        for (int c = 0; c < COLUMNS; c++) copy_tile(room.v + stage * K_BYTES + c * K_COLUMN, v, 64 * c, key, kept, batch, v_full);
    }
}

__device__ __forceinline__ void consume(const Problem &p, const Mask &mask, const Visits &visits, const Room &room, int consumer, int batch,
                                        int head, int block) {
    int thread = threadIdx.x & 127, lane = thread & 31, warp = thread >> 5;
    int from = block * ROWS + consumer * 64, row = from + warp * 16 + (lane >> 2);
    Rows rows = rows_of(mask, mask_of(mask, batch, head), row, 2 * (lane & 3), p.queries, p.keys);
    const float nothing = __int_as_float(0x7f800000);       /* +inf: exp(s - inf) = 0 */
    long long at = (long long)(batch * p.heads + head) * p.tiles;
    Shifts shifts;
    shifts.lse = row < p.queries ? __ldg(p.lse + at + row) : nothing, shifts.by = row < p.queries ? __ldg(p.shift + at + row) : 0;
    shifts.lse_below = row + 8 < p.queries ? __ldg(p.lse + at + row + 8) : nothing;
    shifts.by_below = row + 8 < p.queries ? __ldg(p.shift + at + row + 8) : 0;
    float of_q[HEAD / 2], s[KEYS / 2], of_p[KEYS / 2];
    u32 slopes[KEYS / 4];
    #pragma unroll
    for (int i = 0; i < HEAD / 2; i++) of_q[i] = 0;
    u32 q = matrix_at(room.q + consumer * 8192, 16), o = matrix_at(room.o + consumer * 8192, 16);
    u32 k = matrix_at(room.k, 16), v = matrix_at(room.v, 16), k_inner = matrix_at(room.k, K_COLUMN);
    wait(room.rows_full, 0);
    if (visits.count) {
        int entry = visit(visits, 0);
        wait(room.k_full, 0);
        scores<Q_COLUMN, K_COLUMN>(s, q, k);
        wait(room.v_full, 0);
        scores<Q_COLUMN, K_COLUMN>(of_p, o, v);
        products_wait<1>();
        keep(s);
        if (hidden<KEYS>(mask, entry, from, p.keys)) hide<KEYS>(s, rows, key_of<KEYS>(entry));
        probabilities(s, shifts, p.scale_log2);
        products_wait<0>();
        keep(of_p);
        if (lane == 0) arrive(room.v_empty);
        pack_slopes(slopes, s, of_p, shifts);
        for (u32 j = 1; j < visits.count; j++) {
            u32 before = (j - 1) % STAGES, now = j % STAGES, parity = j / STAGES & 1;
            entry = visit(visits, j);
            wait(room.k_full + 8 * now, parity);
            keep(s);
            keep(of_p);
            keep(of_q);
            scores<Q_COLUMN, K_COLUMN>(s, q, k + now * (K_BYTES / 16));
            wait(room.v_full + 8 * now, parity);
            scores<Q_COLUMN, K_COLUMN>(of_p, o, v + now * (K_BYTES / 16));
            gather(of_q, slopes, k_inner + before * (K_BYTES / 16));
            products_wait<2>();
            keep(s);
            if (hidden<KEYS>(mask, entry, from, p.keys)) hide<KEYS>(s, rows, key_of<KEYS>(entry));
            probabilities(s, shifts, p.scale_log2);
            products_wait<0>();
            keep(of_p);
            keep(of_q);
            if (lane == 0) {
                arrive(room.k_empty + 8 * before);
                arrive(room.v_empty + 8 * now);
            }
            pack_slopes(slopes, s, of_p, shifts);
        }
        keep(of_q);
        gather(of_q, slopes, k_inner + (visits.count - 1) % STAGES * (K_BYTES / 16));
        products_wait<0>();
        keep(of_q);
    }
    together(consumer);                             /* the warpgroup has read its rows of Q */
    int first = from + warp * 16;
    write_rows<HEAD>(p.to_q + batch * p.q_batch + head * p.q_head + first * p.q_row, p.q_row, of_q, p.scale, p.scale, p.queries - first, p.depth,
                     room.q + (consumer * 64 + warp * 16) * 128, Q_COLUMN);
}

extern "C" __global__ void __launch_bounds__(THREADS, 1)
attention_slopes(const __grid_constant__ TensorMap q, const __grid_constant__ TensorMap k, const __grid_constant__ TensorMap v,
                 const __grid_constant__ TensorMap o, const __grid_constant__ Problem p, const __grid_constant__ Mask mask) {
    extern __shared__ __align__(1024) char memory[];
    Room room;
    room.q = shared_address(memory);
    room.o = room.q + Q_BYTES;
    room.k = room.o + Q_BYTES;
    room.v = room.k + STAGES * K_BYTES;
    room.rows_full = room.v + STAGES * K_BYTES;
    room.k_full = room.rows_full + 8, room.k_empty = room.k_full + 8 * STAGES;
    room.v_full = room.k_empty + 8 * STAGES, room.v_empty = room.v_full + 8 * STAGES;
    if (threadIdx.x == 0) {
        barrier_init(room.rows_full, 1);
        for (int i = 0; i < STAGES; i++) {
            barrier_init(room.k_full + 8 * i, 1);
            barrier_init(room.v_full + 8 * i, 1);
            barrier_init(room.k_empty + 8 * i, 8);
            barrier_init(room.v_empty + 8 * i, 8);
        }
        barriers_ready();
    }
    __syncthreads();
    Item item = item_of<const int &>(blockIdx.x, p.batch, p.heads, p.row_blocks, p.span, p.longest_first);
    int batch = item.batch, head = item.head, block = item.block;
    Visits visits = visits_of(p, mask, batch, head, block);
    int warpgroup = threadIdx.x / 128;
    if (warpgroup == 0) {
        registers_fewer<40>();
        if (threadIdx.x == 0) produce(&q, &k, &v, &o, p, visits, room, batch, head, block);
    } else {
        registers_more<232>();
        consume(p, mask, visits, room, warpgroup - 1, batch, head, block);
    }
}
