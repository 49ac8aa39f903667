/* Attention, backward, on all GPUs from sm_80 on: the gradients of k and v (SIDE 1), or of q (SIDE 0), by their owners. Comes after
   attention_general_back.cuh, which says how. */

/* The tiles that a block meets, head by head. */
struct Walk {
    Visits visits;
    int head, end, at;
};
__device__ __forceinline__ void walk_head(const Problem &p, const Mask &mask, Walk &walk, int batch, int block) {
    walk.at = 0;
#if MASK
    walk.visits = visits_listed(mask, mask_of(mask, batch, walk.head), block);
#else
    int from = block * OWN;
    walk.visits = SIDE == 1 ? visits_between(from - mask.high + 1, min(p.queries, min(from + OWN, p.keys) - mask.low), OTHER)
                            : visits_between(from + mask.low, min(p.keys, min(from + OWN, p.queries) - 1 + mask.high), OTHER);
#endif
}
/* to a head that meets something */
__device__ __forceinline__ void walk_on(const Problem &p, const Mask &mask, Walk &walk, int batch, int block) {
    while (walk.at >= walk.visits.count && ++walk.head < walk.end) walk_head(p, mask, walk, batch, block);
}

extern "C" __global__ void __launch_bounds__(THREADS, BLOCKS)
attention_general_backward(const __grid_constant__ Problem p, const __grid_constant__ Mask mask, const __grid_constant__ Extras extras) {
    extern __shared__ __align__(128) char memory[];
    u32 x = shared_address(memory), y = x + OWN_BYTES, others = y + OWN_BYTES;
    int lane = threadIdx.x & 31, warp = threadIdx.x >> 5;
    Item item = item_of<int>(blockIdx.x, p.batch, SIDE == 1 ? p.heads / p.group : p.heads, p.blocks, p.span, p.longest_first);
    int batch = item.batch, begin = item.block * OWN, row = begin + warp * 16 + lane / 4, own = SIDE == 1 ? p.keys : p.queries;
    Walk walk;
    walk.head = SIDE == 1 ? item.head * p.group : item.head, walk.end = walk.head + (SIDE == 1 ? p.group : 1);
    walk_head(p, mask, walk, batch, item.block);
    walk_on(p, mask, walk, batch, item.block);
    if (SIDE == 1) {
        load_tile<OWN, THREADS>(x, keys_at(p, batch, item.head, begin), p.k_row, p.keys - begin, p.bytes);
        load_tile<OWN, THREADS>(y, values_at(p, batch, item.head, begin), p.v_row, p.keys - begin, p.bytes_v);
    } else {
        load_tile<OWN, THREADS>(x, queries_at(p, batch, item.head, begin), p.q_row, p.queries - begin, p.bytes);
        load_tile<OWN, THREADS>(y, seeds_at(p, batch, item.head, begin), p.g_row, p.queries - begin, p.bytes_v);
    }
    copies_commit();                        /* only what is committed is waited for, and there may be no tile to ask for */
    Shifts shifts = {0, 0, 0, 0};
    if (SIDE == 0) shifts = shifts_of(p, batch, item.head, row);
    float of_x[1][HEAD / 2], of_y[1][HEAD / 2], s[1][OTHER / 2], of_p[1][OTHER / 2], slopes[OTHER / 2];
    #pragma unroll
    for (int e = 0; e < HEAD / 2; e++) of_x[0][e] = 0, of_y[0][e] = 0;
    u32 left = left_at(x + warp * 16 * PITCH, lane), left_y = left + OWN_BYTES;
    u32 right = right_at(others, lane), turned = turned_at(others, lane);
    int entry = walk.head < walk.end ? visit(walk.visits, walk.at) : 0;
    if (walk.head < walk.end) ask(p, others, batch, walk.head, key_of<OTHER>(entry));
    for (u32 j = 0; walk.head < walk.end; j++) {
        u32 stage = j % STAGES * STAGE_BYTES;
        copies_wait<0>();
        __syncthreads();                    /* the tile is there, and nobody reads the one before any more */
        int now = entry, first = key_of<OTHER>(entry), head = walk.head;
        walk.at++;
        walk_on(p, mask, walk, batch, item.block);
        if (walk.head < walk.end) {
            entry = visit(walk.visits, walk.at);
            if (STAGES == 2) ask(p, others + (j + 1) % 2 * STAGE_BYTES, batch, walk.head, key_of<OTHER>(entry));
        }
        u32 sums = others + stage + 2 * OTHER_BYTES;
        scores(s, left, right + stage);
        if (GIVES & 1) scores(of_p, left_y, right + stage + OTHER_BYTES);
        probabilities(s[0], slopes, p, mask, extras, shifts, batch, head, row, first, now, sums);
        if (GIVES & 1) to_slopes(of_p[0], s[0], slopes, extras, shifts, sums);
        if (GIVES & 2) {
#if DROPOUT
            #pragma unroll
            for (int e = 0; e < OTHER / 2; e++) s[0][e] = fmaxf(s[0][e], 0);
#endif
            gather(of_y, s, turned + stage + OTHER_BYTES);
        }
        if (GIVES & 1) gather(of_x, of_p, turned + stage);
        if (STAGES == 1) {
            __syncthreads();
            if (walk.head < walk.end) ask(p, others, batch, walk.head, key_of<OTHER>(entry));
        }
    }
    copies_wait<0>();
    __syncthreads();                        /* also where nothing is visited: the rows of X make room for those that leave */
    int start = begin + warp * 16;
    u32 room = x + warp * 16 * PITCH;
    if (GIVES & 1)
        write_rows(p.to_x + batch * p.x_batch + item.head * p.x_head + start * p.x_row, p.x_row, of_x[0], p.scale, p.scale, own - start,
                   p.bytes, room);
    float kept = DROPOUT ? extras.kept : 1;
    if (GIVES & 2)
        write_rows(p.to_y + batch * p.y_batch + item.head * p.y_head + start * p.y_row, p.y_row, of_y[0], kept, kept, own - start,
                   p.bytes_v, room);
}
