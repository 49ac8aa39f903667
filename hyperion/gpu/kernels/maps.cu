/* Derivatives of activations, sums of terms, lengths of rows and sums over columns. Compiled with -DREAL=float|double|bfloat.

   These are bound by memory: every thread moves 16 bytes at a time. `packs` counts the groups of 16 bytes at the beginning of an array that
   are read so: all of them, or none where an array does not begin at a multiple of 16 bytes; what is left is done one by one. */

#include "bfloat.cuh"

typedef REAL stored;
typedef Wide<stored>::type real;
enum { LANES = 16 / sizeof(stored), THREADS = 256 };
struct alignas(16) Pack { stored at[LANES]; };

#define WIDE (sizeof(real) == 8)
__device__ real exponential(real x) { return WIDE ? (real)exp((double)x) : (real)expf((float)x); }
__device__ real phi(real x) { return WIDE ? (real)normcdf((double)x) : (real)normcdff((float)x); }
__device__ real sigmoid(real x) { return 1 / (1 + exponential(-x)); }
__device__ real gelu_argument(real x) { return (real)1.5957691216057308 * (x + (real)0.044715 * x * x * x); }     /* sqrt(8 / pi) */

__device__ real gelu_slope(real x) { return phi(x) + x * (real)0.3989422804014327 * exponential(x * x / -2); }
__device__ real gelu_tanh_slope(real x) {
    real s = sigmoid(gelu_argument(x));
    return s + x * s * (1 - s) * (real)1.5957691216057308 * (1 + (real)0.134145 * x * x);
}
__device__ real silu_slope(real x) {
    real s = sigmoid(x);
    return s + x * s * (1 - s);
}

/* out = g * name'(x) */
#define MAP(name)                                                                                                                         \
    extern "C" __global__ void name##_back(                                                                                               \
        const stored *__restrict__ g, const stored *__restrict__ x, stored *__restrict__ out, long long packs, long long size) {          \
        long long i = (long long)blockIdx.x * blockDim.x + threadIdx.x;                                                                   \
        if (i < packs) {                                                                                                                  \
            Pack a = ((const Pack *)x)[i], b = ((const Pack *)g)[i];                                                                      \
            for (int k = 0; k < LANES; k++) put(b.at[k], wide(b.at[k]) * name##_slope(wide(a.at[k])));                                    \
            ((Pack *)out)[i] = b;                                                                                                         \
        } else if ((i = packs * LANES + i - packs) < size) {                                                                              \
            put(out[i], wide(g[i]) * name##_slope(wide(x[i])));                                                                           \
        }                                                                                                                                 \
    }
MAP(gelu)
MAP(gelu_tanh)
MAP(silu)

/* out[row, :] += bias[row % channels] + added[row, :]; either may be 0. Blocks: (columns, rows). */
extern "C" __global__ void add_terms(
    stored *__restrict__ out, const stored *__restrict__ bias, const stored *__restrict__ added, long long rows, long long columns,
    long long channels, long long packs) {
    long long place = (long long)blockIdx.x * blockDim.x + threadIdx.x;
    for (long long row = blockIdx.y; row < rows; row += gridDim.y) {
        real b = bias ? wide(bias[row % channels]) : 0;
        long long start = row * columns, i = packs * LANES + place - packs;
        if (place < packs) {
            Pack a = ((const Pack *)(out + start))[place];
            Pack c = added ? ((const Pack *)(added + start))[place] : Pack();
            for (int k = 0; k < LANES; k++) put(a.at[k], wide(a.at[k]) + b + wide(c.at[k]));
            ((Pack *)(out + start))[place] = a;
        } else if (i < columns) {
            put(out[start + i], wide(out[start + i]) + b + (added ? wide(added[start + i]) : 0));
        }
    }
}

/* out[row] = the root of the sum of the squares of x[row, :]. A block for each row. */
extern "C" __global__ void row_norms(const stored *__restrict__ x, stored *__restrict__ out, long long columns, long long packs) {
    __shared__ real part[THREADS];
    const stored *row = x + blockIdx.x * columns;
    real total = 0;
    for (long long i = threadIdx.x; i < packs; i += THREADS) {
        Pack a = ((const Pack *)row)[i];
        for (int k = 0; k < LANES; k++) total += wide(a.at[k]) * wide(a.at[k]);
    }
    for (long long i = packs * LANES + threadIdx.x; i < columns; i += THREADS) total += wide(row[i]) * wide(row[i]);
    part[threadIdx.x] = total;
    for (int half = THREADS / 2; half > 0; half /= 2) {
        __syncthreads();
        if (threadIdx.x < half) part[threadIdx.x] += part[threadIdx.x + half];
    }
    if (threadIdx.x == 0) put(out[blockIdx.x], WIDE ? (real)sqrt((double)part[0]) : (real)sqrtf((float)part[0]));
}

/* out[row, :] = x[row, :] g[row] / norm[row], 0 where the norm is 0. Blocks: (columns, rows). */
extern "C" __global__ void scaled_rows(
    const stored *__restrict__ x, const stored *__restrict__ g, const stored *__restrict__ norm, stored *__restrict__ out, long long rows,
    long long columns, long long packs) {
    long long place = (long long)blockIdx.x * blockDim.x + threadIdx.x;
    for (long long row = blockIdx.y; row < rows; row += gridDim.y) {
        real length = wide(norm[row]), factor = length == 0 ? 0 : wide(g[row]) / length;
        long long start = row * columns, i = packs * LANES + place - packs;
        if (place < packs) {
            Pack a = ((const Pack *)(x + start))[place];
            for (int k = 0; k < LANES; k++) put(a.at[k], wide(a.at[k]) * factor);
            ((Pack *)(out + start))[place] = a;
        } else if (i < columns) {
            put(out[start + i], factor * wide(x[start + i]));
        }
    }
}

/* out[outer, share, column] = sum of x[outer, row, column] over the rows of a share. Blocks: (columns / (32 W), shares, outer); threads: 32
   groups of W columns, which are read at once, and 8 rows. */
template <int W> __device__ void added_columns(const stored *x, real *out, long long rows, long long columns) {
    struct alignas(W * sizeof(stored)) Group { stored at[W]; };
    __shared__ real part[W][THREADS];
    int lane = threadIdx.x % 32, line = threadIdx.x / 32;
    long long column = (blockIdx.x * 32LL + lane) * W, share = (rows + gridDim.y - 1) / gridDim.y;
    long long first = blockIdx.y * share, last = first + share < rows ? first + share : rows;
    x += blockIdx.z * rows * columns;
    real total[W] = {};
    if (column < columns) {
        #pragma unroll 8
        for (long long row = first + line; row < last; row += 8) {
            Group group = *(const Group *)(x + row * columns + column);
            for (int k = 0; k < W; k++) total[k] += wide(group.at[k]);
        }
    }
    for (int k = 0; k < W; k++) part[k][threadIdx.x] = total[k];
    for (int half = 4; half > 0; half /= 2) {
        __syncthreads();
        if (line < half)
            for (int k = 0; k < W; k++) part[k][threadIdx.x] += part[k][threadIdx.x + 32 * half];
    }
    if (line == 0 && column < columns)
        for (int k = 0; k < W; k++) out[((long long)blockIdx.z * gridDim.y + blockIdx.y) * columns + column + k] = part[k][threadIdx.x];
}
extern "C" __global__ void column_sums(const stored *__restrict__ x, real *__restrict__ out, long long rows, long long columns) {
    added_columns<1>(x, out, rows, columns);
}
extern "C" __global__ void column_sums_wide(const stored *__restrict__ x, real *__restrict__ out, long long rows, long long columns) {
    added_columns<LANES>(x, out, rows, columns);
}

/* float to bfloat16, and back; packs: groups of 8 numbers. */
struct alignas(32) Eight { float at[8]; };
struct alignas(16) Halves { bfloat at[8]; };
template <class From, class To, class Froms, class Tos> __device__ void converted(const From *x, To *out, long long packs, long long size) {
    long long i = (long long)blockIdx.x * blockDim.x + threadIdx.x;
    if (i < packs) {
        Froms a = ((const Froms *)x)[i];
        Tos b;
        for (int k = 0; k < 8; k++) put(b.at[k], wide(a.at[k]));
        ((Tos *)out)[i] = b;
    } else if ((i = packs * 8 + i - packs) < size) {
        put(out[i], wide(x[i]));
    }
}
extern "C" __global__ void narrowed(const float *__restrict__ x, bfloat *__restrict__ out, long long packs, long long size) {
    converted<float, bfloat, Eight, Halves>(x, out, packs, size);
}
extern "C" __global__ void widened(const bfloat *__restrict__ x, float *__restrict__ out, long long packs, long long size) {
    converted<bfloat, float, Halves, Eight>(x, out, packs, size);
}

/* out[where[i], :] = the sum of values[j, :] over all j with where[j] = where[i], in the order of j. order: j by where[j], stably; out: zeros
   before. A block for each i of the order, which works if it is the first of its kind, and a part of the columns. */
extern "C" __global__ void add_rows(
    const stored *__restrict__ values, const long long *__restrict__ where, const long long *__restrict__ order, stored *__restrict__ out,
    long long count, long long columns) {
    long long i = blockIdx.x, to = where[order[i]], column = (long long)blockIdx.y * blockDim.x + threadIdx.x;
    if (column >= columns || (i && where[order[i - 1]] == to)) return;
    real total = 0;
    for (; i < count && where[order[i]] == to; i++) total += wide(values[order[i] * columns + column]);
    put(out[to * columns + column], total);
}

/* table[k, i] = where part i of array k begins: base + (i / parts) outer + (i % parts) inner elements, for products of many matrices. */
extern "C" __global__ void pointers(
    unsigned long long *__restrict__ table, long long count, long long parts, unsigned long long base0, unsigned long long base1,
    unsigned long long base2, long long outer0, long long outer1, long long outer2, long long inner0, long long inner1, long long inner2) {
    long long i = (long long)blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= count) return;
    long long out = i / parts, in = i % parts;
    table[i] = base0 + (out * outer0 + in * inner0) * sizeof(stored);
    table[count + i] = base1 + (out * outer1 + in * inner1) * sizeof(stored);
    table[2 * count + i] = base2 + (out * outer2 + in * inner2) * sizeof(stored);
}
