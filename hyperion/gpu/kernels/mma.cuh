/* Tiles in shared memory, and products of a warp with them, of 16-bit numbers or (-DSINGLE=1) float32.

   A tile has rows of HEAD numbers, PITCH bytes apart: 16 more than they take, so that 8 rows of 16 bytes lie in different banks.

   float32 goes through the tensor cores in two parts of 11 bits, x = high + low, as low high + high low + high high: what is left out is
   2^-22 of a product, of either sign, for both parts are rounded to the nearest. The tensor cores cut off what an accumulator cannot hold,
   always towards 0: so they sum up four steps, which an addition that rounds adds to the others (Ootomo and Yokota 2022, arXiv:2203.03341).
   Within a step the numbers 2 t and 2 t + 1 of the inner index take the places t and t + 4, in both factors, so that an
   accumulator is a left factor as it stands, as it is for 16 bits. Comes after numbers.cuh and warp.cuh; compiled with -DHEAD too. */

enum {
    SIZE = SINGLE ? 4 : 2,              /* bytes of a number */
    STEP = SINGLE ? 8 : 16,             /* of the inner index that one instruction takes: 32 bytes */
    PITCH = HEAD * SIZE + 16,
    PACKS = HEAD * SIZE / 16,           /* of 16 bytes in a row */
    RUN = SINGLE ? 4 : 1,               /* steps whose sum is added to the others at once */
};

/* ---- fragments */

#if SINGLE
/* the parts of four numbers */
struct Parts {
    u32 high[4], low[4];
};
__device__ __forceinline__ void split(Parts &p, int i, float x) {
    p.high[i] = (__float_as_uint(x) + 0x1000) & 0xffffe000u;
    p.low[i] = __float_as_uint(x - __uint_as_float(p.high[i])) + 0x1000;        /* the last 13 bits do not count */
}
typedef Parts Left;                     /* 16 rows of a step */
typedef Parts Right;                    /* 16 columns of a step */

/* c: 16 x 16, of which the second eight columns come last */
__device__ __forceinline__ void multiply(float *c, const Left &a, const Right &b) {
    #pragma unroll
    for (int n = 0; n < 2; n++) {
        product_of_singles(c + 4 * n, a.low, b.high[2 * n], b.high[2 * n + 1]);
        product_of_singles(c + 4 * n, a.high, b.low[2 * n], b.low[2 * n + 1]);
        product_of_singles(c + 4 * n, a.high, b.high[2 * n], b.high[2 * n + 1]);
    }
}
/* where a lane finds its numbers of a tile: as 16 rows, as 16 columns over the head size, as 16 columns of the head size over rows */
__device__ __forceinline__ u32 left_at(u32 tile, int lane) { return tile + (lane >> 2) * PITCH + (lane & 3) * 8; }
__device__ __forceinline__ u32 right_at(u32 tile, int lane) { return left_at(tile, lane); }
__device__ __forceinline__ u32 turned_at(u32 tile, int lane) { return tile + (lane & 3) * 2 * PITCH + (lane >> 2) * 4; }

__device__ __forceinline__ void load_pair(Parts &p, int i, int j, u32 at) {
    float2 x = load_singles(at);
    split(p, i, x.x), split(p, j, x.y);
}
__device__ __forceinline__ void load_left(Left &a, u32 at) { load_pair(a, 0, 2, at), load_pair(a, 1, 3, at + 8 * PITCH); }
__device__ __forceinline__ void load_right(Right &b, u32 at) { load_pair(b, 0, 1, at), load_pair(b, 2, 3, at + 8 * PITCH); }
__device__ __forceinline__ void load_turned(Right &b, u32 at) {
    #pragma unroll
    for (int n = 0; n < 2; n++) split(b, 2 * n, load_single(at + 32 * n)), split(b, 2 * n + 1, load_single(at + 32 * n + PITCH));
}
/* an accumulator's eight columns as a left factor */
__device__ __forceinline__ void left_of(Left &a, const float *c) {
    split(a, 0, c[0]), split(a, 1, c[2]), split(a, 2, c[1]), split(a, 3, c[3]);
}
__device__ __forceinline__ void store_pair(u32 at, float x, float y) { store_singles(at, x, y); }
#else
struct Left {
    u32 of[4];
};
typedef Left Right;

__device__ __forceinline__ void multiply(float *c, const Left &a, const Right &b) {
    product(c, a.of, b.of[0], b.of[1]);
    product(c + 4, a.of, b.of[2], b.of[3]);
}
__device__ __forceinline__ u32 left_at(u32 tile, int lane) { return tile + (lane & 15) * PITCH + (lane >> 4) * 16; }
__device__ __forceinline__ u32 right_at(u32 tile, int lane) { return tile + ((lane & 7) + (lane >> 4) * 8) * PITCH + (lane >> 3 & 1) * 16; }
__device__ __forceinline__ u32 turned_at(u32 tile, int lane) { return left_at(tile, lane); }

__device__ __forceinline__ void load_left(Left &a, u32 at) { load_matrices(a.of, at); }
__device__ __forceinline__ void load_right(Right &b, u32 at) { load_matrices(b.of, at); }
__device__ __forceinline__ void load_turned(Right &b, u32 at) { load_matrices_turned(b.of, at); }
__device__ __forceinline__ void left_of(Left &a, const float *c) {
    #pragma unroll
    for (int i = 0; i < 4; i++) a.of[i] = packed(c[2 * i], c[2 * i + 1]);
}
__device__ __forceinline__ void store_pair(u32 at, float x, float y) { store_word(at, packed(x, y)); }
#endif

/* ---- products of a warp with tiles in shared memory; `at`: of this lane, as above */

/* c += a b over COUNT steps; b: 16 columns, whose steps begin FAR bytes apart at `right`, TURNED or not */
template <int TURNED, int COUNT, int FAR, int T, int N> __device__ __forceinline__ void add_products(float (&c)[T][N], int column,
                                                                                                      const Left (&a)[COUNT][T], u32 right) {
#if SINGLE
    float sum[T][8];
    #pragma unroll
    for (int e = 0; e < 8 * T; e++) sum[e / 8][e % 8] = 0;
#endif
    #pragma unroll
    for (int k = 0; k < COUNT; k++) {
        Right b;
        if (TURNED) load_turned(b, right + k * FAR);
        else load_right(b, right + k * FAR);
        #pragma unroll
        for (int i = 0; i < T; i++)
#if SINGLE
            multiply(sum[i], a[k][i], b);
    }
    #pragma unroll
    for (int e = 0; e < 8 * T; e++) c[e / 8][column + e % 8] += sum[e / 8][e % 8];
#else
            multiply(c[i] + column, a[k][i], b);
    }
#endif
}
/* s += the rows of T blocks of 16 at `left`, each over the head size times the rows at `right` */
template <int T, int N> __device__ __forceinline__ void scores(float (&s)[T][N], u32 left, u32 right) {
    #pragma unroll
    for (int i = 0; i < T; i++) {
        #pragma unroll
        for (int e = 0; e < N; e++) s[i][e] = 0;
    }
    #pragma unroll (SINGLE ? 1 : PACKS / 2)         /* more of float32 at once takes registers that are not there */
    for (int k = 0; k < PACKS / 2; k += RUN) {
        Left a[RUN][T];
        #pragma unroll
        for (int i = 0; i < RUN * T; i++) load_left(a[i / T][i % T], left + i % T * 16 * PITCH + (k + i / T) * 32);
        #pragma unroll
        for (int n = 0; n < N / 8; n++) add_products<0, RUN, 32>(s, 8 * n, a, right + n * 16 * PITCH + k * 32);
    }
}
/* d += p times the tile at `turned`: p over its rows */
template <int T, int M, int N> __device__ __forceinline__ void gather(float (&d)[T][N], const float (&p)[T][M], u32 turned) {
    const int STEPS = 2 * M / STEP, COUNT = STEPS < RUN ? STEPS : RUN;
    #pragma unroll
    for (int k = 0; k < STEPS; k += COUNT) {
        Left a[COUNT][T];
        #pragma unroll
        for (int i = 0; i < COUNT * T; i++) left_of(a[i / T][i % T], p[i % T] + (k + i / T) * STEP / 2);
        #pragma unroll
        for (int n = 0; n < N / 8; n++) add_products<1, COUNT, STEP * PITCH>(d, 8 * n, a, turned + k * STEP * PITCH + n * 16 * SIZE);
    }
}

/* ---- tiles */

/* Ask for R rows of a tile, of which `there` exist, with `bytes` in each; the rest is filled up with zeros. step: bytes between rows.
   ACROSS threads share a row, a power of two, so that rows are as far apart for all copies of a thread. */
template <int R, int MANY> __device__ __forceinline__ void load_tile(u32 to, const char *from, int step, int there, int bytes) {
    const int ALIKE = PACKS & -PACKS, ACROSS = ALIKE < MANY ? ALIKE : MANY, DOWN = MANY / ACROSS;
    int row = threadIdx.x / ACROSS, column = threadIdx.x % ACROSS * 16;
    from += (long long)row * step + column, to += row * PITCH + column;
    #pragma unroll
    for (int r = 0; r < R; r += DOWN) {
        #pragma unroll
        for (int c = 0; c < PACKS / ACROSS; c++)
            if (r + DOWN <= R || row + r < R)
                copy_pack(to + r * PITCH + c * ACROSS * 16, from + (long long)r * step + c * ACROSS * 16,
                          row + r < there && column + c * ACROSS * 16 < bytes);
    }
}
/* Write 16 rows of a warp through shared memory, so that they leave in whole lines. room: 16 rows of a tile, of this warp's own.
   there, bytes: how many rows and bytes of a row there are. */
template <int N> __device__ __forceinline__ void write_rows(char *to, long long step, const float (&d)[N], float by, float by_below,
                                                            int there, int bytes, u32 room) {
    int lane = threadIdx.x & 31;
    u32 at = room + (lane >> 2) * PITCH + (lane & 3) * 2 * SIZE;
    __syncwarp();
    #pragma unroll
    for (int i = 0; i < N / 4; i++) {
        store_pair(at + i * 8 * SIZE, d[4 * i] * by, d[4 * i + 1] * by);
        store_pair(at + 8 * PITCH + i * 8 * SIZE, d[4 * i + 2] * by_below, d[4 * i + 3] * by_below);
    }
    __syncwarp();
    #pragma unroll
    for (int i = 0; i < 16 * PACKS / 32; i++) {
        int n = 32 * i + lane, r = n / PACKS, pack = n % PACKS;
        if (r < there && pack * 16 < bytes) *(uint4 *)(to + r * step + pack * 16) = load_16_bytes(room + r * PITCH + pack * 16);
    }
}
