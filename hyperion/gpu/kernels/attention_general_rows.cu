/* Before the backward kernels of attention: what belongs to the rows of scores. Comes after numbers.cuh. */

/* Before: D, and the lse times log2(e), +inf where nothing is seen or there is no query. A warp for each row. */
struct RowSums {
    const char *o, *of_o;                   /* what came out, and its gradient */
    const float *lse, *of_lse;              /* the log-sum-exp, and its gradient, or null */
    float *lse_log2, *shift;
    long long o_batch, o_head, o_row, g_batch, g_head, g_row;
    int batch, heads, queries, padded, bytes_v;
};
extern "C" __global__ void __launch_bounds__(256) attention_general_rows(const __grid_constant__ RowSums p) {
    long long to = (long long)blockIdx.x * 8 + threadIdx.x / 32, whole = to / p.padded;
    int row = to - whole * p.padded, lane = threadIdx.x & 31, head = whole % p.heads, batch = whole / p.heads;
    const char *o = p.o + batch * p.o_batch + head * p.o_head + row * p.o_row;
    const char *g = p.of_o + batch * p.g_batch + head * p.g_head + row * p.g_row;
    bool there = batch < p.batch && row < p.queries;
    float sum = 0;
    if (there) {
        for (int at = lane * 4; at < p.bytes_v; at += 128) {
#if SINGLE
            sum += *(const float *)(o + at) * *(const float *)(g + at);
#else
            float2 one = unpacked(*(const u32 *)(o + at)), other = unpacked(*(const u32 *)(g + at));
            sum += one.x * other.x + one.y * other.y;
#endif
        }
    }
    #pragma unroll
    for (int far = 16; far; far /= 2) sum += __shfl_xor_sync(~0u, sum, far);
    if (lane == 0 && batch < p.batch) {
        const float none = __int_as_float(0xff800000);
        long long at = whole * p.queries + row;
        float lse = there ? p.lse[at] : none;
        p.shift[to] = there && p.of_lse ? sum - p.of_lse[at] : sum;
        p.lse_log2[to] = lse == none ? -none : lse * 1.4426950408889634f;
    }
}
