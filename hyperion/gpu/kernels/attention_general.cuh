/* What the attention kernels for all GPUs from sm_80 on do to scores and probabilities. Compiled with

   -DMODIFIED=1  scores go through `modified`, a function that is generated; `modified_slope` is its derivative
   -DBIAS=1      a bias is added, in the type of the inputs (2: in float32)
   -DALIBI=1     a slope of each head times the distance is taken off
   -DDROPOUT=1   probabilities are 0 or multiplied by `kept`

   Scores are in units of 1 when one of the first three is there, and then already scaled. */

#define EDITED (MODIFIED || BIAS || ALIBI)

struct Extras {
    const void *bias;
    const float *slopes;                    /* of ALiBi, one for each head */
    long long bias_batch, bias_head, bias_row, bias_key;        /* strides in numbers, 0 where it is the same for all */
    u64 key[2];                             /* Philox's */
    u32 limit;                              /* a score is kept if its number is not below */
    float kept;                             /* 1 / (1 - rate) */
    int rows_of_batch, wide;                /* dropout begins again after so many rows of the batch; keys in full eights */
    int offset, shift;                      /* key - query of distance 0 for ALiBi; and for modifiers, the last query at the last key */
};

/* A thread's place in the table of scores. */
struct Place {
    int batch, head;
};

__device__ __forceinline__ float bias_at(const Extras &x, long long at) {
#if BIAS == 2 || SINGLE
    return __ldg((const float *)x.bias + at);
#else
    return unpacked(__ldg((const u16 *)x.bias + at)).x;
#endif
}

/* One score, given query and key: after the modifier, with bias and ALiBi. */
__device__ __forceinline__ float edited(float s, const Extras &x, const Place &place, long long bias, float slope, int query, int key) {
#if MODIFIED
    s = modified(s, (float)place.head, (float)(query + x.shift), (float)key);
#endif
#if BIAS
    s += bias_at(x, bias + query * x.bias_row + key * x.bias_key);
#endif
#if ALIBI
    s -= slope * fabsf((float)(query + x.offset - key));
#endif
    return s;
}
__device__ __forceinline__ long long bias_of(const Extras &x, const Place &place) {
    return BIAS ? place.batch * x.bias_batch + place.head * x.bias_head : 0;
}

/* All scores of a thread: rows `row` and `row + 8`, columns from `column` on in steps of 8, and the one after each.
   TURNED: rows are keys and columns queries. rows, columns: how many there are; what lies beyond reads the last one's bias, and is hidden
   later. */
template <int TURNED, int N> __device__ __forceinline__ void edit(float (&s)[N], const Extras &x, const Place &place, float scale,
                                                                  int row, int column, int rows, int columns) {
#if EDITED
    long long bias = bias_of(x, place);
    float slope = ALIBI ? __ldg(x.slopes + place.head) : 0;
    #pragma unroll
    for (int e = 0; e < N; e++) {
        int i = min(row + e / 2 % 2 * 8, rows - 1), j = min(column + e / 4 * 8 + e % 2, columns - 1);
        s[e] = edited(s[e] * scale, x, place, bias, slope, TURNED ? j : i, TURNED ? i : j);
    }
#endif
}

/* The number of query 0 of a head among all rows for which dropout draws. */
__device__ __forceinline__ long long row_of(const Extras &x, int batch, int head, int heads, int queries) {
    return ((long long)(DROPOUT ? batch % x.rows_of_batch : batch) * heads + head) * queries;
}

#if DROPOUT
/* Philox 4x64 with 10 rounds, of the block of a number, the counters above it 0. Reference: autograd/random/bits.py */
__device__ __forceinline__ void philox(const Extras &x, u64 block, u32 (&words)[8]) {
    u64 a = block, b = 0, c = 0, d = 0, first = x.key[0], second = x.key[1];
    #pragma unroll
    for (int round = 0; round < 10; round++) {
        u64 upper = __umul64hi(0xD2E7470EE14C6C93ull, a), lower = 0xD2E7470EE14C6C93ull * a;
        u64 upper2 = __umul64hi(0xCA5A826395121157ull, c), lower2 = 0xCA5A826395121157ull * c;
        a = upper2 ^ b ^ first, b = lower2, c = upper ^ d ^ second, d = lower;
        first += 0x9E3779B97F4A7C15ull, second += 0xBB67AE8584CAA73Bull;
    }
    words[0] = (u32)a, words[1] = (u32)(a >> 32), words[2] = (u32)b, words[3] = (u32)(b >> 32);
    words[4] = (u32)c, words[5] = (u32)(c >> 32), words[6] = (u32)d, words[7] = (u32)(d >> 32);
}
/* Lanes that differ in `bit` exchange halves: the first of a pair keeps x and gets the other's x as y, the second the other way round. */
__device__ __forceinline__ void exchange(u32 &x, u32 &y, bool second, int bit) {
    u32 found = __shfl_xor_sync(~0u, second ? x : y, bit);
    if (second) x = found; else y = found;
}
#endif

/* Zeros for probabilities that are dropped, of 16 rows of a warp and N / 2 columns in all (the thread's as above, `row` its first): number
   row * wide + key belongs to a score, eight of which share a block of Philox. `row` counts all queries of all heads. Each lane makes one
   block of those that its neighbours need, and they exchange them. The factor of those that are kept is left to the caller.
   FLAG: not zeros but the other sign. */
template <int FLAG, int N> __device__ __forceinline__ void drop(float (&p)[N], const Extras &x, long long row, int key) {
#if DROPOUT
    int t = threadIdx.x & 3;                /* lane t of a quad makes the block of row t % 2 and eight keys t / 2; `key`: the first */
    #pragma unroll
    for (int i = 0; i < N / 8; i++) {
        u32 w[8];
        philox(x, (u64)((row + t % 2 * 8) * x.wide + key + (2 * i + t / 2) * 8) / 8, w);
        #pragma unroll
        for (int half = 0; half < 2; half++) {
            exchange(w[half], w[2 + half], t & 1, 1), exchange(w[4 + half], w[6 + half], t & 1, 1);
            exchange(w[half], w[4 + half], t & 2, 2), exchange(w[2 + half], w[6 + half], t & 2, 2);
        }
        #pragma unroll
        for (int e = 0; e < 8; e++)
            if (w[(e / 4 * 2 + e / 2 % 2) * 2 + e % 2] < x.limit) p[8 * i + e] = FLAG ? -p[8 * i + e] : 0;
    }
#endif
}
/* The other sign for those that are dropped where rows are keys: 16 keys from `key` on, a multiple of 8, and the queries of columns
   `column` + 8 i and the one after; row: of query 0. */
template <int N> __device__ __forceinline__ void drop_turned(float (&p)[N], const Extras &x, long long row, int key, int column) {
#if DROPOUT
    int g = threadIdx.x >> 2 & 7;           /* of lanes with the same columns: that of column g % 2, eight keys g / 2 % 2, step g / 4 */
    #pragma unroll
    for (int i = 0; i < N / 8; i++) {
        u32 w[8];
        philox(x, (u64)((row + column + (2 * i + g / 4) * 8 + g % 2) * x.wide + key + g / 2 % 2 * 8) / 8, w);
        #pragma unroll
        for (int far = 1; far < 8; far *= 2) {
            #pragma unroll
            for (int e = 0; e < 8; e++)
                if (!(e & far)) exchange(w[e], w[e | far], g & far, 4 * far);
        }
        #pragma unroll
        for (int e = 0; e < 8; e++)
            if (w[e] < x.limit) p[8 * i + e] = -p[8 * i + e];
    }
#endif
}
