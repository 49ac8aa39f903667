/* One elementwise formula. Compiled with -DREAL=float|double|bfloat; the words MATHS, FORMULA, ARGUMENTS, NUMBERS, GROUPS, EACH and ONE below stand for
   generated text: the formula as a function of one number of each input, and how inputs are read: arrays, or one number for all elements.

   Bound by memory: a thread moves 16 bytes of each array at a time. `packs` counts the groups of 16 bytes, 0 where an array does not begin
   at a multiple of that; what is left is done one by one. */

#include "bfloat.cuh"

typedef REAL stored;
typedef Wide<stored>::type real;
enum { LANES = 16 / sizeof(stored) };
struct alignas(16) Pack { stored at[LANES]; };

MATHS

FORMULA

extern "C" __global__ void elementwise(
    ARGUMENTS, stored *__restrict__ out, long long packs, long long size) {
    long long i = (long long)blockIdx.x * blockDim.x + threadIdx.x;
    NUMBERS
    if (i < packs) {
        Pack result;
        GROUPS
        #pragma unroll
        for (int k = 0; k < LANES; k++) put(result.at[k], formula(EACH));
        ((Pack *)out)[i] = result;
    } else if ((i = packs * LANES + i - packs) < size) {
        put(out[i], formula(ONE));
    }
}
