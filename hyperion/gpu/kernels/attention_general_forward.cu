/* Attention, forward, on all GPUs from sm_80 on: out = softmax(scores) v and the log-sum-exp of each row, where the scores are scale q k^T,
   perhaps modified, with a bias or ALiBi (attention_general.cuh), in 16 bits or float32.

   A block of threads owns ROWS queries, TILES blocks of 16 for each of its WARPS, and goes over the tiles of keys that they see:

       wait for K     ask for V      S = Q K^T      wait for V      softmax      ask for the next K      O += P V

   so that copies arrive while products run, and a second block on the same multiprocessor fills what gaps are left. (To ask for K before
   the softmax takes registers that are not there.) S, P and O stay in registers: an accumulator is a left factor. Every right factor that
   is read from shared memory serves all TILES of the warp.

   Compiled with -DBF16 -DSINGLE -DHEAD (a multiple of 32) -DWARPS -DTILES -DKEYS -DBLOCKS -DMASK and what attention_general.cuh
   names, after numbers.cuh, warp.cuh, attention.cuh, mma.cuh and attention_general.cuh.
   Source: Dao 2023, arXiv:2307.08691, section 3; Milakov and Gimelshein 2018, arXiv:1805.02867. */

enum {
    ROWS = 16 * TILES * WARPS,
    THREADS = 32 * WARPS,
};

struct Problem {
    const char *q, *k, *v;
    char *out;
    float *lse;                             /* (batch, heads, queries) */
    long long q_batch, q_head, q_row, k_batch, k_head, k_row, v_batch, v_head, v_row, o_batch, o_head, o_row;      /* strides in bytes */
    int batch, heads, group, queries, keys, bytes, bytes_v;     /* bytes: of a row of q and k, and of v */
    int row_blocks, span, longest_first;
    float scale, scale_log2;
};

extern "C" __global__ void __launch_bounds__(THREADS, BLOCKS)
attention_general_forward(const __grid_constant__ Problem p, const __grid_constant__ Mask mask, const __grid_constant__ Extras extras) {
    extern __shared__ __align__(128) char memory[];
    u32 q = shared_address(memory), k = q + ROWS * PITCH, v = k + KEYS * PITCH;
    int lane = threadIdx.x & 31, warp = threadIdx.x >> 5;
    Item item = item_of<int>(blockIdx.x, p.batch, p.heads, p.row_blocks, p.span, p.longest_first);
    Place place = {item.batch, item.head};
    int begin = item.block * ROWS, row = begin + warp * 16 * TILES;
    long long number = mask_of(mask, item.batch, item.head);
#if MASK
    Visits visits = visits_listed(mask, number, item.block);
#else
    Visits visits = visits_between(begin + mask.low, min(p.keys, min(begin + ROWS, p.queries) - 1 + mask.high), KEYS);
#endif
    const char *from_k = p.k + item.batch * p.k_batch + item.head / p.group * p.k_head;
    const char *from_v = p.v + item.batch * p.v_batch + item.head / p.group * p.v_head;
    int entry = visits.count ? visit(visits, 0) : 0, key = key_of<KEYS>(entry);
    load_tile<ROWS, THREADS>(q, p.q + item.batch * p.q_batch + item.head * p.q_head + begin * p.q_row, p.q_row, p.queries - begin, p.bytes);
    if (visits.count) load_tile<KEYS, THREADS>(k, from_k + key * p.k_row, p.k_row, p.keys - key, p.bytes);
    copies_commit();
    float o[TILES][HEAD / 2], s[TILES][KEYS / 2];
    Softmax state[TILES];
    #pragma unroll
    for (int i = 0; i < TILES; i++) {
        state[i] = softmax_begins();
        #pragma unroll
        for (int e = 0; e < HEAD / 2; e++) o[i][e] = 0;
    }
    u32 left = left_at(q + warp * 16 * TILES * PITCH, lane), right = right_at(k, lane), turned = turned_at(v, lane);
    #pragma unroll 1
    for (int j = 0; j < visits.count; j++) {
        copies_wait<0>();
        __syncthreads();                    /* K is there, and nobody reads V any more */
        load_tile<KEYS, THREADS>(v, from_v + key * p.v_row, p.v_row, p.keys - key, p.bytes_v);
        copies_commit();
        scores(s, left, right);
        copies_wait<0>();
        __syncthreads();                    /* V is there, and nobody reads K any more */
        #pragma unroll
        for (int i = 0; i < TILES; i++) {
            int first = row + 16 * i;
            edit<0>(s[i], extras, place, p.scale, first + lane / 4, key + 2 * (lane & 3), p.queries, p.keys);
            if (hidden<KEYS, 16>(mask, entry, first, p.keys))
                hide<KEYS>(s[i], rows_of(mask, number, first + lane / 4, 2 * (lane & 3), p.queries, p.keys), key);
            softmax(s[i], state[i], p.scale_log2);
            shrink(o[i], state[i]);
            drop<0>(s[i], extras, row_of(extras, item.batch, item.head, p.heads, p.queries) + first + lane / 4, key);
        }
        if (j + 1 < visits.count) {
            entry = visit(visits, j + 1), key = key_of<KEYS>(entry);
            load_tile<KEYS, THREADS>(k, from_k + key * p.k_row, p.k_row, p.keys - key, p.bytes);
            copies_commit();
        }
        gather(o, s, turned);
    }
    copies_wait<0>();
    __syncthreads();                        /* also where nothing is visited: the rows of Q make room for those of O */
    #pragma unroll
    for (int i = 0; i < TILES; i++) {
        int first = row + 16 * i, mine = first + lane / 4;
        float sum = over_quad(state[i].sum, false), sum_below = over_quad(state[i].sum_below, false), factor = DROPOUT ? extras.kept : 1;
        float by = sum > 0 ? factor / sum : 0, by_below = sum_below > 0 ? factor / sum_below : 0;
        write_rows(p.out + item.batch * p.o_batch + item.head * p.o_head + first * p.o_row, p.o_row, o[i], by, by_below, p.queries - first,
                   p.bytes_v, q + (warp * TILES + i) * 16 * PITCH);
        float *lse = p.lse + ((long long)item.batch * p.heads + item.head) * p.queries;
        if ((lane & 3) == 0 && mine < p.queries) lse[mine] = log_sum(state[i].top, sum, p.scale_log2);
        if ((lane & 3) == 0 && mine + 8 < p.queries) lse[mine + 8] = log_sum(state[i].top_below, sum_below, p.scale_log2);
    }
}
