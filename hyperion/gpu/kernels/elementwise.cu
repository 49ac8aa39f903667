/* One elementwise formula. Compiled with -DREAL=float|double; the words FORMULA, ARGUMENTS, NUMBERS, GROUPS, EACH and ONE below stand for
   generated text: the formula as a function of one number of each input, and how inputs are read: arrays, or one number for all elements.

   Bound by memory: a thread moves 16 bytes of each array at a time. `packs` counts the groups of 16 bytes, 0 where an array does not begin
   at a multiple of that; what is left is done one by one. */

typedef REAL real;
enum { LANES = 16 / sizeof(real) };
struct alignas(16) Pack { real at[LANES]; };

#ifndef NAN
#define NAN __int_as_float(0x7fffffff)
#define INFINITY __int_as_float(0x7f800000)
#endif
#define WIDE (sizeof(real) == 8)
#define SQRT(x) (WIDE ? (real)sqrt((double)(x)) : (real)sqrtf((float)(x)))
__device__ real tanh_of(real x) { return WIDE ? (real)tanh((double)x) : (real)tanhf((float)x); }
__device__ real exp_of(real x) { return WIDE ? (real)exp((double)x) : (real)expf((float)x); }
__device__ real expm1_of(real x) { return WIDE ? (real)expm1((double)x) : (real)expm1f((float)x); }
__device__ real log_of(real x) { return WIDE ? (real)log((double)x) : (real)logf((float)x); }
__device__ real log1p_of(real x) { return WIDE ? (real)log1p((double)x) : (real)log1pf((float)x); }
__device__ real sin_of(real x) { return WIDE ? (real)sin((double)x) : (real)sinf((float)x); }
__device__ real cos_of(real x) { return WIDE ? (real)cos((double)x) : (real)cosf((float)x); }
__device__ real phi_of(real x) { return WIDE ? (real)normcdf((double)x) : (real)normcdff((float)x); }

FORMULA

extern "C" __global__ void elementwise(
    ARGUMENTS, real *__restrict__ out, long long packs, long long size) {
    long long i = (long long)blockIdx.x * blockDim.x + threadIdx.x;
    NUMBERS
    if (i < packs) {
        Pack result;
        GROUPS
        #pragma unroll
        for (int k = 0; k < LANES; k++) result.at[k] = formula(EACH);
        ((Pack *)out)[i] = result;
    } else if ((i = packs * LANES + i - packs) < size) {
        out[i] = formula(ONE);
    }
}
