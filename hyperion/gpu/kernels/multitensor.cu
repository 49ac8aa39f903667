/* One elementwise formula over many tensors in one launch, and their sums of squares. Compiled with -DREAL=float|double -DSTATES=n
   -DNUMBERS=n; the line LOOP below is replaced by a function update(row, low, high) that holds the generated formula.

   The tensors of a table are cut into blocks of BLOCK elements; row.first counts the blocks before a tensor. Each block of threads does one. */

typedef REAL real;
#define SQRT(x) (sizeof(real) == 4 ? (real)sqrtf((float)(x)) : (real)sqrt((double)(x)))
enum { THREADS = 256, BLOCK = 2048 };

struct Row {
    long long size, first, conjugate;               /* 1: the gradient is of complex numbers, whose imaginary parts change their sign */
    real *out;
    const real *parameter, *gradient;
    real *state[STATES ? STATES : 1];
    double number[NUMBERS ? NUMBERS : 1];
};

LOOP

/* Return the tensor that a block belongs to: the last one that begins at it or before, and has elements. */
__device__ const Row *row_of(const Row *table, int rows, long long block) {
    int low = 0, high = rows - 1;
    while (low < high) {
        int middle = (low + high + 1) / 2;
        if (table[middle].first <= block) low = middle;
        else high = middle - 1;
    }
    return table + low;
}

extern "C" __global__ void __launch_bounds__(THREADS) run(const Row *__restrict__ table, int rows) {
    const Row *row = row_of(table, rows, blockIdx.x);
    long long low = (blockIdx.x - row->first) * BLOCK, high = low + BLOCK < row->size ? low + BLOCK : row->size;
    update(row, low, high);
}

/* sums[block] = the sum of squares of the elements of a block */
extern "C" __global__ void __launch_bounds__(THREADS) squares(const Row *__restrict__ table, int rows, double *__restrict__ sums) {
    __shared__ double part[THREADS];
    const Row *row = row_of(table, rows, blockIdx.x);
    long long low = (blockIdx.x - row->first) * BLOCK, high = low + BLOCK < row->size ? low + BLOCK : row->size;
    double total = 0;
    for (long long i = low + threadIdx.x; i < high; i += THREADS) total += (double)row->gradient[i] * (double)row->gradient[i];
    part[threadIdx.x] = total;
    for (int half = THREADS / 2; half > 0; half /= 2) {
        __syncthreads();
        if (threadIdx.x < half) part[threadIdx.x] += part[threadIdx.x + half];
    }
    if (threadIdx.x == 0) sums[blockIdx.x] = part[0];
}
