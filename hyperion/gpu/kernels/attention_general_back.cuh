/* What the backward kernels of attention on all GPUs from sm_80 on have in common, in 16 bits or float32, with all that scores can go
   through (attention_general.cuh). Each sum has one owner and one order: the same bits at every run.

       P  = exp(scores - lse)          D = rowsum(dO * O) - (gradient of lse)
       dS = P * (kept dO v^T - D)      dV = (kept P)^T dO       dK = scale (dS f')^T q       dQ = scale (dS f') k        d bias = dS

   where `kept` is the dropout and f' the derivative of a modifier. A block owns rows of two arrays and goes over tiles of two others:

       SIDE 0   owns queries: X = q, Y = dO, goes over keys: U = k, W = v         gives dX = dQ
       SIDE 1   owns keys: X = k, Y = v, goes over queries: U = q, W = dO         gives dX = dK (GIVES & 1) and dY = dV (GIVES & 2)
       SIDE 2   owns a tile of the bias, goes over the batch and the heads for which it is the same (`attention_general_bias`)

   so that S = X U^T, dP = Y W^T, dX += dS U and dY += P W have the rows of the block as their rows, and P and dS stay in registers.

   Compiled with -DBF16 -DSINGLE -DHEAD (a multiple of 32) -DWARPS (of 16 rows each) -DOTHER (rows of a tile of U and W) -DSTAGES -DBLOCKS
   -DSIDE -DGIVES -DMASK and what attention_general.cuh names, after numbers.cuh, warp.cuh, attention.cuh, mma.cuh and that.
   Source: Dao 2023, arXiv:2307.08691, algorithm 2. */

enum {
    OWN = 16 * WARPS,
    THREADS = 32 * WARPS,
    OWN_BYTES = OWN * PITCH, OTHER_BYTES = OTHER * PITCH,
    SUMS_BYTES = OTHER * 4,                 /* of the log-sum-exps of a tile of queries, or of D */
    STAGE_BYTES = 2 * OTHER_BYTES + 2 * SUMS_BYTES,
};

struct Problem {
    const char *q, *k, *v, *of_o;
    const float *lse, *shift;               /* times log2(e), and D: (batch, heads, padded), +inf and 0 beyond the queries */
    char *to_x, *to_y;                      /* gradients of X and of Y */
    float *to_bias;                         /* (.., .., rows of the bias or blocks, keys of the bias or tiles), where SIDE is 2 */
    long long q_batch, q_head, q_row, k_batch, k_head, k_row, v_batch, v_head, v_row, g_batch, g_head, g_row;      /* strides in bytes */
    long long x_batch, x_head, x_row, y_batch, y_head, y_row;
    int batch, heads, group, queries, keys, bytes, bytes_v, padded;
    int blocks, span, longest_first, tiles;
    int bias_batch, bias_heads, bias_rows, bias_keys;       /* lengths of the bias's gradient, where SIDE is 2 */
    float scale, scale_log2;
};

/* Where the rows of a head begin. */
__device__ __forceinline__ const char *queries_at(const Problem &p, int batch, int head, int row) {
    return p.q + batch * p.q_batch + head * p.q_head + row * p.q_row;
}
__device__ __forceinline__ const char *seeds_at(const Problem &p, int batch, int head, int row) {
    return p.of_o + batch * p.g_batch + head * p.g_head + row * p.g_row;
}
__device__ __forceinline__ const char *keys_at(const Problem &p, int batch, int kept, int row) {
    return p.k + batch * p.k_batch + kept * p.k_head + row * p.k_row;
}
__device__ __forceinline__ const char *values_at(const Problem &p, int batch, int kept, int row) {
    return p.v + batch * p.v_batch + kept * p.v_head + row * p.v_row;
}

/* Ask for a tile of U and W, and where they are queries, for what belongs to their rows. head: of queries */
__device__ __forceinline__ void ask(const Problem &p, u32 to, int batch, int head, int first) {
    if (SIDE == 1) {
        load_tile<OTHER, THREADS>(to, queries_at(p, batch, head, first), p.q_row, p.queries - first, p.bytes);
        load_tile<OTHER, THREADS>(to + OTHER_BYTES, seeds_at(p, batch, head, first), p.g_row, p.queries - first, p.bytes_v);
        long long at = ((long long)batch * p.heads + head) * p.padded + first;
        int n = threadIdx.x;
        if (n < OTHER / 4) copy_pack(to + 2 * OTHER_BYTES + n * 16, p.lse + at + 4 * n, true);
        else if (n < OTHER / 2) copy_pack(to + 2 * OTHER_BYTES + n * 16, p.shift + at + 4 * (n - OTHER / 4), true);
    } else {
        int kept = head / p.group;
        load_tile<OTHER, THREADS>(to, keys_at(p, batch, kept, first), p.k_row, p.keys - first, p.bytes);
        load_tile<OTHER, THREADS>(to + OTHER_BYTES, values_at(p, batch, kept, first), p.v_row, p.keys - first, p.bytes_v);
    }
    copies_commit();
}

/* The log-sum-exp and D of a thread's two rows, where these are queries. */
struct Shifts {
    float lse, lse_below, by, by_below;
};
__device__ __forceinline__ Shifts shifts_of(const Problem &p, int batch, int head, int row) {
    const float nothing = __int_as_float(0x7f800000);       /* +inf: exp(s - inf) = 0 */
    long long at = ((long long)batch * p.heads + head) * p.padded + row;
    bool there = row < p.queries, below = row + 8 < p.queries;
    return Shifts{there ? __ldg(p.lse + at) : nothing, below ? __ldg(p.lse + at + 8) : nothing,
                  there ? __ldg(p.shift + at) : 0, below ? __ldg(p.shift + at + 8) : 0};
}

/* Scores of a warp to probabilities, negative where they are dropped; `slopes`: the modifier's derivatives. Rows are `row` and `row + 8`,
   columns those of a tile that begins at `first`. sums: of the tile's queries, in shared memory, where SIDE is 1. */
__device__ __forceinline__ void probabilities(float (&s)[OTHER / 2], float (&slopes)[OTHER / 2], const Problem &p, const Mask &mask,
                                              const Extras &extras, const Shifts &shifts, int batch, int head, int row, int first,
                                              int entry, u32 sums) {
    int lane = threadIdx.x & 31, column = 2 * (lane & 3), start = row - (lane >> 2);
    Place place = {batch, head};
    long long number = mask_of(mask, batch, head);
#if MODIFIED
    #pragma unroll
    for (int e = 0; e < OTHER / 2; e++) {
        int i = row + e / 2 % 2 * 8, j = first + column + e / 4 * 8 + e % 2;
        slopes[e] = modified_slope(s[e] * p.scale, (float)head, (float)((SIDE == 1 ? j : i) + extras.shift), (float)(SIDE == 1 ? i : j));
    }
#endif
    edit<SIDE == 1>(s, extras, place, p.scale, row, first + column, SIDE == 1 ? p.keys : p.queries, SIDE == 1 ? p.queries : p.keys);
    if (SIDE != 1 && (SIDE == 2 || hidden<OTHER, 16>(mask, entry, start, p.keys)))
        hide<OTHER>(s, rows_of(mask, number, row, column, p.queries, p.keys), first);
    #pragma unroll
    for (int i = 0; i < OTHER / 8; i++) {
        float2 here = SIDE == 1 ? load_singles(sums + (8 * i + column) * 4) : make_float2(shifts.lse, shifts.lse);
        float2 below = SIDE == 1 ? here : make_float2(shifts.lse_below, shifts.lse_below);
        s[4 * i] = exp2_fast(s[4 * i] * p.scale_log2 - here.x), s[4 * i + 1] = exp2_fast(s[4 * i + 1] * p.scale_log2 - here.y);
        s[4 * i + 2] = exp2_fast(s[4 * i + 2] * p.scale_log2 - below.x), s[4 * i + 3] = exp2_fast(s[4 * i + 3] * p.scale_log2 - below.y);
    }
    if (SIDE == 1 && hidden_turned<OTHER, 16>(mask, entry, start, p.keys))
        hide_turned<OTHER>(s, mask, number, row, first + column, p.queries, p.keys);
    long long from = row_of(extras, batch, head, p.heads, p.queries);
    if (SIDE == 1) drop_turned(s, extras, from + first, start, column);
    else drop<1>(s, extras, from + row, first);
}

/* dP to dS, of probabilities that are negative where they are dropped */
__device__ __forceinline__ void to_slopes(float (&of_p)[OTHER / 2], const float (&s)[OTHER / 2], const float (&slopes)[OTHER / 2],
                                          const Extras &extras, const Shifts &shifts, u32 sums) {
    int column = 2 * (threadIdx.x & 3);
    #pragma unroll
    for (int i = 0; i < OTHER / 8; i++) {
        float2 here = SIDE == 1 ? load_singles(sums + SUMS_BYTES + (8 * i + column) * 4) : make_float2(shifts.by, shifts.by);
        float2 below = SIDE == 1 ? here : make_float2(shifts.by_below, shifts.by_below);
        #pragma unroll
        for (int e = 0; e < 4; e++) {
            int at = 4 * i + e;
            float by = e == 0 ? here.x : e == 1 ? here.y : e == 2 ? below.x : below.y, x = of_p[at];
#if DROPOUT
            x = s[at] < 0 ? 0 : x * extras.kept;
#endif
            of_p[at] = fabsf(s[at]) * (x - by);
#if MODIFIED
            if (SIDE != 2) of_p[at] *= slopes[at];
#endif
        }
    }
}
