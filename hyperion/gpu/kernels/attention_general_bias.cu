/* Attention, backward, on all GPUs from sm_80 on: the gradient of the bias. Comes after attention_general_back.cuh (SIDE 2). */

/* The gradient of the bias: a block owns OWN queries and OTHER keys of it, and sums over the batch and the heads that share it. Where it
   is the same for all queries or all keys, the sums of blocks are left to the caller. */
extern "C" __global__ void __launch_bounds__(THREADS, BLOCKS)
attention_general_bias(const __grid_constant__ Problem p, const __grid_constant__ Mask mask, const __grid_constant__ Extras extras) {
    extern __shared__ __align__(128) char memory[];
    u32 x = shared_address(memory), y = x + OWN_BYTES, others = y + OWN_BYTES;
    int lane = threadIdx.x & 31, warp = threadIdx.x >> 5, tile = blockIdx.x % p.tiles, rest = blockIdx.x / p.tiles, block = rest % p.blocks;
    int own = rest / p.blocks, own_head = own % p.bias_heads, own_batch = own / p.bias_heads;
    int begin = block * OWN, row = begin + warp * 16 + lane / 4, first = tile * OTHER;
    u32 left = left_at(x + warp * 16 * PITCH, lane), left_y = left + OWN_BYTES, right = right_at(others, lane);
    float s[1][OTHER / 2], of_p[1][OTHER / 2], slopes[OTHER / 2], total[OTHER / 2];
    #pragma unroll
    for (int e = 0; e < OTHER / 2; e++) total[e] = 0;
    #pragma unroll 1
    for (int batch = own_batch; batch < p.batch; batch += p.bias_batch) {
        #pragma unroll 1
        for (int head = own_head; head < p.heads; head += p.bias_heads) {
            __syncthreads();                /* nobody reads what was there any more */
            load_tile<OWN, THREADS>(x, queries_at(p, batch, head, begin), p.q_row, p.queries - begin, p.bytes);
            load_tile<OWN, THREADS>(y, seeds_at(p, batch, head, begin), p.g_row, p.queries - begin, p.bytes_v);
            ask(p, others, batch, head, first);
            Shifts shifts = shifts_of(p, batch, head, row);
            copies_wait<0>();
            __syncthreads();
            scores(s, left, right);
            scores(of_p, left_y, right + OTHER_BYTES);
            probabilities(s[0], slopes, p, mask, extras, shifts, batch, head, row, first, 0, 0);
            to_slopes(of_p[0], s[0], slopes, extras, shifts, 0);
            #pragma unroll
            for (int e = 0; e < OTHER / 2; e++) total[e] += of_p[0][e];
        }
    }
    __syncthreads();
    float *table = (float *)memory, *to = p.to_bias + (long long)own * p.bias_rows * p.bias_keys;
    #pragma unroll
    for (int e = 0; e < OTHER / 2; e++)
        table[(warp * 16 + lane / 4 + e / 2 % 2 * 8) * OTHER + 2 * (lane & 3) + e / 4 * 8 + e % 2] = total[e];
    __syncthreads();
    int rows = min(OWN, p.queries - begin), keys = min(OTHER, p.keys - first);
    int high = p.bias_rows == p.queries ? 1 : rows, wide = p.bias_keys == p.keys ? 1 : keys;
    int from_row = high == 1 ? begin : block, from_key = wide == 1 ? first : tile;
    for (int n = threadIdx.x; n < rows / high * (keys / wide); n += THREADS) {
        int i = n / (keys / wide), j = n % (keys / wide);
        float sum = 0;
        for (int a = 0; a < high; a++)
            for (int b = 0; b < wide; b++) sum += table[(i + a) * OTHER + j + b];
        to[(long long)(from_row + i) * p.bias_keys + from_key + j] = sum;
    }
}
