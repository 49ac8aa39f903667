/* What generated stencil kernels are made of (`codegen/cuda.py`), and the kernels of a time step beside them: sources, receivers, images,
   packed histories, periodic sides. Compiled with -DREAL=float|double -DAXES=2|3.

   A thread computes VL neighbours along the last axis, 16 bytes, and marches along axis 0; a block is a tile of cells of one shot. Nothing
   is added up by atomics: sums have a fixed order, so that results are the same on every run. */

typedef REAL real;
enum { VL = 16 / sizeof(real), THREADS = 256, BLOCK = 32 };    /* BLOCK: numbers of a row that share a scale in a packed history */

struct alignas(16) V { real at[VL]; };
struct alignas(16) Words { int at[4]; };

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
/* The vector that begins n numbers after `low`, cut from it and the next. */
template <int n> INLINE V CUT(const V &low, const V &high) { EACH(i + n < VL ? low.at[(i + n) % VL] : high.at[(i + n) % VL]) }

/* How many shots; strides in numbers: from shot to shot, of full arrays, of arrays of the low and the high slab of an axis, of histories; of all but the last axis. */
struct Sizes {
    long long shots, shot, stride[2], slab[3][2][2], history_size, history_stride[2];
};
/* Cells of a tile; the set of axes stretched there and on which sides, as bits; threads along a row as a power of two; planes a thread. */
struct Tile {
    int begin[3], end[3], mask, sides, lanes, planes, spare[2];
};
/* Loop counts: where a call begins; the steps whose data it may touch, and whose samples it may hear; the number of the first slot held. */
struct Clock {
    long long first, from, to, heard_from, heard_to, slot;
};
/* Histories: of the kept step n at base + (n / every - the first slot held) * slot; a slot of zero numbers is a place for the step at hand. */
struct Kept {
    real *base;
    long long slot, shot, every;
};

/* The step of the run that a loop count stands for: itself, or counted from `turn` backwards. */
INLINE long long step_at(const Clock *clock, long long k, long long turn) {
    const long long m = clock->first + k;
    return turn < 0 ? m : turn - m;
}

INLINE real *kept_at(const Kept &kept, const Clock *clock, long long step, long long shot) {
    return kept.base + shot * kept.shot + (step / kept.every - clock->slot) * kept.slot;
}

/* Which parts of the grid move: of each shot a number for every box of 2^shift cells a side, not zero once a cell in it was. A tile whose
   surroundings, as far as a sweep reads, are at rest would compute zeros from zeros, and is left out. No boxes: all of it moves. */
struct Rest {
    int *moving;
    int shift[3], count[3], reach, spare;
};
INLINE int box_of(const Rest &r, long long shot, int z, int y, int x) {
    return (((int)shot * r.count[0] + z) * r.count[1] + y) * r.count[2] + x;
}
/* Whether the box of a cell moves; axes that a grid of two lacks come first. */
INLINE bool moves_at(const Rest &r, long long shot, int z, int y, int x) {
    return !r.moving || r.moving[box_of(r, shot, z >> r.shift[0], y >> r.shift[1], x >> r.shift[2])];
}
/* The boxes that a tile meets, and as many more cells around it: visited by all threads of a block. */
struct Boxes {
    int low[3], count[3];
    INLINE Boxes(const Rest &r, const Tile &t, int around) {
        _Pragma("unroll") for (int a = 0; a < 3; a++) {
            const int own = a - (3 - AXES), begin = own < 0 ? 0 : t.begin[own < 0 ? 0 : own] - around;
            const int end = own < 0 ? 0 : t.end[own < 0 ? 0 : own] - 1 + around;
            low[a] = (begin > 0 ? begin : 0) >> r.shift[a];
            count[a] = (end >> r.shift[a] < r.count[a] ? end >> r.shift[a] : r.count[a] - 1) - low[a] + 1;
        }
    }
    INLINE int all() const { return count[0] * count[1] * count[2]; }
    INLINE int operator()(const Rest &r, long long shot, int i) const {
        return box_of(r, shot, low[0] + i / count[2] / count[1], low[1] + i / count[2] % count[1], low[2] + i % count[2]);
    }
};
INLINE bool at_rest(const Rest &r, const Tile &t, long long shot) {
    if (!r.moving) return false;
    const Boxes near(r, t, r.reach);
    int moving = 0;
    for (int i = threadIdx.x; i < near.all(); i += THREADS) moving |= r.moving[near(r, shot, i)];
    return !__syncthreads_or(moving);
}
INLINE void set_moving(const Rest &r, const Tile &t, long long shot, int moving) {
    if (!r.moving || !__syncthreads_or(moving)) return;
    const Boxes own(r, t, 0);
    for (int i = threadIdx.x; i < own.all(); i += THREADS) r.moving[own(r, shot, i)] = 1;
}
/* What is not zero in a number, as bits. */
INLINE int bits_of(float x) { return __float_as_int(x) & 0x7fffffff; }
INLINE int bits_of(double x) { return (__double2hiint(x) & 0x7fffffff) | __double2loint(x); }
INLINE int bits_of(const V &v) {
    int bits = 0;
    _Pragma("unroll") for (int i = 0; i < VL; i++) bits |= bits_of(v.at[i]);
    return bits;
}
/* Store, and return what is not zero in it. */
INLINE int ST(real *p, const V &v) { *(V *)p = v; return bits_of(v); }

/* What sources send: taps start[i] .. start[i + 1] belong to the cell at the address at[i]; a tap sends data[step * traces], where `data` too
   holds an address, `offset` steps from the one at hand. Cells tile[b] .. tile[b + 1] lie in the tile of block b. */
struct Sent {
    const int *tile;
    const long long *at;
    const int *start;
    const real *weight;
    const long long *data;
    const int *traces, *offset;
    long long count;
};

/* Add to cell i what is sent to it. moved: numbers to add to its address. */
INLINE void send(const Sent &sent, const Clock *clock, long long step, long long i, long long moved) {
    real sum = 0;
    for (int tap = sent.start[i]; tap < sent.start[i + 1]; tap++) {
        const long long n = step + sent.offset[tap];
        if (n >= clock->from && n < clock->to) sum += sent.weight[tap] * ((const real *)sent.data[tap])[n * sent.traces[tap]];
    }
    ((real *)sent.at[i])[moved] += sum;
}

/* Add what is sent to the cells of a block's tile, once all its threads have stored them. */
INLINE void send_to_tile(const Sent &sent, const Clock *clock, long long turn, long long k) {
    const int begin = sent.tile[blockIdx.x], end = sent.tile[blockIdx.x + 1];
    if (begin == end) return;
    __syncthreads();
    for (int i = begin + threadIdx.x; i < end; i += THREADS) send(sent, clock, step_at(clock, k, turn), i, 0);
}

/* Add what is sent to all cells, or to the histories that they belong to, whose cells move with the step kept. */
extern "C" __global__ void __launch_bounds__(THREADS) inject(const Sent sent, const Kept kept, const Clock *clock, long long turn, long long k) {
    const long long i = (long long)blockIdx.x * THREADS + threadIdx.x, step = step_at(clock, k, turn);
    if (i < sent.count) send(sent, clock, step, i, kept.slot ? (step / kept.every - clock->slot) * kept.slot : 0);
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

/* Histories in slots: rows of numbers in `bits` (0: as computed), and behind them, where they are packed, the scales of their blocks. */
struct Rows {
    long long rows, length, cells;                 /* of a history: rows, numbers of a row, those that are true cells */
    long long bits, row_bytes, history_bytes, slot_bytes, shot_bytes, every;
    char *base;
};
INLINE char *packed_at(const Rows &r, const Clock *clock, long long step, long long shot, long long history) {
    return r.base + shot * r.shot_bytes + (step / r.every - clock->slot) * r.slot_bytes + history * r.history_bytes;
}
INLINE float *scales_of(const Rows &r, char *history, long long row) {
    return (float *)(history + r.rows * r.row_bytes) + row * ((r.length + BLOCK - 1) / BLOCK);
}

/* Round blocks of a row to whole multiples of their scale: the largest magnitude over the largest whole number. A thread has a block. */
extern "C" __global__ void __launch_bounds__(THREADS) pack(
    const real *from, long long from_shot, long long history, long long count, long long lines, const Rows r, const Rest rest, const Clock *clock,
    long long turn, long long k) {
    const int blocks = (int)((r.length + BLOCK - 1) / BLOCK);
    const long long i = (long long)blockIdx.x * THREADS + threadIdx.x, shot = blockIdx.y;
    if (i >= r.rows * blocks) return;
    const unsigned row = (unsigned)i / (unsigned)blocks, begin = (unsigned)i % (unsigned)blocks * BLOCK;
    if (!moves_at(rest, shot, AXES == 3 ? row / (unsigned)lines : 0, AXES == 3 ? row % (unsigned)lines : row, begin)) return;
    char *to = packed_at(r, clock, step_at(clock, k, turn), shot, history);
    const V *x = (const V *)(from + shot * from_shot + history * count + row * r.length + begin);
    const int whole = r.length - begin < BLOCK ? (int)(r.length - begin) / VL : BLOCK / VL;
    V values[BLOCK / VL];
    float most = 0;
    _Pragma("unroll") for (int j = 0; j < BLOCK / VL; j++) {
        values[j] = j < whole ? x[j] : zeros();
        _Pragma("unroll") for (int l = 0; l < VL; l++) most = fmaxf(most, fabsf((float)values[j].at[l]));
    }
    const float limit = r.bits == 8 ? 127.0f : 32767.0f, inverse = most > 1e-30f ? limit / most : 0.0f;
    scales_of(r, to, row)[begin / BLOCK] = most / limit;
    to += row * r.row_bytes + begin * r.bits / 8;
    int words[BLOCK / 2];                          /* two or four numbers each; a word of a row that ends is not written */
    _Pragma("unroll") for (int j = 0; j < BLOCK; j++) {
        const float value = (float)values[j / VL].at[j % VL] * inverse;
        const int rounded = (int)(value + (value < 0.0f ? -0.5f : 0.5f));
        if (r.bits == 8) words[j / 4] = j % 4 ? words[j / 4] | (rounded & 255) << 8 * (j % 4) : rounded & 255;
        else words[j / 2] = j % 2 ? words[j / 2] | rounded << 16 : rounded & 65535;
    }
    const int written = whole * VL / (r.bits == 8 ? 4 : 2);
    _Pragma("unroll") for (int j = 0; j < BLOCK / 2; j += 4)
        if (j < written) ((Words *)to)[j / 4] = {{words[j], words[j + 1], words[j + 2], words[j + 3]}};
}

/* Add cotangent * history to an image, summed over shots one after the other. A thread has VL cells. */
extern "C" __global__ void __launch_bounds__(THREADS) image(
    real *sums, const real *cotangent, const Sizes s, long long shots, long long lines, long long history, const Rows r,
    const Rest rest, long long offset, const Clock *clock, long long turn, long long k) {
    const unsigned packs = (unsigned)(r.length / VL);
    const long long i = (long long)blockIdx.x * THREADS + threadIdx.x, n = step_at(clock, k, turn) + offset;
    if (i >= r.rows * packs || n < clock->from || n >= clock->to || (int)n % (int)r.every != (int)r.every / 2) return;
    /* 32 bits: so many groups of cells would fill any GPU; divisions of 64 bits are calls, around which values go to memory */
    const unsigned place = (unsigned)i, row = place / packs, x = place % packs * VL, z = row / (unsigned)lines, y = row % (unsigned)lines;
    const real *a = cotangent + z * s.stride[0] + (AXES == 3 ? y * s.stride[1] : 0) + x;
    V sum = zeros();
    bool any = false;
    for (long long shot = 0; shot < shots; shot++) {
        if (!moves_at(rest, shot, AXES == 3 ? z : 0, AXES == 3 ? y : row, x)) continue;
        any = true;
        char *from = packed_at(r, clock, n, shot, history);
        V kept;
        if (r.bits == 0) kept = LD((const real *)(from + row * r.row_bytes) + x);
        else {
            const float scale = scales_of(r, from, row)[x / BLOCK];
            const char *packed = from + row * r.row_bytes + x * r.bits / 8;
            _Pragma("unroll") for (int l = 0; l < VL; l++)
                kept.at[l] = (real)(scale * (r.bits == 8 ? (float)((const signed char *)packed)[l] : (float)((const short *)packed)[l]));
        }
        sum = sum + LD(a + shot * s.shot) * kept;
    }
    if (!any) return;
    real *to = sums + row * r.length + x;
    ST(to, LD(to) + sum);
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
