/* What the text of fused loops (codegen/cuda_loops.py) needs, after maths.cuh. Compiled with -DREAL=float|double, and -DFAR=1 where some
   array has 2^31 elements or more: divisions of 64 bits take several times as long as those of 32. */
#ifdef __CUDACC_RTC__
typedef unsigned char uint8_t;
typedef signed char int8_t;
typedef unsigned short uint16_t;
typedef short int16_t;
typedef unsigned int uint32_t;
typedef int int32_t;
typedef long long int64_t;
#else
#include <stdint.h>
#endif
#ifdef FAR
typedef long long Index;
#else
typedef int Index;
#endif
#define FLOOR(x) (WIDE ? (real)floor((double)(x)) : (real)floorf((float)(x)))
#define CEIL(x) (WIDE ? (real)ceil((double)(x)) : (real)ceilf((float)(x)))
#define TRUNC(x) (WIDE ? (real)trunc((double)(x)) : (real)truncf((float)(x)))
#define ABS(x) (WIDE ? (real)fabs((double)(x)) : (real)fabsf((float)(x)))
enum { THREADS = 256, LANES = 16 / sizeof(real) };
template <class T, int V> struct alignas(V * sizeof(T) < 16 ? V * sizeof(T) : 16) Pack { T at[V]; };

/* The sum of what the threads of a team hold, in its first thread: neighbours, `line` of them. Every thread of the block calls. */
__device__ double added_along(double x, int line) {
    __shared__ double held[THREADS];
    const int lane = threadIdx.x % line;
    __syncthreads();
    held[threadIdx.x] = x;
    for (int step = line / 2; step; step /= 2) {
        __syncthreads();
        if (lane < step) held[threadIdx.x] += held[threadIdx.x + step];
    }
    return held[threadIdx.x];
}

/* The same of every line-th thread, in the first of them. */
__device__ double added_across(double x, int line) {
    __shared__ double held[THREADS];
    __syncthreads();
    held[threadIdx.x] = x;
    for (int step = THREADS / 2; step >= line; step /= 2) {
        __syncthreads();
        if (threadIdx.x < step) held[threadIdx.x] += held[threadIdx.x + step];
    }
    return held[threadIdx.x];
}
