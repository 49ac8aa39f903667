/* Softmax, cross-entropy and normalisation of rows, forward and backward. Compiled with -DREAL=float|double|bfloat, -DLINE=32|64|128|256
   threads for each row, -DLANES= how many numbers a thread moves at once (16 bytes, or 1 where rows do not begin at multiples of that), and
   -DHELD= how many such groups it keeps in registers: a chunk. A row of one chunk is read once.

   These are bound by memory. Sums are formed in float (double for double), in an order that does not change between runs: each thread adds
   up its own, then those of a warp are exchanged, then those of the warps. */

#include "bfloat.cuh"

typedef REAL real;
typedef Wide<real>::type accum;
enum { THREADS = 256, WARP = 32, EACH = THREADS / LINE };
struct alignas(LANES * sizeof(real)) Pack { real at[LANES]; };

__device__ float power(float x) { return expf(x); }
__device__ double power(double x) { return exp(x); }
__device__ float logarithm(float x) { return logf(x); }
__device__ double logarithm(double x) { return log(x); }
__device__ float root(float x) { return sqrtf(x); }
__device__ double root(double x) { return sqrt(x); }
__device__ accum larger(accum x, accum y) { return x > y ? x : y; }
__device__ accum plus(accum x, accum y) { return x + y; }
__device__ accum lowest() {                     /* minus infinity */
    union { unsigned long long bits; double value; } both;
    both.bits = 0xfff0000000000000ULL;
    return (accum)both.value;
}
__device__ accum bounded(accum x) { return x - x == 0 ? x : 0; }         /* 0 for infinities and NaN */

/* The row that a thread works on with others, of all that a block does. */
struct Row {
    long long number, packs;
    int lane;
    bool real_one;
    __device__ Row(long long rows, long long columns) {
        number = (long long)blockIdx.x * EACH + threadIdx.x / LINE;
        lane = threadIdx.x % LINE;
        packs = columns / LANES;
        real_one = number < rows;
    }
    __device__ long long chunks() const { return (packs + LINE * HELD - 1) / (LINE * HELD); }
    __device__ long long at(long long chunk, int h) const { return (chunk * HELD + h) * LINE + lane; }
    __device__ bool has(long long i) const { return real_one && i < packs; }
};

struct Chunk {
    accum at[HELD][LANES];
    __device__ void load(const Row &row, long long chunk, const real *x, accum fill) {
        #pragma unroll
        for (int h = 0; h < HELD; h++) {
            long long i = row.at(chunk, h);
            bool has = row.has(i);
            Pack pack;
            if (has) pack = ((const Pack *)(x + row.number * row.packs * LANES))[i];
            #pragma unroll
            for (int k = 0; k < LANES; k++) at[h][k] = has ? (accum)wide(pack.at[k]) : fill;
        }
    }
    /* Multiply by the numbers of a row that all share, or add them, group by group: they are not kept. */
    template <bool ADD> __device__ void with(const Row &row, long long chunk, const real *shared) {
        #pragma unroll
        for (int h = 0; h < HELD; h++) {
            long long i = row.at(chunk, h);
            if (!row.has(i)) continue;
            Pack pack = ((const Pack *)shared)[i];
            #pragma unroll
            for (int k = 0; k < LANES; k++) at[h][k] = ADD ? at[h][k] + (accum)wide(pack.at[k]) : at[h][k] * (accum)wide(pack.at[k]);
        }
    }
    __device__ void store(const Row &row, long long chunk, real *out) const {
        #pragma unroll
        for (int h = 0; h < HELD; h++) {
            long long i = row.at(chunk, h);
            if (!row.has(i)) continue;
            Pack pack;
            #pragma unroll
            for (int k = 0; k < LANES; k++) put(pack.at[k], at[h][k]);
            ((Pack *)(out + row.number * row.packs * LANES))[i] = pack;
        }
    }
};
#define EACH_OF(h, k) \
    _Pragma("unroll") for (int h = 0; h < HELD; h++) \
    _Pragma("unroll") for (int k = 0; k < LANES; k++)

/* What a function makes of the numbers of all threads of a row; every thread of the block calls it. */
template <accum (*both)(accum, accum)> __device__ accum over_row(accum x) {
    #pragma unroll
    for (int step = WARP / 2; step > 0; step /= 2) x = both(x, __shfl_xor_sync(0xffffffffu, x, step));
    if (LINE == WARP) return x;
    __shared__ accum part[THREADS / WARP];
    __syncthreads();                            /* what was there before has been read */
    if (threadIdx.x % WARP == 0) part[threadIdx.x / WARP] = x;
    __syncthreads();
    const accum *own = part + threadIdx.x / LINE * (LINE / WARP);
    x = own[0];
    #pragma unroll
    for (int i = 1; i < LINE / WARP; i++) x = both(x, own[i]);
    return x;
}

/* out[row] = the sum of a row */
extern "C" __global__ void sums(const real *__restrict__ x, real *__restrict__ out, long long rows, long long columns) {
    Row row(rows, columns);
    accum total = 0;
    for (long long c = 0; c < row.chunks(); c++) {
        Chunk chunk;
        chunk.load(row, c, x, 0);
        EACH_OF(h, k) total += chunk.at[h][k];
    }
    total = over_row<plus>(total);
    if (row.lane == 0 && row.real_one) put(out[row.number], total);
}

/* out[row] = the place of the largest number of a row, the first of equal ones; -1 if there is an infinity or NaN */
extern "C" __global__ void best(const real *__restrict__ x, long long *__restrict__ out, long long rows, long long columns) {
    Row row(rows, columns);
    accum most = lowest(), odd = 0;
    for (long long c = 0; c < row.chunks(); c++) {
        Chunk chunk;
        chunk.load(row, c, x, lowest());
        for (int h = 0; h < HELD; h++)
            for (int k = 0; k < LANES && row.has(row.at(c, h)); k++) {
                most = larger(most, chunk.at[h][k]);
                odd += chunk.at[h][k] - chunk.at[h][k] == 0 ? 0 : 1;
            }
    }
    most = over_row<larger>(most), odd = over_row<plus>(odd);
    accum first = -1e9;                         /* minus the place: the largest of these is that of the first */
    for (long long c = 0; c < row.chunks(); c++) {
        Chunk chunk;
        chunk.load(row, c, x, lowest());
        for (int h = HELD - 1; h >= 0; h--)
            for (int k = LANES - 1; k >= 0; k--)
                if (row.has(row.at(c, h)) && chunk.at[h][k] == most) first = larger(first, -(accum)(row.at(c, h) * LANES + k));
    }
    first = over_row<larger>(first);
    if (row.lane == 0 && row.real_one) out[row.number] = odd == 0 ? (long long)-first : -1;
}

/* total = sum(exp(x - top)) over a row, and top, its largest number; 0 if that is not finite. `chunk` holds the last chunk afterwards;
   of a row of one chunk its exponentials, if EXPONENTIALS: they are formed once. */
template <bool EXPONENTIALS> __device__ void softmax_sums(const Row &row, const real *x, Chunk &chunk, accum &top, accum &total) {
    accum most = lowest(), sum = 0;
    if (row.chunks() == 1) {
        chunk.load(row, 0, x, lowest());
        EACH_OF(h, k) most = larger(most, chunk.at[h][k]);
        top = bounded(over_row<larger>(most));
        EACH_OF(h, k) {
            const accum one = power(chunk.at[h][k] - top);
            sum += one;
            if (EXPONENTIALS) chunk.at[h][k] = one;
        }
        total = over_row<plus>(sum);
        return;
    }
    for (long long c = 0; c < row.chunks(); c++) {
        chunk.load(row, c, x, lowest());
        const accum before = most;
        EACH_OF(h, k) most = larger(most, chunk.at[h][k]);
        sum = sum == 0 ? 0 : sum * power(bounded(before) - bounded(most));
        EACH_OF(h, k) sum += power(chunk.at[h][k] - bounded(most));
    }
    top = bounded(over_row<larger>(most));
    total = over_row<plus>(sum == 0 ? 0 : sum * power(bounded(most) - top));
}

/* out = exp(x - top) / total, or x - top - log(total) */
template <bool LOG> __device__ void softmax_of(const real *x, real *out, long long rows, long long columns) {
    Row row(rows, columns);
    Chunk chunk;
    accum top, total;
    softmax_sums<!LOG>(row, x, chunk, top, total);
    const accum shift = LOG ? top + logarithm(total) : top, factor = 1 / total;
    const bool whole = row.chunks() == 1;
    for (long long c = row.chunks() - 1; c >= 0; c--) {
        if (c < row.chunks() - 1) chunk.load(row, c, x, 0);
        if (LOG) {
            EACH_OF(h, k) chunk.at[h][k] -= shift;
        } else {
            EACH_OF(h, k) chunk.at[h][k] = (whole ? chunk.at[h][k] : power(chunk.at[h][k] - shift)) * factor;
        }
        chunk.store(row, c, out);
    }
}
extern "C" __global__ void softmax(const real *__restrict__ x, real *__restrict__ out, long long rows, long long columns) {
    softmax_of<false>(x, out, rows, columns);
}
extern "C" __global__ void log_softmax(const real *__restrict__ x, real *__restrict__ out, long long rows, long long columns) {
    softmax_of<true>(x, out, rows, columns);
}

/* out = y (g - sum(g y)), or g - exp(y) sum(g) */
template <bool LOG> __device__ void softmax_back_of(const real *g, const real *y, real *out, long long rows, long long columns) {
    Row row(rows, columns);
    Chunk of_y, of_g;
    accum sum = 0;
    for (long long c = 0; c < row.chunks(); c++) {
        of_y.load(row, c, y, 0);
        of_g.load(row, c, g, 0);
        EACH_OF(h, k) sum += LOG ? of_g.at[h][k] : of_g.at[h][k] * of_y.at[h][k];
    }
    sum = over_row<plus>(sum);
    for (long long c = row.chunks() - 1; c >= 0; c--) {
        if (c < row.chunks() - 1) {
            of_y.load(row, c, y, 0);
            of_g.load(row, c, g, 0);
        }
        EACH_OF(h, k) of_g.at[h][k] = LOG ? of_g.at[h][k] - power(of_y.at[h][k]) * sum : of_y.at[h][k] * (of_g.at[h][k] - sum);
        of_g.store(row, c, out);
    }
}
extern "C" __global__ void softmax_back(
    const real *__restrict__ g, const real *__restrict__ y, real *__restrict__ out, long long rows, long long columns) {
    softmax_back_of<false>(g, y, out, rows, columns);
}
extern "C" __global__ void log_softmax_back(
    const real *__restrict__ g, const real *__restrict__ y, real *__restrict__ out, long long rows, long long columns) {
    softmax_back_of<true>(g, y, out, rows, columns);
}

/* all[row] = log(sum(exp(x))), loss[row] = all - x[class], 0 where the class is `ignore` */
extern "C" __global__ void entropy(
    const real *__restrict__ x, const long long *__restrict__ classes, accum *__restrict__ loss, accum *__restrict__ all, long long rows,
    long long columns, long long ignore) {
    Row row(rows, columns);
    Chunk chunk;
    accum top, total;
    softmax_sums<false>(row, x, chunk, top, total);
    if (row.lane || !row.real_one) return;
    const accum found = top + logarithm(total);
    const long long own = classes[row.number];
    all[row.number] = found;
    loss[row.number] = own == ignore ? (accum)0 : found - (accum)wide(x[row.number * columns + own]);
}

/* out = of_loss (p - [class]) + of_all p with p = exp(x - all); either cotangent may be 0, the first counts where the class is not `ignore` */
extern "C" __global__ void entropy_back(
    const real *__restrict__ x, const accum *__restrict__ of_loss, const accum *__restrict__ of_all, const accum *__restrict__ all,
    const long long *__restrict__ classes, real *__restrict__ out, long long rows, long long columns, long long ignore) {
    Row row(rows, columns);
    if (!row.real_one) return;
    const long long own = classes[row.number];
    const accum first = of_loss && own != ignore ? of_loss[row.number] : 0;
    const accum factor = first + (of_all ? of_all[row.number] : 0), shift = all[row.number];
    for (long long c = 0; c < row.chunks(); c++) {
        Chunk chunk;
        chunk.load(row, c, x, 0);
        EACH_OF(h, k) chunk.at[h][k] = power(chunk.at[h][k] - shift) * factor - (row.at(c, h) * LANES + k == own ? first : 0);
        chunk.store(row, c, out);
    }
}

/* out = (x - mean) rstd weight + bias with rstd = 1 / root(mean square + eps); weight and bias may be 0, and mean for the RMS norm */
extern "C" __global__ void normalized(
    const real *__restrict__ x, const real *__restrict__ weight, const real *__restrict__ bias, real *__restrict__ out,
    accum *__restrict__ mean, accum *__restrict__ rstd, long long rows, long long columns, double eps) {
    Row row(rows, columns);
    Chunk chunk;
    accum middle = 0, squares = 0;
    if (mean) {
        for (long long c = 0; c < row.chunks(); c++) {
            chunk.load(row, c, x, 0);
            EACH_OF(h, k) middle += chunk.at[h][k];
        }
        middle = over_row<plus>(middle) / columns;
    }
    for (long long c = 0; c < row.chunks(); c++) {
        if (!mean || row.chunks() > 1) chunk.load(row, c, x, 0);
        EACH_OF(h, k) {
            accum moved = row.has(row.at(c, h)) ? chunk.at[h][k] - middle : 0;
            squares += moved * moved;
        }
    }
    const accum factor = 1 / root(over_row<plus>(squares) / columns + (accum)eps);
    for (long long c = row.chunks() - 1; c >= 0; c--) {
        if (c < row.chunks() - 1) chunk.load(row, c, x, 0);
        EACH_OF(h, k) chunk.at[h][k] = (chunk.at[h][k] - middle) * factor;
        if (weight) chunk.with<false>(row, c, weight);
        if (bias) chunk.with<true>(row, c, bias);
        chunk.store(row, c, out);
    }
    if (row.lane || !row.real_one) return;
    if (mean) mean[row.number] = middle;
    rstd[row.number] = factor;
}

/* out = (h - mean(h) - s mean(h s)) rstd with h = g weight and s = (x - mean) rstd; without a mean the second term is left out */
extern "C" __global__ void normalized_back(
    const real *__restrict__ x, const real *__restrict__ g, const real *__restrict__ weight, const accum *__restrict__ mean,
    const accum *__restrict__ rstd, real *__restrict__ out, long long rows, long long columns) {
    Row row(rows, columns);
    const accum middle = mean && row.real_one ? mean[row.number] : 0, factor = row.real_one ? rstd[row.number] : 0;
    Chunk h_of, s_of;
    accum sum = 0, along = 0;
    for (long long c = 0; c < row.chunks(); c++) {
        h_of.load(row, c, g, 0);
        s_of.load(row, c, x, middle);
        if (weight) h_of.with<false>(row, c, weight);
        EACH_OF(h, k) {
            s_of.at[h][k] = (s_of.at[h][k] - middle) * factor;
            sum += h_of.at[h][k];
            along += h_of.at[h][k] * s_of.at[h][k];
        }
    }
    sum = mean ? over_row<plus>(sum) / columns : 0;
    along = over_row<plus>(along) / columns;
    for (long long c = row.chunks() - 1; c >= 0; c--) {
        if (c < row.chunks() - 1) {
            h_of.load(row, c, g, 0);
            s_of.load(row, c, x, middle);
            if (weight) h_of.with<false>(row, c, weight);
            EACH_OF(h, k) s_of.at[h][k] = (s_of.at[h][k] - middle) * factor;
        }
        EACH_OF(h, k) h_of.at[h][k] = (h_of.at[h][k] - sum - s_of.at[h][k] * along) * factor;
        h_of.store(row, c, out);
    }
}

/* sums[0, share, column] = sum of g s over the rows of a share, sums[1, share, column] = sum of g. Blocks: (columns / 32, shares);
   threads: 32 columns, 8 rows. */
extern "C" __global__ void norm_columns(
    const real *__restrict__ g, const real *__restrict__ x, const accum *__restrict__ mean, const accum *__restrict__ rstd,
    accum *__restrict__ sums, long long rows, long long columns) {
    __shared__ accum part[2][THREADS];
    const int lane = threadIdx.x % 32, line = threadIdx.x / 32;
    const long long column = blockIdx.x * 32 + lane, share = (rows + gridDim.y - 1) / gridDim.y;
    const long long first = blockIdx.y * share, last = first + share < rows ? first + share : rows;
    accum total[2] = {0, 0};
    if (column < columns) {
        #pragma unroll 4
        for (long long row = first + line; row < last; row += 8) {
            const accum own = (accum)wide(g[row * columns + column]);
            total[0] += own * ((accum)wide(x[row * columns + column]) - (mean ? mean[row] : 0)) * rstd[row];
            total[1] += own;
        }
    }
    for (int which = 0; which < 2; which++) part[which][threadIdx.x] = total[which];
    for (int half = 4; half > 0; half /= 2) {
        __syncthreads();
        if (line < half)
            for (int which = 0; which < 2; which++) part[which][threadIdx.x] += part[which][threadIdx.x + 32 * half];
    }
    if (line == 0 && column < columns)
        for (int which = 0; which < 2; which++) sums[(which * gridDim.y + blockIdx.y) * columns + column] = part[which][threadIdx.x];
}
