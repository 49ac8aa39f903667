/* What is left of a layer of points when its matrix product is done: act(h + bias + gate x + added), and the way back.
   Compiled with -DREAL=float|double -DACT=0..4 (none, gelu, silu, tanh, relu) -DGATE=0|1 -DADDED=0|1.

   Arrays are (rows, columns) with rows = batch x channels. Columns are read 16 bytes at a time; `packs` is how many such groups a row has, or
   0 where rows do not begin at multiples of 16 bytes; what is left is done one by one. Blocks: (pieces, rows); a piece is `each` packs for
   every thread: 1 forward, so that many are in flight, and EACH where pieces are summed up. */

typedef REAL real;
enum { LANES = 16 / sizeof(real), THREADS = 256, EACH = 4 };
struct alignas(16) Pack { real at[LANES]; };

#define WIDE (sizeof(real) == 8)
__device__ real exponential(real x) { return WIDE ? (real)exp((double)x) : (real)expf((float)x); }
__device__ real phi(real x) { return WIDE ? (real)(erfc(-0.7071067811865476 * (double)x) / 2) : (real)(erfcf(-0.70710678f * (float)x) / 2); }
__device__ real hyperbolic(real x) { return WIDE ? (real)tanh((double)x) : (real)tanhf((float)x); }
__device__ real sigmoid(real x) { return 1 / (1 + exponential(-x)); }

__device__ real activated(real z) {
    if (ACT == 1) return z * phi(z);
    if (ACT == 2) return z * sigmoid(z);
    if (ACT == 3) return hyperbolic(z);
    if (ACT == 4) return z > 0 ? z : (z == z ? 0 : z);
    return z;
}

__device__ real slope(real z) {
    if (ACT == 1) return phi(z) + z * (real)0.3989422804014327 * exponential(z * z / -2);
    if (ACT == 2) {
        real s = sigmoid(z);
        return s + z * s * (1 - s);
    }
    if (ACT == 3) {
        real t = hyperbolic(z);
        return 1 - t * t;
    }
    return 1;
}

/* The cotangent times the slope; for relu it is chosen, so that an infinite one does not become NaN. */
__device__ real pulled(real g, real z) { return ACT == 0 ? g : ACT == 4 ? (z > 0 ? g : 0) : g * slope(z); }

/* A step over the columns of a piece: packs first, then what no pack holds. */
#define OVER_PIECE(each, WITH_PACK, WITH_ONE)                                                                                             \
    for (int turn = 0; turn < each; turn++) {                                                                                             \
        long long i = ((long long)blockIdx.x * each + turn) * THREADS + threadIdx.x;                                                      \
        if (i < packs) {                                                                                                                  \
            i = i * LANES + start;                                                                                                        \
            WITH_PACK                                                                                                                     \
        }                                                                                                                                 \
    }                                                                                                                                     \
    for (long long i = packs * LANES + (long long)blockIdx.x * (THREADS * each * LANES) + threadIdx.x,                                    \
         last = i - threadIdx.x + THREADS * each * LANES; i < last && i < columns; i += THREADS) {                                        \
        long long at = start + i;                                                                                                         \
        WITH_ONE                                                                                                                          \
    }

#define READ(array) (*(const Pack *)((array) + i))
#define WRITE(array) (*(Pack *)((array) + i))

/* out = act(z), z = h + bias + gate x + added. z takes the place of h where there is more than a bias; without an activation it is all. */
extern "C" __global__ void __launch_bounds__(THREADS) finish(
    real *__restrict__ h, const real *__restrict__ bias, const real *__restrict__ gate, const real *__restrict__ x,
    const real *__restrict__ added, real *__restrict__ out, long long rows, long long columns, long long channels, long long packs) {
    for (long long row = blockIdx.y; row < rows; row += gridDim.y) {
        long long start = row * columns;
        real b = bias ? bias[row % channels] : 0, w = GATE ? gate[row % channels] : 0;
        OVER_PIECE(
            1,
            {
                Pack z = READ(h);
                if (GATE) {
                    Pack v = READ(x);
                    for (int k = 0; k < LANES; k++) z.at[k] += w * v.at[k];
                }
                if (ADDED) {
                    Pack v = READ(added);
                    for (int k = 0; k < LANES; k++) z.at[k] += v.at[k];
                }
                for (int k = 0; k < LANES; k++) z.at[k] += b;
                if (ACT == 0 || GATE || ADDED) WRITE(h) = z;
                if (ACT) {
                    for (int k = 0; k < LANES; k++) z.at[k] = activated(z.at[k]);
                    WRITE(out) = z;
                }
            },
            {
                real z = h[at];
                if (GATE) z += w * x[at];
                if (ADDED) z += added[at];
                z += b;
                if (ACT == 0 || GATE || ADDED) h[at] = z;
                if (ACT) out[at] = activated(z);
            })
    }
}

/* d = g act'(z), to_x = gate d, and sums over each piece of d and of d x: sums[0|1, row, piece]. z = h + bias where the bias is not 0.
   Without an activation d is g and is not written. */
extern "C" __global__ void __launch_bounds__(THREADS, WIDE ? 2 : 4) pull(
    const real *__restrict__ g, const real *__restrict__ h, const real *__restrict__ bias, const real *__restrict__ gate,
    const real *__restrict__ x, real *__restrict__ d, real *__restrict__ to_x, real *__restrict__ sums, long long rows, long long columns,
    long long channels, long long packs) {
    __shared__ real part[THREADS], parts_x[THREADS];
    for (long long row = blockIdx.y; row < rows; row += gridDim.y) {
        long long start = row * columns;
        real b = bias ? bias[row % channels] : 0, w = GATE ? gate[row % channels] : 0, total = 0, total_x = 0;
        OVER_PIECE(
            EACH,
            {
                Pack v = READ(g);
                if (ACT) {
                    Pack z = READ(h);
                    for (int k = 0; k < LANES; k++) v.at[k] = pulled(v.at[k], z.at[k] + b);
                    WRITE(d) = v;
                }
                for (int k = 0; k < LANES; k++) total += v.at[k];
                if (GATE) {
                    Pack u = READ(x);
                    for (int k = 0; k < LANES; k++) total_x += v.at[k] * u.at[k];
                    for (int k = 0; k < LANES; k++) u.at[k] = w * v.at[k];
                    WRITE(to_x) = u;
                }
            },
            {
                real v = g[at];
                if (ACT) {
                    v = pulled(v, h[at] + b);
                    d[at] = v;
                }
                total += v;
                if (GATE) {
                    total_x += v * x[at];
                    to_x[at] = w * v;
                }
            })
        __syncthreads();                /* the row before has been read */
        part[threadIdx.x] = total;
        if (GATE) parts_x[threadIdx.x] = total_x;
        for (int half = THREADS / 2; half > 0; half /= 2) {
            __syncthreads();
            if (threadIdx.x < half) {
                part[threadIdx.x] += part[threadIdx.x + half];
                if (GATE) parts_x[threadIdx.x] += parts_x[threadIdx.x + half];
            }
        }
        if (threadIdx.x == 0) {
            long long at = row * gridDim.x + blockIdx.x;
            sums[at] = part[0];
            if (GATE) sums[rows * gridDim.x + at] = parts_x[0];
        }
    }
}

/* out[kind, channel] = sum of sums[kind, batch, channel, piece] over batch and pieces. Blocks: (channels, kinds). */
extern "C" __global__ void __launch_bounds__(THREADS) channel_sums(
    const real *__restrict__ sums, real *__restrict__ out, long long batch, long long channels, long long pieces) {
    __shared__ real part[THREADS];
    const real *mine = sums + (blockIdx.y * batch * channels + blockIdx.x) * pieces;
    real total = 0;
    for (long long i = threadIdx.x; i < batch * pieces; i += THREADS) total += mine[i / pieces * channels * pieces + i % pieces];
    part[threadIdx.x] = total;
    for (int half = THREADS / 2; half > 0; half /= 2) {
        __syncthreads();
        if (threadIdx.x < half) part[threadIdx.x] += part[threadIdx.x + half];
    }
    if (threadIdx.x == 0) out[blockIdx.y * channels + blockIdx.x] = part[0];
}
