/* What generated stencil kernels are made of (`codegen/cuda.py`), and the kernels of a time step beside them: sources, receivers, images,
   packed histories, periodic sides. Compiled with -DREAL=float|double -DAXES=2|3.

   A thread computes VL neighbours along the last axis, 16 bytes, and marches along axis 0; a block is a tile of cells of one shot. Nothing
   is added up by atomics: sums have a fixed order, so that results are the same on every run. */

typedef REAL real;
enum { VL = 16 / sizeof(real), THREADS = 256, BLOCK = 32 };    /* BLOCK: numbers of a row that share a scale in a packed history */

struct alignas(16) V { real at[VL]; };

#define INLINE __device__ __forceinline__
#define EACH(expression) V out; _Pragma("unroll") for (int i = 0; i < VL; i++) out.at[i] = expression; return out;
INLINE V operator+(const V &a, const V &b) { EACH(a.at[i] + b.at[i]) }
INLINE V operator-(const V &a, const V &b) { EACH(a.at[i] - b.at[i]) }
INLINE V operator*(const V &a, const V &b) { EACH(a.at[i] * b.at[i]) }
INLINE V operator*(real a, const V &b) { EACH(a * b.at[i]) }
INLINE V operator*(const V &a, real b) { EACH(a.at[i] * b) }
INLINE V operator-(const V &a) { EACH(-a.at[i]) }
INLINE V zeros() { EACH(0) }
INLINE V LD(const real *p) { return *(const V *)p; }
INLINE void ST(real *p, const V &v) { *(V *)p = v; }
/* The vector that begins n numbers after `low`, cut from it and the next. */
template <int n> INLINE V CUT(const V &low, const V &high) { EACH(i + n < VL ? low.at[(i + n) % VL] : high.at[(i + n) % VL]) }

/* Strides in numbers: of full arrays, of arrays of the low and the high slab of an axis, of histories; of all but the last axis. */
struct Sizes {
    long long shot, stride[2], slab[3][2][2], history_size, history_stride[2];
};
/* Cells of a tile; the set of axes stretched there and on which sides, as bits; threads along a row as a power of two; planes a thread. */
struct Tile {
    int begin[3], end[3], mask, sides, lanes, planes, spare[2];
};
/* Loop counts: where a call begins, and the steps whose data it may touch, and whose samples it may hear. */
struct Clock {
    long long first, from, to, heard_from, heard_to;
};
/* Histories: of the kept step n at base + (n / every - first) * slot; a slot of zero numbers is a place for the step at hand. */
struct Kept {
    real *base;
    long long slot, shot, every, first;
};

/* The step of the run that a loop count stands for: itself, or counted from `turn` backwards. */
INLINE long long step_at(const Clock *clock, long long k, long long turn) {
    const long long m = clock->first + k;
    return turn < 0 ? m : turn - m;
}

INLINE real *kept_at(const Kept &kept, long long step, long long shot) {
    return kept.base + shot * kept.shot + (step / kept.every - kept.first) * kept.slot;
}

/* Add what sources send to cells, and to the histories that they belong to: `at` holds addresses, taps start[i] .. start[i + 1] belong to
   address i, a tap sends data[step * traces], where `data` too holds an address. moved: numbers to add to the addresses per kept step. */
extern "C" __global__ void __launch_bounds__(THREADS) inject(
    const long long *at, const int *start, const real *weight, const long long *data, long long count, long long traces, long long offset,
    const Kept kept, const Clock *clock, long long turn, long long k) {
    const long long i = (long long)blockIdx.x * THREADS + threadIdx.x, n = step_at(clock, k, turn) + offset;
    if (i >= count || n < clock->from || n >= clock->to) return;
    real sum = 0;
    for (int tap = start[i]; tap < start[i + 1]; tap++) sum += weight[tap] * ((const real *)data[tap])[n * traces];
    real *cell = (real *)at[i] + (kept.slot ? (n / kept.every - kept.first) * kept.slot : 0);
    *cell += sum;
}

/* Add what receivers hear: taps start[i] .. start[i + 1] of addresses `at` belong to trace i, whose samples begin at the address data[i]. */
extern "C" __global__ void __launch_bounds__(THREADS) receive(
    const long long *at, const int *start, const real *weight, const long long *data, long long count, long long traces, long long offset,
    const Clock *clock, long long turn, long long k) {
    const long long i = (long long)blockIdx.x * THREADS + threadIdx.x, n = step_at(clock, k, turn) + offset;
    if (i >= count || n < clock->heard_from || n >= clock->heard_to) return;
    real sum = 0;
    for (int tap = start[i]; tap < start[i + 1]; tap++) sum += weight[tap] * *(const real *)at[tap];
    ((real *)data[i])[n * traces] += sum;
}

/* Rows of histories in a slot: where they begin, and how long they are in bytes once packed in `bits`. */
struct Rows {
    long long rows, length, cells;                 /* of a history: rows, numbers of a row, those that are true cells */
    long long bits, row_bytes, scale_bytes, history_bytes, slot_bytes, shot_bytes, every, first;
    char *base;
};
INLINE char *packed_at(const Rows &r, long long step, long long shot, long long history, long long row) {
    return r.base + shot * r.shot_bytes + (step / r.every - r.first) * r.slot_bytes + history * r.history_bytes + row * r.row_bytes;
}

/* Round blocks of a row to whole multiples of their scale: the largest magnitude over the largest whole number. A thread has a block. */
extern "C" __global__ void __launch_bounds__(THREADS) pack(
    const real *from, long long from_shot, long long history, long long count, const Rows r, const Clock *clock, long long turn, long long k) {
    const long long blocks = (r.cells + BLOCK - 1) / BLOCK, i = (long long)blockIdx.x * THREADS + threadIdx.x, shot = blockIdx.y;
    if (i >= r.rows * blocks) return;
    const long long row = i / blocks, block = i % blocks, begin = block * BLOCK;
    const int n = (int)(r.cells - begin < BLOCK ? r.cells - begin : BLOCK);
    const real *x = from + shot * from_shot + history * count + row * r.length + begin;
    char *to = packed_at(r, step_at(clock, k, turn), shot, history, row);
    const float limit = r.bits == 8 ? 127.0f : 32767.0f;
    float most = 0;
    for (int j = 0; j < n; j++) most = fmaxf(most, fabsf((float)x[j]));
    const float inverse = most > 1e-30f ? limit / most : 0.0f;
    ((float *)to)[block] = most / limit;
    for (int j = 0; j < n; j++) {
        float value = (float)x[j] * inverse;
        value += value < 0.0f ? -0.5f : 0.5f;
        if (r.bits == 8) ((signed char *)(to + r.scale_bytes))[begin + j] = (signed char)(int)value;
        else ((short *)(to + r.scale_bytes))[begin + j] = (short)(int)value;
    }
}

/* Add cotangent * history to an image, summed over shots one after the other. A thread has one cell. */
extern "C" __global__ void __launch_bounds__(THREADS) image(
    real *sums, const real *cotangent, const Sizes s, long long shots, long long lines, long long history, const Rows r,
    long long offset, const Clock *clock, long long turn, long long k) {
    const long long i = (long long)blockIdx.x * THREADS + threadIdx.x, n = step_at(clock, k, turn) + offset;
    if (i >= r.rows * r.cells || n < clock->from || n >= clock->to || n % r.every != r.every / 2) return;
    const long long row = i / r.cells, x = i % r.cells, z = row / lines, y = row % lines;
    const real *a = cotangent + z * s.stride[0] + (AXES == 3 ? y * s.stride[1] : 0) + x;
    real sum = 0;
    for (long long shot = 0; shot < shots; shot++) {
        const char *from = packed_at(r, n, shot, history, row);
        real kept;
        if (r.bits == 0) kept = ((const real *)from)[x];
        else {
            const float scale = ((const float *)from)[x / BLOCK];
            kept = (real)(scale * (r.bits == 8 ? (float)((const signed char *)(from + r.scale_bytes))[x]
                                               : (float)((const short *)(from + r.scale_bytes))[x]));
        }
        sum += a[shot * s.shot] * kept;
    }
    sums[row * r.length + x] += sum;
}

/* Fill the halos of an array from the other side of a periodic axis of `cells` cells: a thread copies one cell. count: of cells along each
   axis, twice the reach along the periodic one; stride: of all axes; along: of the periodic one. */
struct Wrap {
    long long count[3], stride[3], axis, along, cells, reach;
};
extern "C" __global__ void __launch_bounds__(THREADS) wrap(real *array, long long shot, const Wrap w, long long) {
    const long long i = (long long)blockIdx.x * THREADS + threadIdx.x;
    if (i >= w.count[0] * w.count[1] * w.count[2]) return;
    long long x = i % w.count[2], y = i / w.count[2] % w.count[1], z = i / w.count[2] / w.count[1];
    const long long h = w.axis == 0 ? z : w.axis == 1 ? y : x;
    const long long from = h < w.reach ? h : w.cells - 1 - (h - w.reach), to = h < w.reach ? w.cells + h : -1 - (h - w.reach);
    if (w.axis == 0) z = 0;
    else if (w.axis == 1) y = 0;
    else x = 0;
    real *line = array + (long long)blockIdx.y * shot + z * w.stride[0] + y * w.stride[1] + x * w.stride[2];
    line[to * w.along] = line[from * w.along];
}

/* Move the clock on, once the steps of a graph are done. */
extern "C" __global__ void tick(Clock *clock, long long steps) { clock->first += steps; }

/* Note whether any of `count` numbers is NaN or infinite. */
extern "C" __global__ void __launch_bounds__(THREADS) find_infinite(const real *x, long long count, long long shot, int *found) {
    for (long long i = (long long)blockIdx.x * THREADS + threadIdx.x; i < count; i += (long long)gridDim.x * THREADS)
        if (!(x[blockIdx.y * shot + i] - x[blockIdx.y * shot + i] == 0)) found[blockIdx.y] = 1;
}
