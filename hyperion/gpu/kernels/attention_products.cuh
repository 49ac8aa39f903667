/* What the attention kernels for Hopper share: products of tiles, and how results leave. After hopper.cuh and the products of wgmma. */

/* ---- products of 64 rows with tiles whose columns of 64 numbers are LEFT and RIGHT bytes apart */

/* S = Q K^T and the like: both from shared memory, over the head size */
template <int LEFT, int RIGHT, int N> __device__ __forceinline__ void scores(float (&s)[N], u32 left, u32 right) {
    products_begin();
    #pragma unroll
    for (int i = 0; i < HEAD / 16; i++)
        product<0, 0>(s, matrix(left, (i / 4) * LEFT + (i % 4) * 32), matrix(right, (i / 4) * RIGHT + (i % 4) * 32), i > 0);
    products_commit();
}
/* O += P V and the like: the left factor in registers, over the rows of a tile */
template <int M, int N> __device__ __forceinline__ void gather(float (&d)[N], const u32 (&a)[M], u32 tile) {
    products_begin();
    #pragma unroll
    for (int i = 0; i < M / 4; i++) product_of_fragment(d, a[4 * i], a[4 * i + 1], a[4 * i + 2], a[4 * i + 3], matrix(tile, i * 2048));
    products_commit();
}
template <int M> __device__ __forceinline__ void pack(u32 (&p)[M], const float (&s)[2 * M]) {
    #pragma unroll
    for (int i = 0; i < M; i++) p[i] = packed(s[2 * i], s[2 * i + 1]);
}

/* ---- results

   Write the 16 rows of a warp, times a number for each of a thread's two rows, through shared memory: so that they leave in whole lines.
   room: 16 rows of 128 bytes of this warp's own, in each column of 64 numbers; columns are `column` bytes apart.  rows, depth: how
   many rows and numbers of a row there are; depth: a multiple of 8. */
template <int N> __device__ __forceinline__ void write_rows(u16 *to, long long step, const float (&d)[N / 2], float by, float by_below,
                                                               int rows, int depth, u32 room, int column) {
    int lane = threadIdx.x & 31, own = (lane & 7) + (lane & 8);
    #pragma unroll
    for (int i = 0; i < N / 16; i++) {
        u32 at = room + (i / 4) * column + own * 128 + ((((i % 4) * 2 + (lane >> 4)) ^ (own & 7)) << 4);
        store_matrices(at, packed(d[8 * i] * by, d[8 * i + 1] * by), packed(d[8 * i + 2] * by_below, d[8 * i + 3] * by_below),
                       packed(d[8 * i + 4] * by, d[8 * i + 5] * by), packed(d[8 * i + 6] * by_below, d[8 * i + 7] * by_below));
    }
    __syncwarp();
    #pragma unroll
    for (int i = 0; i < N / 16; i++) {
        int r = (32 * i + lane) / (N / 8), pack = (32 * i + lane) % (N / 8);
        uint4 v = load_16_bytes(room + (pack / 8) * column + r * 128 + ((pack % 8 ^ (r & 7)) << 4));
        if (r < rows && pack * 8 < depth) *(uint4 *)(to + r * step + pack * 8) = v;
    }
    __syncwarp();
}
/* Wait for the other threads of a warpgroup. */
__device__ __forceinline__ void together(int warpgroup) { asm volatile("bar.sync %0, 128;" :: "r"(4 + warpgroup) : "memory"); }
