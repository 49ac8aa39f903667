/* Functions of one number as generated formulas call them; `real` is float or double. */

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
